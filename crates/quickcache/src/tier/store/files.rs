//! The two kinds of files in a folder: what a sound one is, how a new one is written, and who is told when one is left.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use super::folder::{Kind, Looked, has_room, may_be_long, read_at, write_all};
use super::generations::{Birth, Generations, HEADER, Head, Shape};
use super::map::Map;
use super::ring::{self, Ring};

pub(super) struct TableFile {
    pub(super) boot: [u64; 2],
}

impl Kind for TableFile {
    const NAME: &'static str = "generations";
    type Found = Head;

    fn look(&self, file: &File) -> io::Result<Looked<Head>> {
        let mut bytes = vec![0; HEADER * 8];
        match read_at(file, &mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Looked::Unsound("it is too short"));
            }
            other => other?,
        }
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
            .collect();
        let Some(head) = Head::read(&words) else {
            return Ok(Looked::Unsound("it is damaged, or of another program"));
        };
        if file.metadata()?.len() != head.shape.words() * 8 {
            return Ok(Looked::Unsound("its length is wrong"));
        }
        if head.boot != self.boot || Head::is_replaced(&words) {
            return Ok(Looked::Outdated);
        }
        Ok(Looked::Sound(head))
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let birth = Birth {
            boot: self.boot,
            epoch: random()?,
            seed: [random()?, random()?],
        };
        let (seed, mut count) = (random()?, 0_u64);
        let words = Head::fresh(Shape::USUAL, birth, || {
            count += 1;
            twox_hash::XxHash3_64::oneshot_with_seed(seed, &count.to_le_bytes())
        });
        // Written, not only made so long: a full disk says so now, and not to who maps a hole.
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        write_all(file, &bytes)
    }

    fn leave(&self, file: &File) {
        // A table whose head is whole may be in use. One that is not, or that is too short to be mapped, is in use by those who opened
        // it before it was damaged: its words are where they ever were.
        let words = Shape::USUAL.words() as usize;
        if file.metadata().is_ok_and(|of| of.len() >= words as u64 * 8)
            && let Ok(map) = Map::new(file, words)
        {
            poison(&Generations::new(map.words(), Shape::USUAL));
        }
    }
}

/// Random, from the system: what a process would keep such numbers in is the same in every child of a fork.
///
/// # Errors
/// If the system has none.
pub fn random() -> io::Result<u64> {
    Ok(getrandom::u64()?)
}

/// How far a poisoned table is moved on where the system has no random number: no clears come so far.
const NEVER_AGAIN: u64 = 1 << 62;

/// Tells everybody who has a table open to open it anew. No stamp that was read before is the present one any more.
pub(super) fn poison(generations: &Generations<'_>) {
    generations.replaced.store(1, Ordering::Release);
    generations.leap(random().unwrap_or(NEVER_AGAIN) | 1);
}

pub(super) struct ValuesFile {
    pub(super) epoch: u64,
    pub(super) max_bytes: u64,
    /// Whether a file made for another size will do.
    pub(super) any_size: bool,
}

impl Kind for ValuesFile {
    const NAME: &'static str = "values-1";
    type Found = ring::Shape;

    fn look(&self, file: &File) -> io::Result<Looked<ring::Shape>> {
        Ok(match Ring::look(file)? {
            None => Looked::Unsound("it is damaged, or of another program or version"),
            Some(of) if of.epoch != self.epoch => Looked::Outdated,
            Some(of) if of.asked != self.max_bytes && !self.any_size => Looked::Outdated,
            Some(of) => Looked::Sound(of.shape),
        })
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let shape = ring::Shape::of(self.max_bytes);
        may_be_long(shape.bytes)?;
        // What the file system or the disk can never hold is refused before anything is written.
        file.set_len(shape.bytes)?;
        let mapped = Ring::mapped_bytes(shape);
        has_room(file, mapped)?;
        let header = Ring::fresh(shape, self.epoch, self.max_bytes);
        write_all(file, &header)?;
        // In pieces: of a large store this is more than memory may have.
        let (zeros, mut left) = (vec![0; 1 << 20], mapped - header.len() as u64);
        while left > 0 {
            let piece = left.min(zeros.len() as u64);
            write_all(file, &zeros[..piece as usize])?;
            left -= piece;
        }
        Ok(())
    }

    fn leave(&self, _file: &File) {}
}

/// Which start of the machine this is: what an earlier one left in a table is nobody's.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn boot_id() -> io::Result<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16)
        .map_err(|_| io::Error::other("the system's boot id is no number"))?;
    Ok([id as u64, (id >> 64) as u64])
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn boot_id() -> io::Result<[u64; 2]> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "on this platform one start of the machine cannot be told from another",
    ))
}

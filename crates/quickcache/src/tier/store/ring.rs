//! The values: records in two rings of a mapped file, and an index of one word for each.
//!
//! Nobody waits for anybody here. A writer reserves its place by moving a head on, writes the record there, and publishes it by
//! one compare-and-set in the index; it can be killed at any of these points, and what it leaves is bytes that will be written over.
//! A reader copies the record out and then looks whether the copy is whole: a record that was written over meanwhile, or that two
//! writers mixed because one was stopped for a whole round of the ring, does not bear its own checksum.
//!
//! Nothing here decides whether a value is fresh: records carry the stamp of their key, and readers ask for one.
//!
//! The rings bound the file, and evict by being rings. A record that is new to the index goes to the smaller ring, an eighth; if it is
//! asked for again it is copied to the main ring before its place is written over, and if it comes back when it is gone but its
//! word in the index is not, it goes to the main ring at once. (That is S3-FIFO: Yang and others, SOSP 2023, with old words as the
//! ghosts.) A record in the main ring that is asked for in the last quarter of its life is written again at the head.
//!
//! ```text
//! file     header, one page · index: buckets of 8 words · small ring · main ring
//! header   0 magic "qcvalue1" · 1 bytes of the file · 2 epoch of the table · 3 bytes asked for · 4 buckets ·
//!          5 units of the small ring · 6 units of the main ring · 7 check · 16 head of the small ring · 24 head of the main ring
//! word     position: 47 bits, in units of 16 bytes, ever growing · ring: 1 · tag: 16      0: none
//! record   bytes of the entry u32 · function u32 · 8 bytes of zeros · the entry
//! ```

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

use super::folder::{is_near, may_be_long, read_at, write_at};
use super::map::Map;
use crate::entry::HEADER;

const MAGIC: u64 = u64::from_le_bytes(*b"qcvalue1");
const PAGE: u64 = 4096;
const HEADER_WORDS: usize = (PAGE / 8) as usize;
const CHECKED: usize = 7;
const HEADS: [usize; 2] = [16, 24];

const UNIT: u64 = 16;
const WAYS: usize = 8;
const HEAD: usize = 16;

const POSITION_BITS: u32 = 47;
const POSITION: u64 = (1 << POSITION_BITS) - 1;
const RING_SHIFT: u32 = POSITION_BITS;
const TAG_SHIFT: u32 = POSITION_BITS + 1;

/// The least a file can be: less holds next to nothing.
pub(super) const LEAST_BYTES: u64 = 64 * 1024;

/// A file of values.
pub(super) struct Ring {
    file: File,
    /// The header and the index.
    map: Map,
    shape: Shape,
}

/// How large the parts are: follows from the bytes asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Of the whole file.
    pub(super) bytes: u64,
    buckets: u64,
    /// Of the small and the main ring.
    units: [u64; 2],
}

impl Shape {
    pub(super) fn of(max_bytes: u64) -> Shape {
        let room = max_bytes.max(LEAST_BYTES) / PAGE * PAGE;
        // A sixteenth for the index: one word for every 128 bytes.
        let buckets = room / 16 / 64;
        let index = (buckets * 64).next_multiple_of(PAGE);
        let rings = room - PAGE - index;
        let small = rings / 8 / PAGE * PAGE;
        Shape {
            bytes: room,
            buckets,
            units: [small / UNIT, (rings - small) / UNIT],
        }
    }

    fn index_end(self) -> u64 {
        PAGE + (self.buckets * 64).next_multiple_of(PAGE)
    }

    fn header(self, epoch: u64, asked: u64) -> [u64; CHECKED + 1] {
        let mut words = [
            MAGIC,
            self.bytes,
            epoch,
            asked,
            self.buckets,
            self.units[0],
            self.units[1],
            0,
        ];
        words[CHECKED] = check(&words[..CHECKED]);
        words
    }
}

fn check(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    twox_hash::XxHash3_64::oneshot(&bytes)
}

/// What the head of a file says.
pub(super) struct About {
    pub(super) shape: Shape,
    pub(super) epoch: u64,
    /// The bytes that its maker was given.
    pub(super) asked: u64,
}

/// Why a record was not stored.
#[derive(Debug)]
pub(super) enum Refused {
    /// Larger than a quarter of the ring: it would push out too much.
    TooLarge,
    /// Others kept changing the same bucket.
    Crowded,
    Io(io::Error),
}

/// Where a record was read.
#[derive(Clone, Copy)]
pub(super) struct Read {
    word: usize,
    seen: u64,
    function: u32,
}

impl Ring {
    /// The header of a fresh file: the file is to be `shape.bytes` long, and zeros behind this.
    pub(super) fn fresh(shape: Shape, epoch: u64, asked: u64) -> Vec<u8> {
        let header = shape.header(epoch, asked);
        header.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// How much of a fresh file is written by mapping, so that its blocks must be there.
    pub(super) fn mapped_bytes(shape: Shape) -> u64 {
        shape.index_end()
    }

    /// What a file says of itself, if it is a file of values of this version.
    pub(super) fn look(file: &File) -> io::Result<Option<About>> {
        let mut bytes = [0; (CHECKED + 1) * 8];
        match read_at(file, &mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut words = [0; CHECKED + 1];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        let (epoch, asked) = (words[2], words[3]);
        let shape = Shape::of(asked);
        let sound = words == shape.header(epoch, asked) && file.metadata()?.len() == shape.bytes;
        Ok(sound.then_some(About {
            shape,
            epoch,
            asked,
        }))
    }

    /// Opens a file that was looked at.
    pub(super) fn open(file: File, shape: Shape) -> io::Result<Ring> {
        // The rings are only read through the map: they are written by calls that say when the disk is full, where a store to a
        // mapped page would end the process.
        let map = Map::new(&file, (shape.bytes / 8) as usize)?;
        Ok(Ring { file, map, shape })
    }

    /// How many bytes the largest entry may have.
    pub(super) fn largest(&self) -> usize {
        usize::try_from(self.shape.units[1] / 4 * UNIT).unwrap_or(usize::MAX) - HEAD
    }

    /// The first word of the bucket of a key, and its tag.
    fn bucket(&self, hash: u64) -> (usize, u64) {
        let bucket = (u128::from(hash) * u128::from(self.shape.buckets)) >> 64;
        // Bits that hardly choose the bucket.
        let tag = (hash & 0xFFFF).max(1);
        (HEADER_WORDS + bucket as usize * WAYS, tag)
    }

    fn head(&self, ring: usize) -> &AtomicU64 {
        &self.map.words()[HEADS[ring]]
    }

    /// How much of its ring has been written since, in units; `None` if its place has been written over.
    fn age(&self, word: u64) -> Option<u64> {
        let ring = ring(word);
        let age = self.head(ring).load(Ordering::Acquire).wrapping_sub(word) & POSITION;
        (age > 0 && age <= self.shape.units[ring]).then_some(age)
    }

    /// The first word of a record in the map.
    fn at(&self, word: u64) -> usize {
        let ring = ring(word);
        let start = self.shape.index_end() / UNIT + [0, self.shape.units[0]][ring];
        ((start + (word & POSITION) % self.shape.units[ring]) * (UNIT / 8)) as usize
    }

    /// The words of the index that may lead to the key's record, and where they are.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let (start, tag) = self.bucket(hash);
        (start..start + WAYS)
            .map(|at| (at, self.map.words()[at].load(Ordering::Acquire)))
            .filter(move |&(_, word)| {
                word >> TAG_SHIFT == tag && word != 0 && self.age(word).is_some()
            })
    }

    /// What the head of a record says: the bytes of its entry and the function; `None` if it says more than there can be.
    fn said(&self, word: u64) -> Option<(usize, u32)> {
        let record = self.at(word);
        let first = self.map.words()[record].load(Ordering::Relaxed);
        let (len, function) = (first as u32 as usize, (first >> 32) as u32);
        let end = [0, self.shape.units[0]][ring(word)] + self.shape.units[ring(word)];
        let end = ((self.shape.index_end() / UNIT + end) * (UNIT / 8)) as usize;
        (len >= HEADER && record + (HEAD + len).div_ceil(8) <= end).then_some((len, function))
    }

    /// Whether a key can be looked for without waiting for the disk: what is read is in memory, and nothing is written.
    pub(super) fn is_near(&self, hash: u64) -> bool {
        let is_near = |word: usize| is_near(&self.file, word as u64 * 8);
        let page = PAGE as usize / 8;
        is_near(self.bucket(hash).0)
            && self.candidates(hash).all(|(_, word)| {
                let record = self.at(word);
                !self.is_old(word)
                    && is_near(record)
                    && self.said(word).is_none_or(|(len, _)| {
                        let next = (record + 1).next_multiple_of(page);
                        let end = record + (HEAD + len).div_ceil(8);
                        (next..end).step_by(page).all(is_near)
                    })
            })
    }

    /// Reads the entries that may be the key's, one after the other, until `whole` takes one. `wanted` is given the function of an entry
    /// and its header, and says whether to go on; `whole` is given all of it, in `buffer`.
    pub(super) fn get<T>(
        &self,
        hash: u64,
        buffer: &mut Vec<u8>,
        mut wanted: impl FnMut(u32, &[u8; HEADER]) -> bool,
        mut whole: impl FnMut(u32, &[u8]) -> Option<T>,
    ) -> Option<(T, Read)> {
        let words = self.map.words();
        for (at, word) in self.candidates(hash) {
            let record = self.at(word);
            let Some((len, function)) = self.said(word) else {
                continue;
            };
            let body = record + HEAD / 8;
            let mut header = [0; HEADER];
            copy(&words[body..], &mut header);
            if !wanted(function, &header) {
                continue;
            }
            buffer.clear();
            buffer.reserve(len);
            // Bytes are written before they are counted.
            let spare = &mut buffer.spare_capacity_mut()[..len];
            let bytes_of = |word: &AtomicU64| {
                let bytes = word.load(Ordering::Relaxed).to_le_bytes();
                bytes.map(MaybeUninit::new)
            };
            // Whole words apart: they are stored as they were loaded, and not byte by byte.
            let (whole_words, rest) = spare.as_chunks_mut();
            let (of_whole, of_rest) = words[body..].split_at(whole_words.len());
            for (bytes, word) in whole_words.iter_mut().zip(of_whole) {
                *bytes = bytes_of(word);
            }
            if let Some(word) = of_rest.first() {
                rest.copy_from_slice(&bytes_of(word)[..rest.len()]);
            }
            // SAFETY: all `len` bytes have been written: the words reach to the end of the record at least, as was looked at above.
            unsafe { buffer.set_len(len) };
            // Another record may have taken its place since its header was looked at, as whole as that one and of another generation.
            if !buffer
                .first_chunk()
                .is_some_and(|header| wanted(function, header))
            {
                continue;
            }
            if let Some(taken) = whole(function, buffer) {
                let read = Read {
                    word: at,
                    seen: word,
                    function,
                };
                return Some((taken, read));
            }
        }
        None
    }

    /// A hit on a record that is about to be written over: it is written again, in the main ring. `entry` is what was read. Where it is
    /// then.
    pub(super) fn renew(&self, read: Read, entry: &[u8]) -> Read {
        if !self.is_old(read.seen) {
            return read;
        }
        match self.write(MAIN, read.seen >> TAG_SHIFT, read.function, entry) {
            Ok(word) if self.publish(read.word, read.seen, word) => Read { seen: word, ..read },
            // Somebody has changed it, or it is not worth an error.
            _ => read,
        }
    }

    /// Whether a hit on a record writes it again.
    fn is_old(&self, word: u64) -> bool {
        let old = match ring(word) {
            SMALL => self.shape.units[SMALL] / 4,
            _ => self.shape.units[MAIN] / 4 * 3,
        };
        self.age(word).is_some_and(|age| age >= old)
    }

    /// Lets a word of the index lead to another record, if it is still what was seen.
    fn publish(&self, at: usize, seen: u64, word: u64) -> bool {
        self.map.words()[at]
            .compare_exchange(seen, word, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Stores an entry in place of one that was read. `false`: it is not there any more.
    pub(super) fn put_over(&self, read: Read, entry: &[u8]) -> Result<bool, Refused> {
        if entry.len() > self.largest() {
            return Err(Refused::TooLarge);
        }
        let word = self.write(MAIN, read.seen >> TAG_SHIFT, read.function, entry)?;
        Ok(self.publish(read.word, read.seen, word))
    }

    /// Stores an entry in place of the key's, or of the oldest of its bucket.
    pub(super) fn put(&self, hash: u64, function: u32, entry: &[u8]) -> Result<(), Refused> {
        if entry.len() > self.largest() {
            return Err(Refused::TooLarge);
        }
        let (start, tag) = self.bucket(hash);
        let bucket = &self.map.words()[start..start + WAYS];
        let known = bucket
            .iter()
            .any(|word| word.load(Ordering::Relaxed) >> TAG_SHIFT == tag);
        let units = units(entry.len());
        let filling = self
            .head(MAIN)
            .load(Ordering::Relaxed)
            .saturating_add(units)
            < self.shape.units[MAIN];
        let ring = if known || filling || units > self.shape.units[SMALL] / 4 {
            MAIN
        } else {
            SMALL
        };
        let word = self.write(ring, tag, function, entry)?;
        for _ in 0..WAYS {
            let seen: [u64; WAYS] = std::array::from_fn(|way| bucket[way].load(Ordering::Acquire));
            let victim = self.victim(&seen, tag);
            if self.publish(start + victim, seen[victim], word) {
                // Two that stored the key at the same time may have made two records of it, of which readers would find one for ever.
                for way in (0..WAYS).filter(|way| *way != victim && seen[*way] >> TAG_SHIFT == tag)
                {
                    self.publish(start + way, seen[way], 0);
                }
                return Ok(());
            }
        }
        Err(Refused::Crowded)
    }

    /// Which way makes room: the key's own, else a free one, else the one whose record has been written over for longest or will be
    /// first.
    fn victim(&self, seen: &[u64; WAYS], tag: u64) -> usize {
        let spent = |word: u64| {
            if word >> TAG_SHIFT == tag {
                return u64::MAX;
            }
            if word == 0 {
                return u64::MAX - 1;
            }
            // In parts of its ring.
            let age = self
                .head(ring(word))
                .load(Ordering::Relaxed)
                .wrapping_sub(word)
                & POSITION;
            (u128::from(age) * 1024 / u128::from(self.shape.units[ring(word)])) as u64
        };
        (0..WAYS)
            .max_by_key(|way| spent(seen[*way]))
            .expect("a bucket has ways")
    }

    /// Writes a record at the head of a ring: its word.
    fn write(&self, ring: usize, tag: u64, function: u32, entry: &[u8]) -> Result<u64, Refused> {
        let (size, all) = (units(entry.len()), self.shape.units[ring]);
        let head = self.head(ring);
        let mut seen = head.load(Ordering::Relaxed);
        let position = loop {
            // No head comes so far but by damage.
            let from = seen & POSITION;
            // A record does not go round the end.
            let left = all - from % all;
            let position = if left < size { from + left } else { from };
            match head.compare_exchange_weak(
                seen,
                position + size,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break position & POSITION,
                Err(now) => seen = now,
            }
        };
        let mut record = Vec::with_capacity(HEAD + entry.len());
        let len = u32::try_from(entry.len()).map_err(|_| Refused::TooLarge)?;
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(&function.to_le_bytes());
        record.extend_from_slice(&[0; 8]);
        record.extend_from_slice(entry);
        let start = self.shape.index_end() / UNIT + [0, self.shape.units[0]][ring];
        let offset = (start + position % all) * UNIT;
        may_be_long(offset + record.len() as u64).map_err(Refused::Io)?;
        write_at(&self.file, &record, offset).map_err(Refused::Io)?;
        Ok(position | (ring as u64) << RING_SHIFT | tag << TAG_SHIFT)
    }

    /// Entries that are not yet written over, whatever their generation, and the bytes of the file.
    pub(super) fn standing(&self) -> (u64, u64) {
        let end = HEADER_WORDS + self.shape.buckets as usize * WAYS;
        let entries = self.map.words()[HEADER_WORDS..end]
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .filter(|word| *word != 0 && self.age(*word).is_some())
            .count();
        (entries as u64, self.shape.bytes)
    }
}

const SMALL: usize = 0;
const MAIN: usize = 1;

fn ring(word: u64) -> usize {
    (word >> RING_SHIFT & 1) as usize
}

fn units(entry: usize) -> u64 {
    ((HEAD + entry) as u64).div_ceil(UNIT)
}

fn copy(words: &[AtomicU64], bytes: &mut [u8]) {
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: u64 = 0x0123_4567_89AB_CDEF;
    const FUNCTION: u32 = 7;

    /// The least ring, in a file that has no name.
    fn ring(name: &str) -> Ring {
        let path = std::env::temp_dir().join(format!("quickcache-{name}-{}", std::process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.unwrap();
        std::fs::remove_file(&path).unwrap();
        let shape = Shape::of(LEAST_BYTES);
        write_at(&file, &Ring::fresh(shape, 1, LEAST_BYTES), 0).unwrap();
        file.set_len(shape.bytes).unwrap();
        Ring::open(file, shape).unwrap()
    }

    fn entry(generation: u8) -> [u8; 1000] {
        [generation; 1000]
    }

    fn get(ring: &Ring, wanted: impl FnMut(u32, &[u8; HEADER]) -> bool) -> Option<Vec<u8>> {
        let found = ring.get(HASH, &mut Vec::new(), wanted, |_, entry| {
            Some(entry.to_vec())
        });
        found.map(|(entry, _)| entry)
    }

    #[test]
    fn f_a_whole_record_of_another_generation_that_took_the_place_is_not_taken_for_it() {
        let ring = ring("replaced");
        ring.put(HASH, FUNCTION, &entry(1)).unwrap();
        let mut looks = 0;
        let found = get(&ring, |_, header| {
            looks += 1;
            if looks == 1 {
                // Once round: every place has a record of the other generation then.
                let before = ring.head(MAIN).load(Ordering::Relaxed);
                while ring.head(MAIN).load(Ordering::Relaxed) - before < ring.shape.units[MAIN] {
                    ring.put(HASH, FUNCTION, &entry(2)).unwrap();
                }
                return true;
            }
            header[0] == 1
        });
        assert!(found.is_none(), "of generation {}", found.unwrap()[0]);
        assert_eq!(looks, 2);
    }

    #[test]
    fn two_records_of_one_key_are_one_after_the_next_put() {
        let ring = ring("twice");
        // As two that stored it at the same time may leave it: whichever way a reader takes, the next value is to be there.
        let (start, tag) = ring.bucket(HASH);
        for way in [1, 5] {
            let word = ring.write(MAIN, tag, FUNCTION, &entry(1)).unwrap();
            assert!(ring.publish(start + way, 0, word));
        }
        ring.put(HASH, FUNCTION, &entry(2)).unwrap();
        assert_eq!(ring.candidates(HASH).count(), 1);
        assert_eq!(get(&ring, |_, _| true).as_deref(), Some(&entry(2)[..]));
    }

    #[test]
    fn p10_a_head_with_any_bit_flipped_is_gone_on_from() {
        for bit in 0..64 {
            let ring = ring("head");
            for at in 0..20 {
                ring.put(HASH, FUNCTION, &entry(at)).unwrap();
            }
            ring.head(MAIN).fetch_xor(1 << bit, Ordering::Relaxed);
            for at in 20..120 {
                ring.put(HASH, FUNCTION, &entry(at)).unwrap();
                let found = get(&ring, |_, _| true);
                assert_eq!(found.as_deref(), Some(&entry(at)[..]), "bit {bit}");
            }
        }
    }
}

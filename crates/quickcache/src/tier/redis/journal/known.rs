//! What a process knows to be pending, as of one value of the word.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Record;
use super::record::{APPLIED, MAGIC, RECORD, Scan};
use super::word::Seen;
use crate::tier::store::folder::Identity;

/// How much is read at once.
const PIECE: usize = 1 << 18;

type Prints = HashSet<u128, RandomState>;

/// What is pending.
pub(super) struct Known {
    /// At this value of the word; `None` before the first look.
    pub(super) at: Option<Seen>,
    /// Something that is no file of ours has the name of one.
    pub(super) strange: bool,
    pub(super) files: Vec<Tracked>,
    /// Of the prints of records.
    pub(super) seed: u64,
}

/// A file with records. It stays open, so that no other one is taken for it.
pub(super) struct Tracked {
    pub(super) file: Arc<File>,
    pub(super) identity: Identity,
    read_to: u64,
    scan: Scan,
    headed: bool,
    everything: bool,
    found: Prints,
    /// What this process has written, and knows to be on the disk.
    ours: Prints,
}

impl Known {
    pub(super) fn holds(&self, records: &[Record]) -> bool {
        let prints: Vec<_> = records
            .iter()
            .map(|record| record.print(self.seed))
            .collect();
        self.strange
            || self.at.is_none_or(Seen::is_lost)
            || self.files.iter().any(|file| {
                let known = |print| file.found.contains(print) || file.ours.contains(print);
                file.everything || prints.iter().any(known)
            })
    }

    /// The file in which this process has written a record that says it.
    pub(super) fn is_written(&self, record: Record) -> Option<Identity> {
        let prints = [record, Record::Everything].map(|record| record.print(self.seed));
        let file = self
            .files
            .iter()
            .find(|file| prints.iter().any(|print| file.ours.contains(print)));
        file.map(|file| file.identity)
    }

    /// This process has written these, and they are on the disk.
    pub(super) fn wrote(&mut self, file: &Arc<File>, identity: Identity, records: &[Record]) {
        let seed = self.seed;
        let tracked = self.track(file, identity);
        for record in records {
            let print = record.print(seed);
            tracked.found.remove(&print);
            if *record == Record::Everything {
                tracked.found = Prints::default();
                tracked.ours = Prints::default();
                tracked.everything = true;
            }
            tracked.ours.insert(print);
        }
    }

    pub(super) fn track(&mut self, file: &Arc<File>, identity: Identity) -> &mut Tracked {
        let at = self
            .files
            .iter()
            .position(|known| known.identity == identity);
        let at = at.unwrap_or_else(|| {
            self.files.push(Tracked {
                file: Arc::clone(file),
                identity,
                read_to: 0,
                scan: Scan::default(),
                headed: false,
                everything: false,
                found: Prints::default(),
                ours: Prints::default(),
            });
            self.files.len() - 1
        });
        &mut self.files[at]
    }
}

impl Tracked {
    /// Reads what has been written since.
    pub(super) fn read_on(&mut self, seed: u64) -> io::Result<()> {
        if !self.headed {
            self.everything |= Head::of(&self.file)? == Head::Foreign;
            self.read_to = MAGIC.len() as u64;
            self.headed = true;
        }
        let (found, ours) = (&mut self.found, &self.ours);
        let everything = &mut self.everything;
        let (to, rest) = read(&self.file, self.read_to, &mut self.scan, |record| {
            let print = record.print(seed);
            *everything |= record == Record::Everything;
            if !*everything && !ours.contains(&print) {
                found.insert(print);
            }
        })?;
        self.read_to = to;
        self.everything |= self.scan.is_damaged(rest);
        if self.everything {
            self.found = Prints::default();
        }
        Ok(())
    }

    /// Whether it has lost its name without having been applied: somebody else has removed it.
    pub(super) fn is_lost(&self) -> bool {
        Head::of(&self.file).is_ok_and(|head| head == Head::Ours)
    }
}

/// What the head of a file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head {
    Ours,
    /// All of it was applied.
    Applied,
    /// Damaged, or of another version: it may say anything.
    Foreign,
}

impl Head {
    pub(super) fn of(file: &File) -> io::Result<Head> {
        let mut head = [0; MAGIC.len()];
        match file.read_exact_at(&mut head, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Head::Foreign),
            other => other?,
        }
        Ok(match head {
            MAGIC => Head::Ours,
            APPLIED => Head::Applied,
            _ => Head::Foreign,
        })
    }
}

/// Reads the records of a file from a place on. Gives the place to go on from, and how many bytes follow it that are no whole record.
pub(super) fn read(
    file: &File,
    from: u64,
    scan: &mut Scan,
    mut found: impl FnMut(Record),
) -> io::Result<(u64, usize)> {
    let mut bytes = vec![0; PIECE];
    let (mut at, mut kept) = (from, 0);
    loop {
        let read = match file.read_at(&mut bytes[kept..], at + kept as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let end = kept + read;
        if read == 0 {
            return Ok((at, end));
        }
        let done = scan.read(&bytes[..end], &mut found);
        at += done as u64;
        kept = end - done;
        debug_assert!(kept < RECORD);
        bytes.copy_within(done..end, 0);
    }
}

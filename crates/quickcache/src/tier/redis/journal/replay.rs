//! Making up for what is pending.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::known::{Head, read};
use super::record::{APPLIED, MAGIC, Scan};
use super::{Journal, Left, Record, Replayed};
use crate::clock::{self, Millis};
use crate::tier::store::folder::{Existing, may_be_long, write_at};
use crate::tier::store::lock;

/// How many records are applied at once.
const BATCH: usize = 1000;

/// How often what came meanwhile is replayed too.
const ROUNDS: usize = 8;

/// For how long a file may be locked, and nothing of it applied, before somebody else does it too, in milliseconds.
const PATIENCE: Millis = 1000;

/// A file that is locked by somebody else.
pub(super) struct Busy {
    name: String,
    /// When something of it was applied last, by its own time, and since when that is known.
    at: (i64, i64),
    since: Millis,
}

/// A file that a replay of this process has. Only here it is open, so that the child of a fork can close it.
pub(super) struct Locked {
    by: u64,
    name: String,
    file: File,
}

/// What one replay has taken.
struct Claimed<'a> {
    journal: &'a Journal,
    number: u64,
    files: Vec<Claim>,
    records: Vec<Record>,
    elsewhere: bool,
}

struct Claim {
    name: String,
    /// Not to be removed: somebody may want to know what it was.
    keep: bool,
}

impl Journal {
    /// Has everything applied that is pending, up to 1000 records at a time. To be called by whoever reaches Redis again, before its first
    /// read, and by whoever reaches it and finds that the journal is not quiet. It waits for nobody: what another process replays stays
    /// pending meanwhile. What is applied may have been applied before.
    ///
    /// # Errors
    /// That of `apply`: then all is pending as before.
    pub fn replay<E>(
        &self,
        mut apply: impl FnMut(&[Record]) -> Result<(), E>,
    ) -> Result<Replayed, E> {
        let mut records = 0;
        let end = |records, left| Ok(Replayed { records, left });
        for _ in 0..ROUNDS {
            // Before the files: it says what was lost before all that is applied now.
            let seen = self.word.load();
            let (mut claimed, failed) = match self.claim() {
                Ok(claimed) => (claimed, None),
                // What was lost can be made up for without files.
                Err(error) if seen.is_lost() => (Claimed::new(self), Some(error)),
                Err(error) => return end(records, Left::Unknown(error)),
            };
            if claimed.files.is_empty() && !seen.is_lost() {
                if claimed.elsewhere {
                    return end(records, Left::Elsewhere);
                }
                match self.look_again() {
                    Ok(true) => return end(records, Left::Nothing),
                    Ok(false) => continue,
                    Err(error) => return end(records, Left::Unknown(error)),
                }
            }
            if seen.is_lost() || claimed.records.contains(&Record::Everything) {
                claimed.records = vec![Record::Everything];
            }
            claimed.records.sort_unstable();
            claimed.records.dedup();
            for batch in claimed.records.chunks(BATCH) {
                apply(batch)?;
                claimed.touch();
            }
            records += claimed.records.len();
            let removed = claimed.remove();
            self.word.applied(seen);
            if let Some(error) = failed.or(removed.err()) {
                return end(records, Left::Unknown(error));
            }
        }
        end(records, Left::More)
    }

    /// Whether nothing is pending, when there are no files. Whoever removed the last may have been killed before it said so, and one that
    /// somebody else removed is lost.
    fn look_again(&self) -> io::Result<bool> {
        if self.look()? {
            return Ok(true);
        }
        self.word.move_on();
        self.look()
    }

    /// Takes the journal, and whatever others took and nobody replays now.
    fn claim(&self) -> io::Result<Claimed<'_>> {
        // Asked first, since where nothing can be renamed it fails also if there is nothing.
        if self.folder.named(&self.name).is_some()
            && let Err(error) = self.folder.rename(&self.name, &self.new_taken()?)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut claimed = Claimed::new(self);
        let names = self.taken()?;
        lock(&self.busy).retain(|busy| names.contains(&busy.name));
        for name in names {
            // From before it is locked until that is known here: for a fork.
            let mut locked = lock(&self.locked);
            let file = match self.folder.existing(&name)? {
                Existing::Nothing => continue,
                Existing::Other => None,
                Existing::File(file) => {
                    let free = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
                    if !free && !self.is_stuck(&name, &file) {
                        claimed.elsewhere = true;
                        continue;
                    }
                    Some(file)
                }
            };
            let keep = claimed.read(file.as_ref());
            locked.extend(file.map(|file| Locked {
                by: claimed.number,
                name: name.clone(),
                file,
            }));
            claimed.files.push(Claim { name, keep });
        }
        Ok(claimed)
    }

    /// Whether whoever has locked a file does not get on with it.
    fn is_stuck(&self, name: &str, file: &File) -> bool {
        let at = file.metadata().map(|of| (of.mtime(), of.mtime_nsec()));
        let (at, now) = (at.unwrap_or_default(), clock::coarse());
        let mut all = lock(&self.busy);
        if let Some(busy) = all.iter_mut().find(|busy| busy.name == name) {
            if busy.at == at {
                return now - busy.since >= PATIENCE;
            }
            (busy.at, busy.since) = (at, now);
        } else {
            all.push(Busy {
                name: name.to_owned(),
                at,
                since: now,
            });
        }
        false
    }
}

impl<'a> Claimed<'a> {
    fn new(journal: &'a Journal) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Claimed {
            journal,
            number: COUNT.fetch_add(1, Ordering::Relaxed),
            files: Vec::new(),
            records: Vec::new(),
            elsewhere: false,
        }
    }

    /// Reads a file, if it is one. Whether it is to be kept.
    fn read(&mut self, file: Option<&File>) -> bool {
        let read = file.map(|file| match Head::of(file)? {
            Head::Applied => Ok(false),
            Head::Ours => self.read_records(file).map(|()| false),
            Head::Foreign => Ok(true),
        });
        let keep = read.is_none_or(|read: io::Result<bool>| read.unwrap_or(true));
        if keep {
            self.records.push(Record::Everything);
        }
        keep
    }

    fn read_records(&mut self, file: &File) -> io::Result<()> {
        let (mut scan, records) = (Scan::default(), &mut self.records);
        let from = MAGIC.len() as u64;
        let (_, rest) = read(file, from, &mut scan, |record| records.push(record))?;
        if scan.is_damaged(rest) {
            records.push(Record::Everything);
        }
        Ok(())
    }

    /// Tells others that it gets on.
    fn touch(&self) {
        let now = SystemTime::now();
        for locked in lock(&self.journal.locked).iter() {
            if locked.by == self.number {
                // If that fails they apply it too.
                let _ = locked.file.set_modified(now);
            }
        }
    }

    /// All was applied.
    fn remove(&mut self) -> io::Result<()> {
        let folder = &self.journal.folder;
        for Claim { name, keep } in &self.files {
            if *keep {
                let aside = format!("{}.set-aside", self.journal.name);
                match folder.rename(name, &aside) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        folder.rename(name, &format!("{aside}-{name}"))?;
                    }
                    _ => {}
                }
                continue;
            }
            for locked in lock(&self.journal.locked).iter() {
                if locked.by == self.number && locked.name == *name {
                    // For those who had it open: it was not lost. If that cannot be written they take it for lost, which is safe.
                    let _ = may_be_long(MAGIC.len() as u64)
                        .and_then(|()| write_at(&locked.file, &APPLIED, 0));
                }
            }
            folder.remove(name)?;
        }
        Ok(())
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut all = lock(&self.journal.locked);
        for locked in all.extract_if(.., |locked| locked.by == self.number) {
            // A process that was begun meanwhile may have a copy of it. (That it was not locked is no matter.)
            let _ = locked.file.unlock();
        }
    }
}

//! Where the store has no files there is no journal either: what is pending is known to its own process, and lost with it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Left, Record, Replayed};

const MOST: usize = 1_000_000;
const BATCH: usize = 1000;

/// The journal of one Redis tier.
#[derive(Debug, Default)]
pub struct Journal {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    records: BTreeSet<Record>,
    /// What a thread has taken to replay.
    taken: BTreeSet<Record>,
}

impl Journal {
    /// The journal of this process.
    ///
    /// # Errors
    /// None.
    pub fn open(
        _folder: &Path,
        _name: &str,
        _sequence: &'static AtomicU64,
    ) -> io::Result<&'static Journal> {
        Ok(Box::leak(Box::default()))
    }

    /// Takes over from another one.
    ///
    /// # Errors
    /// None.
    pub fn succeed(&self, old: &Journal) -> io::Result<()> {
        if old.is_quiet() {
            return Ok(());
        }
        self.append(Record::Everything)
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let pending = self.pending();
        pending.records.is_empty() && pending.taken.is_empty()
    }

    /// Whether a clear of a key, of its function or of everything is pending.
    #[must_use]
    pub fn holds(&self, key: &[u8; 32], function: &[u8; 32]) -> bool {
        let pending = self.pending();
        let records = [
            Record::Key(*key),
            Record::Function(*function),
            Record::Everything,
        ];
        let is_pending =
            |record| pending.records.contains(record) || pending.taken.contains(record);
        records.iter().any(is_pending)
    }

    /// Notes a clear that Redis may not have got.
    ///
    /// # Errors
    /// None.
    pub fn append(&self, record: Record) -> io::Result<()> {
        let records = &mut self.pending().records;
        if records.len() >= MOST {
            records.clear();
            records.insert(Record::Everything);
        } else if !records.contains(&Record::Everything) {
            records.insert(record);
        }
        Ok(())
    }

    /// Has everything applied that is pending, up to 1000 records at a time.
    ///
    /// # Errors
    /// That of `apply`: then all is pending as before.
    pub fn replay<E>(
        &self,
        mut apply: impl FnMut(&[Record]) -> Result<(), E>,
    ) -> Result<Replayed, E> {
        let end = |records, left| Ok(Replayed { records, left });
        let mut pending = self.pending();
        if !pending.taken.is_empty() {
            return end(0, Left::Elsewhere);
        }
        pending.taken = std::mem::take(&mut pending.records);
        let records: Vec<_> = pending.taken.iter().copied().collect();
        drop(pending);
        // Put back what was not applied, also if `apply` panics.
        let mut taken = Taken {
            journal: self,
            applied: false,
        };
        for batch in records.chunks(BATCH) {
            apply(batch)?;
        }
        taken.applied = true;
        drop(taken);
        let left = if self.is_quiet() {
            Left::Nothing
        } else {
            Left::More
        };
        end(records.len(), left)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Taken<'a> {
    journal: &'a Journal,
    applied: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut pending = self.journal.pending();
        let taken = std::mem::take(&mut pending.taken);
        if !self.applied {
            pending.records.extend(taken);
        }
    }
}

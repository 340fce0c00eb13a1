//! Which processes live: each holds a lock on a file of its own for as long as it does, so that whoever waits for its lease sees at once
//! that it is gone. (A lock is let go by the system, however the process ends; it is seen through PID namespaces; and a number that
//! is given again means no confusion, since its new owner first frees what the old one left.)

use std::fs::{File, TryLockError};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::folder::Folder;
use super::leases::{MOST_WORKERS, Worker};
use super::lock;

/// This process among the workers of a store.
pub(super) struct Workers {
    /// The number of this process and one; 0 before it has one, and in the child of a fork.
    mine: AtomicU32,
    /// Its file, which stays open.
    file: Mutex<Option<File>>,
}

impl Workers {
    pub(super) const fn new() -> Self {
        Workers {
            mine: AtomicU32::new(0),
            file: Mutex::new(None),
        }
    }

    /// The number of this process, taken now if it has none. `bury` frees what a dead process of that number left.
    pub(super) fn mine(&self, folder: &Folder, bury: impl FnOnce(Worker)) -> io::Result<Worker> {
        if let Some(mine) = self.known() {
            return Ok(mine);
        }
        let mut mine = lock(&self.file);
        if let Some(known) = self.known() {
            return Ok(known);
        }
        for number in 0..MOST_WORKERS {
            let file = folder.of_worker(&number)?;
            match file.try_lock() {
                Ok(()) => {
                    bury(number);
                    *mine = Some(file);
                    self.mine.store(u32::from(number) + 1, Ordering::Release);
                    return Ok(number);
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{MOST_WORKERS} processes use it already"
        )))
    }

    fn known(&self) -> Option<Worker> {
        let mine = self.mine.load(Ordering::Acquire);
        Some(mine.checked_sub(1)? as Worker)
    }

    /// Whether the process of a number lives.
    pub(super) fn lives(folder: &Folder, worker: Worker) -> io::Result<bool> {
        match folder.of_worker(&worker)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Before a fork: nobody registers meanwhile.
    pub(super) fn hold(&self) -> impl Sized + '_ {
        lock(&self.file)
    }

    /// In the child of a fork: the number is the parent's, and so is the lock, which a copy of its file would hold beyond the parent's
    /// death.
    pub(super) fn forget(&self) {
        self.mine.store(0, Ordering::Relaxed);
        drop(lock(&self.file).take());
    }
}

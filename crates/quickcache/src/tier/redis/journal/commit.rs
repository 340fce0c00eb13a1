//! One write for all threads that append at the same time: while one waits for the disk, the others collect what the next one writes.

use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use super::Record;
use crate::tier::store::lock;

/// `T` is what belongs to whoever writes.
pub(super) struct Commit<T> {
    state: Mutex<State<T>>,
    written: Condvar,
}

struct State<T> {
    collected: Vec<Record>,
    /// Of the write that is to be made of them.
    outcome: Arc<OnceLock<io::Result<()>>>,
    writing: bool,
    own: T,
}

impl<T: Default> Commit<T> {
    pub(super) fn new() -> Self {
        Commit {
            state: Mutex::new(State {
                collected: Vec::new(),
                outcome: Arc::default(),
                writing: false,
                own: T::default(),
            }),
            written: Condvar::new(),
        }
    }

    /// Has a record written, by this thread or another.
    pub(super) fn append(
        &self,
        record: Record,
        write: impl FnOnce(Vec<Record>, &mut T) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.collected.push(record);
        let outcome = Arc::clone(&state.outcome);
        while state.writing {
            state = self
                .written
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = outcome.get() {
                return outcome.as_ref().map_err(copy).copied();
            }
        }
        state.writing = true;
        state.outcome = Arc::default();
        let records = std::mem::take(&mut state.collected);
        let mut own = std::mem::take(&mut state.own);
        drop(state);

        let result = write(records, &mut own);

        let mut state = lock(&self.state);
        state.own = own;
        state.writing = false;
        let result = outcome.get_or_init(|| result);
        self.written.notify_all();
        result.as_ref().map_err(copy).copied()
    }

    /// Before a fork.
    pub(super) fn hold(&self) -> impl Sized + '_ {
        lock(&self.state)
    }

    /// In the child of a fork: what the parent's threads write is theirs.
    pub(super) fn forget(&self) {
        let mut state = lock(&self.state);
        state.collected.clear();
        state.outcome = Arc::default();
        state.writing = false;
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn key(n: u8) -> Record {
        Record::Key([n; 32])
    }

    #[test]
    fn what_comes_while_one_writes_is_written_at_once() {
        const MORE: usize = 8;
        let commit: Commit<usize> = Commit::new();
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let first = &commit;
            scope.spawn(move || {
                let written = first.append(key(0), |records, writes| {
                    assert_eq!(records, [key(0)]);
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    *writes += 1;
                    Err(io::ErrorKind::StorageFull.into())
                });
                assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
            });
            has_begun.recv().unwrap();
            for n in 1..=MORE as u8 {
                let commit = &commit;
                scope.spawn(move || {
                    let written = commit.append(key(n), |records, writes| {
                        assert_eq!(records.len(), MORE);
                        *writes += 1;
                        Ok(())
                    });
                    assert!(written.is_ok());
                });
            }
            while lock(&commit.state).collected.len() < MORE {
                std::thread::sleep(Duration::from_millis(1));
            }
            go_on.send(()).unwrap();
        });
        assert_eq!(lock(&commit.state).own, 2);
    }
}

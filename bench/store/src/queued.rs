//! LMDB behind a thread that writes: a put is queued and the thread stores what has gathered in one transaction. The caller never
//! waits, but a put is lost when the queue is full, when the gate is stuck, or when the process ends before its turn.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::candidate::{Candidate, Key};
use crate::lmdb::{FORKS, Lmdb};

const QUEUE: usize = 1024;
const BATCH: usize = 64;

type Entry = (Key, Vec<u8>);

pub struct Queued {
    state: Arc<State>,
    /// A forked child has no thread: it starts its own.
    queue: Mutex<Option<(u64, SyncSender<Entry>)>>,
}

struct State {
    lmdb: Lmdb,
    lost: AtomicU64,
}

impl Queued {
    pub fn open(folder: &Path, bytes: u64) -> io::Result<Queued> {
        let state = State {
            lmdb: Lmdb::open(folder, bytes)?,
            lost: AtomicU64::new(0),
        };
        Ok(Queued {
            state: Arc::new(state),
            queue: Mutex::new(None),
        })
    }
}

fn write(state: &State, queue: &Receiver<Entry>) {
    while let Ok(first) = queue.recv() {
        let mut entries = vec![first];
        entries.extend(queue.try_iter().take(BATCH - 1));
        let stored = state.lmdb.put_batch(&entries);
        state
            .lost
            .fetch_add((entries.len() - stored) as u64, Relaxed);
    }
}

impl Candidate for Queued {
    fn get(&self, key: &Key, out: &mut Vec<u8>) -> bool {
        self.state.lmdb.get(key, out)
    }

    fn put(&self, key: &Key, value: &[u8]) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let forks = FORKS.load(Relaxed);
        if queue.as_ref().is_none_or(|(of, _)| *of != forks) {
            let (sender, receiver) = sync_channel(QUEUE);
            let state = self.state.clone();
            thread::spawn(move || write(&state, &receiver));
            *queue = Some((forks, sender));
        }
        queue
            .as_ref()
            .is_some_and(|(_, sender)| sender.try_send((*key, value.to_vec())).is_ok())
    }

    fn get_pausing(&self, key: &Key, out: &mut Vec<u8>, pause: &mut dyn FnMut()) -> bool {
        self.state.lmdb.get_pausing(key, out, pause)
    }

    fn put_pausing(&self, key: &Key, value: &[u8], pause: &mut dyn FnMut()) -> bool {
        self.state.lmdb.put_pausing(key, value, pause)
    }

    fn lost(&self) -> u64 {
        self.state.lost.load(Relaxed)
    }
}

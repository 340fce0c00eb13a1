//! Puts of async calls, which may not wait for a disk: one thread does them, in their order. It keeps what the call had seen, its lease
//! included, so that who waits elsewhere is woken when the value is there.

use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use super::{Seen, Shared, lock};

/// How many puts may wait. One more is done in its place, by its caller.
const MOST: usize = 256;

struct Put {
    shared: &'static Shared,
    seen: Seen,
    entry: Vec<u8>,
}

impl Put {
    fn done(self) {
        if let Err(why) = self.seen.put(&self.entry) {
            self.shared.unstored(&why);
        }
    }
}

/// The thread of this process, as soon as it has one.
static WRITER: Mutex<Option<SyncSender<Put>>> = Mutex::new(None);

/// Stores an entry soon. What goes wrong is counted and, once, logged.
pub(super) fn put(shared: &'static Shared, seen: Seen, entry: Vec<u8>) {
    let put = Put {
        shared,
        seen,
        entry,
    };
    let mut writer = lock(&WRITER);
    let sender = writer.get_or_insert_with(|| {
        let (sender, puts) = sync_channel::<Put>(MOST);
        let thread = std::thread::Builder::new().name("quickcache-store".to_owned());
        // Without a thread nobody receives, and the puts are done here.
        let _thread = thread.spawn(move || puts.into_iter().for_each(Put::done));
        sender
    });
    let sent = sender.try_send(put);
    drop(writer);
    if let Err(TrySendError::Full(put) | TrySendError::Disconnected(put)) = sent {
        put.done();
    }
}

/// Before a fork: nobody sends meanwhile.
#[cfg(unix)]
pub(super) fn hold() -> impl Sized {
    lock(&WRITER)
}

/// In the child of a fork: the thread is the parent's.
#[cfg(unix)]
pub(super) fn forget() {
    let parents = lock(&WRITER).take();
    // What the parent's thread was to put is put by the parent: here nothing is to be released.
    std::mem::forget(parents);
}

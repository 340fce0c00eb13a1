//! What a fork needs: handlers around it, and guards that whoever forks holds across it, so that the child finds every lock free.

use std::cell::UnsafeCell;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

type Handler = unsafe extern "C" fn();

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<Handler>,
        parent: Option<Handler>,
        child: Option<Handler>,
    ) -> std::ffi::c_int;
}

/// Has these called before a fork, and after it in each process. If there is no memory for it, a child may hang as it would have
/// without it.
///
/// # Safety
/// The handlers are functions of this library, which is then never unloaded: it leaks what points to it.
pub(crate) unsafe fn at_fork(
    before: Option<Handler>,
    in_parent: Option<Handler>,
    in_child: Option<Handler>,
) {
    // SAFETY: by the caller.
    unsafe { pthread_atfork(before, in_parent, in_child) };
}

/// How many forks lie between this process and the one that first asked: what was begun at another count will never end. (The number
/// of the process would say it too, by a call to the system.)
pub(crate) fn count() -> u32 {
    static ONCE: Once = Once::new();
    static FORKS: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: handlers of this library, which leaks its functions.
    ONCE.call_once(|| unsafe { at_fork(None, None, Some(in_child)) });
    FORKS.load(Ordering::Relaxed)
}

/// A guard, of whatever.
pub(crate) trait Held {}

impl<T> Held for T {}

/// What is held across a fork.
pub(crate) struct Hand(UnsafeCell<Vec<Box<dyn Held>>>);

// SAFETY: used as its methods say, it is one thread's.
unsafe impl Sync for Hand {}

impl Hand {
    pub(crate) const fn new() -> Self {
        Hand(UnsafeCell::new(Vec::new()))
    }

    /// Takes guards, which are dropped in their order.
    ///
    /// # Safety
    /// The last of them is that of a lock under which alone this hand is used.
    pub(crate) unsafe fn take_up(&self, held: Vec<Box<dyn Held>>) {
        // SAFETY: this thread holds the lock.
        unsafe { *self.0.get() = held };
    }

    /// Drops them.
    ///
    /// # Safety
    /// This thread, or in the child of a fork the one it is a copy of, has taken them up.
    pub(crate) unsafe fn let_go(&self) {
        // SAFETY: this thread holds the lock until it is dropped here.
        let held = unsafe { std::mem::take(&mut *self.0.get()) };
        drop(held);
    }
}

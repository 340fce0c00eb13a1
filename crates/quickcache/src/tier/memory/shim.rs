//! What the lock takes from outside: atomics, pauses, and the stripe of a thread. The model checker's test compiles the lock a second
//! time with a `shim` of its own beside it (`tests/loom_lock.rs`).

use std::cell::Cell;
pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
pub(super) use std::thread::yield_now;

/// How many stripes a lock has at most.
pub(super) const MOST: usize = 8;

thread_local! {
    // Made while compiling, and without a destructor: reading it is one load.
    static STRIPE: Cell<usize> = const { Cell::new(0) };
}

/// The stripe of this thread, in every lock.
#[inline]
pub(super) fn stripe() -> usize {
    STRIPE.get()
}

pub(super) fn set_stripe(stripe: usize) {
    STRIPE.set(stripe);
}

//! The lock of a shard: one word, held for some ten nanoseconds while a table is looked into. Releasing it is a plain store,
//! where a mutex needs a second read-modify-write to find out who sleeps; on a hit that was a third of the time. Who finds it
//! held spins, and soon gives its time slice away, since the holder may have lost its own. Its tests are in `tests/loom_lock.rs`.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

use super::shim::{AtomicBool, Ordering, spin_loop, yield_now};

/// A lock for short sections without code of a user. `repr(C)`: the value begins on the cache line of the lock.
#[repr(C)]
pub(super) struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: a guard gives the value to one thread at a time, as a mutex does.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The right to the value, for as long as it lives.
pub(super) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Lock {
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> Guard<'_, T> {
        if !self.take() {
            self.wait();
        }
        Guard(self)
    }

    pub(super) fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.take().then(|| Guard(self)) // not `then_some`: a guard that is dropped releases
    }

    #[inline]
    fn take(&self) -> bool {
        self.held
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn wait(&self) {
        const SPINS: u32 = 64;
        let mut spins = 0;
        loop {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                yield_now();
            }
            if !self.held.load(Ordering::Relaxed) && self.take() {
                return;
            }
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

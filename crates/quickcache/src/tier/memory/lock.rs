//! The lock of a shard, for sections of some ten nanoseconds in which a table is looked into. It is striped (Hsieh and Weihl:
//! "Scalable reader-writer locks for parallel systems", IPPS 1992): a reader takes one stripe, that of its thread; a writer takes
//! all in order. Each stripe is on a cache line of its own, so that threads that hit do not take a line from each other, which
//! costs more than the rest of a hit. Releasing is a plain store, where a mutex or a count of readers needs a second
//! read-modify-write.
//!
//! Every thread begins at the first stripe. Who meets another reader there moves to the next and stays: so there are soon as many
//! stripes in use as threads that read at the same time, up to `MOST`, and a writer pays for these only. Its tests
//! are in `tests/loom_lock.rs`.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

use super::shim::{
    AtomicU8, AtomicUsize, MOST, Ordering, set_stripe, spin_loop, stripe, yield_now,
};

/// A lock for short sections without code of a user. `L` is what belongs to a stripe: a reader may change it.
pub(super) struct Lock<T, L> {
    value: UnsafeCell<T>,
    /// How many stripes are in use: who reads under another one first makes it so. Changed by writers only.
    used: AtomicUsize,
    stripes: [Stripe<L>; MOST],
}

/// `repr(C)`: what belongs to it begins on the line of the word. 128 bytes, since processors fetch lines in pairs.
#[repr(C, align(128))]
struct Stripe<L> {
    word: AtomicU8,
    own: UnsafeCell<L>,
}

const FREE: u8 = 0;
const READ: u8 = 1;
const WRITE: u8 = 2;

// SAFETY: who owns the lock may send away what is in it.
unsafe impl<T: Send, L: Send> Send for Lock<T, L> {}
// SAFETY: a writer has the value alone, readers share it; what belongs to a stripe is with one thread at a time.
unsafe impl<T: Send + Sync, L: Send> Sync for Lock<T, L> {}

/// The right to read the value and to change what belongs to one stripe, for as long as it lives.
pub(super) struct Reading<'a, T, L> {
    lock: &'a Lock<T, L>,
    held: &'a Stripe<L>,
}

/// The right to change the value, for as long as it lives.
pub(super) struct Writing<'a, T, L> {
    lock: &'a Lock<T, L>,
    _held: Held<'a, L>,
}

/// Stripes that are released together.
struct Held<'a, L>(&'a [Stripe<L>]);

impl<L> Stripe<L> {
    /// Takes it, or says who has it.
    #[inline]
    fn take(&self, by: u8) -> Result<(), u8> {
        self.word
            .compare_exchange(FREE, by, Ordering::Acquire, Ordering::Relaxed)
            .map(drop)
    }

    fn wait(&self, by: u8) {
        let mut patience = Patience::default();
        while self.take(by).is_err() {
            while self.word.load(Ordering::Relaxed) != FREE {
                patience.pause();
            }
        }
    }

    #[inline]
    fn release(&self) {
        self.word.store(FREE, Ordering::Release);
    }
}

/// Who finds a stripe held spins, and soon gives its time slice away, since the holder may have lost its own.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn pause(&mut self) {
        const SPINS: u32 = 64;
        if self.0 < SPINS {
            self.0 += 1;
            spin_loop();
        } else {
            yield_now();
        }
    }
}

impl<T, L: Default> Lock<T, L> {
    pub(super) fn new(value: T) -> Self {
        Lock {
            value: UnsafeCell::new(value),
            used: AtomicUsize::new(1),
            stripes: std::array::from_fn(|_| Stripe {
                word: AtomicU8::new(FREE),
                own: UnsafeCell::default(),
            }),
        }
    }
}

impl<T, L> Lock<T, L> {
    #[inline]
    pub(super) fn read(&self) -> Reading<'_, T, L> {
        let at = stripe() % MOST;
        let held = &self.stripes[at];
        // `Acquire`: what writers did before the stripe was in use, they did without having it.
        if held.take(READ).is_ok() {
            if at < self.used.load(Ordering::Acquire) {
                return Reading { lock: self, held };
            }
            held.release();
        }
        self.read_elsewhere(at)
    }

    #[cold]
    fn read_elsewhere(&self, mut at: usize) -> Reading<'_, T, L> {
        let mut patience = Patience::default();
        loop {
            if at >= self.used.load(Ordering::Acquire) {
                let writing = self.write();
                let used = self.used.load(Ordering::Relaxed);
                self.used.store(used.max(at + 1), Ordering::Release);
                drop(writing);
            }
            match self.stripes[at].take(READ) {
                Ok(()) => {
                    set_stripe(at);
                    return Reading {
                        lock: self,
                        held: &self.stripes[at],
                    };
                }
                Err(READ) => at = (at + 1) % MOST,
                Err(_) => {
                    while self.stripes[at].word.load(Ordering::Relaxed) == WRITE {
                        patience.pause();
                    }
                }
            }
        }
    }

    pub(super) fn write(&self) -> Writing<'_, T, L> {
        self.stripes[0].wait(WRITE);
        let used = self.in_use();
        used[1..].iter().for_each(|stripe| stripe.wait(WRITE));
        Writing {
            lock: self,
            _held: Held(used),
        }
    }

    pub(super) fn try_write(&self) -> Option<Writing<'_, T, L>> {
        self.stripes[0].take(WRITE).ok()?;
        let used = self.in_use();
        for at in 1..used.len() {
            if used[at].take(WRITE).is_err() {
                drop(Held(&used[..at]));
                return None;
            }
        }
        Some(Writing {
            lock: self,
            _held: Held(used),
        })
    }

    /// Every stripe, those too that are not in use, which a reader may have for a moment: so that in the child of a fork none is left
    /// to a thread that is not there.
    #[cfg(unix)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.stripes.iter().for_each(|stripe| stripe.wait(WRITE));
        Held(&self.stripes)
    }

    /// The stripes in use. Who calls has the first one, as whoever changes their number.
    fn in_use(&self) -> &[Stripe<L>] {
        &self.stripes[..self.used.load(Ordering::Relaxed)]
    }

    /// Shows what belongs to each stripe, one after the other.
    pub(super) fn each(&self, mut show: impl FnMut(&L)) {
        for stripe in &self.stripes {
            stripe.wait(WRITE);
            let held = Held(std::slice::from_ref(stripe));
            // SAFETY: this thread has the stripe.
            show(unsafe { &*stripe.own.get() });
            drop(held);
        }
    }
}

impl<T, L> Reading<'_, T, L> {
    /// The value, and what belongs to the stripe.
    #[inline]
    pub(super) fn parts(&mut self) -> (&T, &mut L) {
        // SAFETY: this thread has the stripe, and with it what belongs to it; the value as in `deref`.
        unsafe { (&*self.lock.value.get(), &mut *self.held.own.get()) }
    }
}

impl<T, L> Deref for Reading<'_, T, L> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has a stripe that is in use, and a writer would have it; readers change nothing.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, L> Drop for Reading<'_, T, L> {
    #[inline]
    fn drop(&mut self) {
        self.held.release();
    }
}

impl<T, L> Deref for Writing<'_, T, L> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this thread has every stripe in use, so there is no other guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, L> DerefMut for Writing<'_, T, L> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<L> Drop for Held<'_, L> {
    fn drop(&mut self) {
        self.0.iter().for_each(Stripe::release);
    }
}

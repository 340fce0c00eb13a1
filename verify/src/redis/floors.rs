//! What calls must be given at least, by family (functions that share entries), key, and who asks: a function without memory or store
//! before Redis, one with them on the machine that cleared, one with them on another.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::history::{MOST_KEYS, now, shared_words};

pub const FAMILIES: usize = 2;
pub const MOST_MACHINES: usize = 4;

/// Clears of a key whose time has not come; of more the oldest are forgotten, and not checked.
const RING: usize = 60;

/// Of a family and key: the floor of applied clears, that of those which returned a bound ago, how many were put into the ring and taken out.
const CELL: usize = 4 + RING;

const CELLS_AT: usize = 1;
const MACHINES_AT: usize = CELLS_AT + FAMILIES * MOST_KEYS * CELL;
const WORDS: usize = MACHINES_AT + 2 * MOST_MACHINES * FAMILIES * MOST_KEYS;

/// A place in the ring: the version in 24 bits, below the microsecond in which its clear returned.
const VERSION_BITS: u32 = 24;

#[derive(Clone, Copy)]
pub struct Floors {
    words: &'static [AtomicU64],
    /// After how many microseconds a clear is known on every machine.
    bound: u64,
}

impl Floors {
    pub fn open(path: &Path, bound: Duration) -> io::Result<Floors> {
        let words = shared_words(path, WORDS)?;
        // When the run began: later moments are counted from here.
        let _ = words[0].compare_exchange(0, now(), Ordering::SeqCst, Ordering::SeqCst);
        let bound = bound.as_micros() as u64;
        Ok(Floors { words, bound })
    }

    fn cell(&self, family: usize, key: usize) -> &'static [AtomicU64] {
        &self.words[CELLS_AT + (family * MOST_KEYS + key) * CELL..][..CELL]
    }

    /// Of clears that were applied.
    pub fn applied(&self, family: usize, key: usize) -> &'static AtomicU64 {
        &self.cell(family, key)[0]
    }

    /// Of clears of this machine: applied, and if that is checked pending ones.
    pub fn of_machine(&self, machine: usize, family: usize, key: usize) -> &'static AtomicU64 {
        &self.words[MACHINES_AT + (machine * FAMILIES + family) * MOST_KEYS + key]
    }

    /// Of clears of this machine that are pending.
    pub fn owed(&self, machine: usize, family: usize, key: usize) -> &'static AtomicU64 {
        self.of_machine(MOST_MACHINES + machine, family, key)
    }

    fn micros(&self, nanos: u64) -> u64 {
        nanos.saturating_sub(self.words[0].load(Ordering::Relaxed)) / 1000
    }

    /// A clear to this version has returned, applied: in a while it must be known everywhere.
    pub fn later(&self, family: usize, key: usize, version: u64) {
        if version >> VERSION_BITS != 0 {
            return; // a long run: not checked
        }
        let cell = self.cell(family, key);
        let at = self.micros(now()) + 1;
        let number = cell[2].fetch_add(1, Ordering::SeqCst) as usize;
        cell[4 + number % RING].store(at << VERSION_BITS | version, Ordering::SeqCst);
    }

    /// A clear to this version has returned, and the bound has passed.
    pub fn everywhere(&self, family: usize, key: usize, version: u64) {
        self.cell(family, key)[1].fetch_max(version, Ordering::SeqCst);
    }

    /// The floor of a call that begins at this moment on a machine whose memory or store may be a bound late.
    #[inline]
    pub fn known_at(&self, nanos: u64, family: usize, key: usize) -> u64 {
        let cell = self.cell(family, key);
        loop {
            let (put, taken) = (
                cell[2].load(Ordering::SeqCst),
                cell[3].load(Ordering::SeqCst),
            );
            if taken >= put {
                break;
            }
            let place = cell[4 + taken as usize % RING].load(Ordering::SeqCst);
            if (place >> VERSION_BITS) + self.bound > self.micros(nanos) {
                break;
            }
            self.everywhere(family, key, place & ((1 << VERSION_BITS) - 1));
            // Somebody else may have done it.
            let _ = cell[3].compare_exchange(taken, taken + 1, Ordering::SeqCst, Ordering::SeqCst);
        }
        cell[1].load(Ordering::SeqCst)
    }
}

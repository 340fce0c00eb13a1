//! How far it is proven that the table has heard of what was cleared on other machines, where there is a tier that several machines share.
//!
//! A word in the table's header: until when of the boot clock the table may be relied on, in 48 bits of milliseconds, below the number of the
//! chain of proofs that it belongs to. Everything that was cleared elsewhere by one bound before that has moved the table on. (The bound is that of who
//! proves it, so that no process relies on a proof for longer than was agreed on.) Who moves it is told in `tier/redis/common.rs`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{self, Millis};

const CHAIN_SHIFT: u32 = 48;
pub const MILLIS: u64 = (1 << CHAIN_SHIFT) - 1;

/// A chain, by its number, and until when it may be relied on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    pub chain: u16,
    pub until: Millis,
}

impl Proof {
    #[must_use]
    pub fn of(word: u64) -> Proof {
        Proof {
            chain: (word >> CHAIN_SHIFT) as u16,
            until: word & MILLIS,
        }
    }

    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.chain) << CHAIN_SHIFT | self.until & MILLIS
    }

    /// Whether it may be relied on now. A millisecond less: both times are cut to whole ones.
    #[must_use]
    pub fn is_fresh(self) -> bool {
        clock::boot() + 1 < self.until
    }
}

/// A tier that several machines share, behind a table, by what names it among those of the table: memory and store serve while it is proven
/// that they know what was cleared there.
#[derive(Clone, Copy)]
pub struct Proven(pub u64);

/// The same at an open table.
#[derive(Clone, Copy)]
pub enum Proving {
    /// There is no such tier.
    Needless,
    /// There is no room for it in the table.
    Never,
    By(&'static AtomicU64),
}

impl Proving {
    /// What a hit asks before it looks at the table. Acquire, as are the loads there: who sees a proof sees all that was applied before it.
    #[inline(always)]
    pub fn holds(&self) -> bool {
        match self {
            Proving::Needless => true,
            Proving::Never => false,
            Proving::By(word) => Proof::of(word.load(Ordering::Acquire)).is_fresh(),
        }
    }
}

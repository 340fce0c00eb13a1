//! How far it is proven that the table has heard of what was cleared on other machines, where there is a tier that several machines share.
//!
//! A word in the table's header: until when of the boot clock the table may be relied on, in 48 bits of milliseconds, below the number of the
//! chain of proofs that it belongs to. Everything that was cleared elsewhere by one bound before that has moved the table on. (The bound is that of who
//! proves it, so that no process relies on a proof for longer than was agreed on.) Another word says whether the tier is out of reach, for those who
//! serve without a proof then. Who moves the two is told in `tier/redis/common.rs`.

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

/// Whether the tier can be reached, as of a moment: when an attempt began that failed, or one succeeded. The later one holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    pub out: bool,
    pub millis: Millis,
}

impl Reach {
    /// Until when a failed attempt counts that no other follows: who made it may have been killed, or stopped. The agent of a live process makes
    /// one at least every three seconds, which takes two at most.
    const LASTS: Millis = 5000;
    const OUT: u64 = 1 << 63;

    #[must_use]
    pub fn of(word: u64) -> Reach {
        Reach {
            out: word & Reach::OUT != 0,
            millis: word & !Reach::OUT,
        }
    }

    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.out) << 63 | self.millis & !Reach::OUT
    }

    /// Whether it is out of reach now, as far as is known.
    #[must_use]
    pub fn is_out(self) -> bool {
        self.out && clock::boot().saturating_sub(self.millis) < Reach::LASTS
    }
}

/// A tier that several machines share, behind a table: memory and store serve while it is proven that they know what was cleared there.
#[derive(Clone, Copy)]
pub struct Proven {
    /// Names it among the network tiers of the table.
    pub id: u64,
    /// Whether they serve without a proof while it is out of reach.
    pub while_out: bool,
}

/// The same at an open table.
#[derive(Clone, Copy)]
pub enum Proving {
    /// There is no such tier.
    Needless,
    /// There is no room for it in the table.
    Never,
    By(&'static AtomicU64),
    /// The same, or it is out of reach, as another word says.
    ByOrOut(&'static AtomicU64, &'static AtomicU64),
}

impl Proving {
    /// What a hit asks before it looks at the table. Acquire, as are the loads there: who sees a proof sees all that was applied before it.
    #[inline(always)]
    pub fn holds(&self) -> bool {
        match self {
            Proving::Needless => true,
            Proving::Never => false,
            Proving::By(word) => Proof::of(word.load(Ordering::Acquire)).is_fresh(),
            Proving::ByOrOut(word, reach) => {
                Proof::of(word.load(Ordering::Acquire)).is_fresh() || is_out(reach)
            }
        }
    }
}

#[cold]
#[inline(never)]
fn is_out(reach: &AtomicU64) -> bool {
    Reach::of(reach.load(Ordering::Acquire)).is_out()
}

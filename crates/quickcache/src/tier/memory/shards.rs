//! The memory tier of the Rust front: tables behind locks. Shards are chosen by the upper bits of a key's hash, so that
//! threads seldom meet; the bounds are divided among them. The table and its policy are in `table`, an entry in `stored`; what a function
//! does with them in `tables`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::lock::{Lock, Reading};
use super::stored::Payload;
use super::tables::{Left, Tables};
use super::{CacheLine, Limits, Policy, Table};
use crate::clock::Clock;
use crate::config::Timeout;

/// A bounded cache in this process: the fastest tier, and often the only one.
///
/// Use one `Memory` for many functions: its bounds hold for all of them together, and what is asked for most stays,
/// whichever function it belongs to. A clone is a handle to the same entries.
///
/// By default it holds 10,000 entries and 64 MiB. An entry weighs what its key and value take, text and vectors
/// included (see [`Weigh`](crate::Weigh)), and about 100 bytes beside. What does not fit in a shard's share of the bytes
/// (an eighth, in a large memory) is not kept.
///
/// ```
/// use quickcache::{Memory, QuickCache};
///
/// let memory = Memory::new().entries(100_000).bytes(256 << 20);
/// let short = QuickCache::builder(memory.clone()).timeout("10s").build();
/// let long = QuickCache::builder(memory.clone()).timeout("1h").build();
/// assert_eq!(memory.len(), 0);
/// ```
#[derive(Clone)]
pub struct Memory {
    shards: Arc<Shards>,
    pub(crate) timeout: Option<Duration>,
}

/// What the handles of a memory share. The shards are made when the first function asks.
struct Shards {
    limits: Limits,
    made: OnceLock<Arc<[Shard]>>,
    /// How many functions have asked for the tables.
    seats: AtomicUsize,
}

/// A table, and for each stripe of its lock the hits that were counted there: on a line that a hit writes anyway.
pub(super) type Shard = Lock<Table<Payload, CacheLine>, Hits>;

/// Hits of each function of the memory, by its seat. Exact: who counts has the stripe.
#[derive(Default)]
pub(super) struct Hits {
    first: [u64; 4],
    others: Vec<u64>,
}

impl Hits {
    #[inline]
    pub(super) fn count(&mut self, seat: usize) {
        match self.first.get_mut(seat) {
            Some(hits) => *hits += 1,
            None => self.count_other(seat),
        }
    }

    #[cold]
    fn count_other(&mut self, seat: usize) {
        let at = seat - self.first.len();
        if self.others.len() <= at {
            self.others.resize(at + 1, 0);
        }
        self.others[at] += 1;
    }

    pub(super) fn of(&self, seat: usize) -> u64 {
        let mut all = self.first.iter().chain(&self.others);
        all.nth(seat).copied().unwrap_or(0)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("limits", &self.shards.limits)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// A memory of 10,000 entries and 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with(
            Limits {
                entries: 10_000,
                bytes: 64 << 20,
            },
            None,
        )
    }

    fn with(limits: Limits, timeout: Option<Duration>) -> Self {
        Memory {
            shards: Arc::new(Shards {
                limits,
                made: OnceLock::new(),
                seats: AtomicUsize::new(0),
            }),
            timeout,
        }
    }

    /// How many entries it may hold. Called on a memory in use, it makes a new one beside it.
    #[must_use]
    pub fn entries(self, entries: usize) -> Self {
        Self::with(
            Limits {
                entries,
                ..self.shards.limits
            },
            self.timeout,
        )
    }

    /// How many bytes it may hold. Called on a memory in use, it makes a new one beside it.
    #[must_use]
    pub fn bytes(self, bytes: u64) -> Self {
        Self::with(
            Limits {
                bytes,
                ..self.shards.limits
            },
            self.timeout,
        )
    }

    /// How long a value may live in this tier, if the function says nothing else. Handles may differ in it.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or zero.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = Some(timeout.into().duration("Memory", "timeout"));
        self
    }

    /// How many entries it holds, those that expired and were not yet freed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each().map(|table| table.len()).sum()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes its entries weigh.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.each().map(|table| table.bytes()).sum()
    }

    /// Frees every entry that has expired. Traffic does so by and by; call this to have it at once.
    pub fn sweep(&self) {
        self.sweep_at(Clock::System.now());
    }

    pub(crate) fn sweep_at(&self, now: u64) {
        for shard in self.made() {
            let mut out = Vec::new();
            let mut table = shard.write();
            let budget = table.slots();
            table.sweep(now, budget, |_| false, &mut out);
            drop(table);
            drop(out);
        }
    }

    /// Forgets every entry. Running executions still store what they compute: to clear, use the companions of the function.
    #[must_use = "dropping entries runs code of users"]
    pub(crate) fn forget(&self) -> Left {
        let mut out = Vec::new();
        for shard in self.made() {
            shard.write().drain(&mut out);
        }
        Left::new(out)
    }

    fn made(&self) -> &[Shard] {
        self.shards.made.get().map_or(&[], |made| made)
    }

    fn each(&self) -> impl Iterator<Item = Reading<'_, Table<Payload, CacheLine>, Hits>> {
        self.made().iter().map(Shard::read)
    }

    /// For a function: the tables themselves, so that a hit follows one pointer less. `copy`: its values are held as they are,
    /// not shared.
    pub(crate) fn tables(&self, copy: bool) -> Tables {
        let shards = self
            .shards
            .made
            .get_or_init(|| make(self.shards.limits))
            .clone();
        let seat = self.shards.seats.fetch_add(1, Ordering::Relaxed);
        Tables::new(shards, seat, copy)
    }
}

/// So many shards that threads seldom meet, and so few that the bounds can be divided among them.
fn make(limits: Limits) -> Arc<[Shard]> {
    const LEAST: usize = 1024;
    let threads = std::thread::available_parallelism().map_or(4, usize::from);
    let wanted = (4 * threads).next_power_of_two();
    let mut count = 1;
    while count < wanted && limits.entries / (count * 2) >= LEAST {
        count *= 2;
    }
    let share = |at: usize| Limits {
        // The first shards take what is left over, so that the sum is the bound.
        entries: limits.entries / count + usize::from(at < limits.entries % count),
        bytes: limits.bytes / count as u64,
    };
    (0..count)
        .map(|at| Lock::new(Table::aligned(share(at), Policy::DEFAULT)))
        .collect()
}

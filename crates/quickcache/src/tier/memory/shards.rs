//! The memory tier of the Rust front: tables behind locks. Shards are chosen by the upper bits of a key's hash, so that
//! threads seldom meet; the bounds are divided among them. The table and its policy are in `table`, an entry in `stored`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::lock::{Guard, Lock};
use super::stored::{Kept, Payload, Stamp, Stored};
use super::{CacheLine, Limits, Policy, Standing, Table};
use crate::clock::Clock;
use crate::config::Timeout;
use crate::key::KeyPart;

/// A bounded cache in this process: the fastest tier, and often the only one.
///
/// Use one `Memory` for many functions: its bounds hold for all of them together, and what is asked for most stays,
/// whichever function it belongs to. A clone is a handle to the same entries.
///
/// By default it holds 10,000 entries and 64 MiB. An entry weighs what its key and value take, text and vectors
/// included (see [`Weigh`](crate::Weigh)), and about 80 bytes beside. What does not fit in a shard's share of the bytes
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

/// A shard on cache lines of its own.
#[repr(align(128))]
struct Shard(Lock<Inside>);

/// `repr(C)`: the hits come first, on the line of the lock, which a hit writes anyway.
#[repr(C)]
struct Inside {
    hits: Hits,
    table: Table<Payload, CacheLine>,
}

/// Hits of each function of the memory, by its seat: counted under a lock that is held anyway.
#[derive(Default)]
struct Hits {
    first: [u64; 4],
    others: Vec<u64>,
}

impl Hits {
    #[inline]
    fn count(&mut self, seat: usize) {
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

    fn of(&self, seat: usize) -> u64 {
        let mut all = self.first.iter().chain(&self.others);
        all.nth(seat).copied().unwrap_or(0)
    }
}

/// A hash of a key: the upper half chooses a shard, the lower half is for its table.
pub(crate) type KeyHash = u64;

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
        self.each().map(|shard| shard.table.len()).sum()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes its entries weigh.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.each().map(|shard| shard.table.bytes()).sum()
    }

    /// Frees every entry that has expired. Traffic does so by and by; call this to have it at once.
    pub fn sweep(&self) {
        self.sweep_at(Clock::System.now());
    }

    pub(crate) fn sweep_at(&self, now: u64) {
        for shard in self.made() {
            let mut out = Vec::new();
            let mut shard = shard.lock();
            let budget = shard.table.slots();
            shard.table.sweep(now, budget, |_| false, &mut out);
            drop(shard);
            drop(out);
        }
    }

    /// Forgets every entry. Running executions still store what they compute: to clear, use the companions of the function.
    #[must_use = "dropping entries runs code of users"]
    pub(crate) fn forget(&self) -> Left {
        let mut out = Vec::new();
        for shard in self.made() {
            shard.lock().table.drain(&mut out);
        }
        Left { _payloads: out }
    }

    fn made(&self) -> &[Shard] {
        self.shards.made.get().map_or(&[], |made| made)
    }

    fn each(&self) -> impl Iterator<Item = Guard<'_, Inside>> {
        self.made().iter().map(Shard::lock)
    }

    /// For a function: the tables themselves, so that a hit follows one pointer less. `copy`: its values are held as they are,
    /// not shared.
    pub(crate) fn tables(&self, copy: bool) -> Tables {
        let shards = self
            .shards
            .made
            .get_or_init(|| make(self.shards.limits))
            .clone();
        Tables {
            shards,
            seat: self.shards.seats.fetch_add(1, Ordering::Relaxed),
            copy,
        }
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
        .map(|at| {
            Shard(Lock::new(Inside {
                table: Table::aligned(share(at), Policy::DEFAULT),
                hits: Hits::default(),
            }))
        })
        .collect()
}

impl Shard {
    #[inline]
    fn lock(&self) -> Guard<'_, Inside> {
        // A table is whole whatever panicked: it calls nothing but comparisons of keys.
        self.0.lock()
    }
}

/// What leaves a table: to be dropped when every lock is released.
pub(crate) struct Left {
    _payloads: Vec<Payload>,
}

/// The tables of a memory, a power of two of them, as one function sees them.
pub(crate) struct Tables {
    shards: Arc<[Shard]>,
    /// Where its hits are counted.
    seat: usize,
    /// Whether its values are cloned under the lock: they are `Copy`, so that no code of a user runs there.
    copy: bool,
}

/// Asks for the number of a function with keys `K` and values `V`.
pub(crate) fn number<K: 'static, V: 'static>(copy: bool) -> u32 {
    if copy {
        super::stored::number::<K, V>()
    } else {
        super::stored::number::<K, Arc<Stored<V>>>()
    }
}

impl Tables {
    #[inline]
    fn shard(&self, hash: KeyHash) -> &Shard {
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    /// The value of a key, if it is here and not expired. Counts as a hit.
    ///
    /// # Safety
    /// The function of `stamp` has its number from [`number`], for these types, with the `copy` of these tables.
    #[inline]
    pub(crate) unsafe fn hit<K: KeyPart, V: Clone>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        key: &K,
        clock: &Clock,
    ) -> Option<V> {
        // SAFETY: by the caller.
        unsafe {
            if self.copy {
                self.find(stamp, hash, key, clock, V::clone)
            } else {
                // Cloned when the lock is released: it is code of a user.
                self.find(stamp, hash, key, clock, Arc::<Stored<V>>::clone)
                    .map(|stored| stored.value.clone())
            }
        }
    }

    /// # Safety
    /// `stored::number::<K::Owned, W>` gave the function of `stamp`.
    #[inline]
    unsafe fn find<K: KeyPart, W>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        key: &K,
        clock: &Clock,
        take: fn(&W) -> W,
    ) -> Option<W> {
        let mut inside = self.shard(hash).lock();
        let Inside { table, hits } = &mut *inside;
        let payload = table.get(
            hash,
            |deadline| clock.passed(deadline),
            |payload| {
                // SAFETY: by the caller.
                unsafe { payload.get::<K::Owned, W>(stamp) }
                    .is_some_and(|kept| key.eq_owned(&kept.key))
            },
        )?;
        hits.count(self.seat);
        // SAFETY: by the caller.
        unsafe { payload.get::<K::Owned, W>(stamp) }.map(|kept| take(&kept.held))
    }

    /// The value of a key, if it is here and not expired, as it flies. Does not count.
    ///
    /// # Safety
    /// As for [`hit`](Self::hit).
    pub(crate) unsafe fn peek<K: 'static, V: Clone + 'static>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        eq: impl FnMut(&K) -> bool,
        clock: &Clock,
    ) -> Option<Arc<Stored<V>>> {
        let now = clock.now();
        // SAFETY: by the caller.
        let (stored, standing) = unsafe {
            if self.copy {
                self.look(stamp, hash, eq, |value: &V, standing| {
                    let started = now - standing.age(now).unwrap_or(0);
                    Stored::new(stamp, started, standing.deadline, value.clone())
                })
            } else {
                self.look(stamp, hash, eq, |stored: &Arc<Stored<V>>, _| stored.clone())
            }
        }?;
        (!clock.passed(standing.deadline)).then_some(stored)
    }

    /// What is known of an entry, expired or not.
    ///
    /// # Safety
    /// As for [`hit`](Self::hit).
    pub(crate) unsafe fn standing<K: 'static, V: 'static>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        eq: impl FnMut(&K) -> bool,
    ) -> Option<Standing> {
        // SAFETY: by the caller.
        let found = unsafe {
            if self.copy {
                self.look(stamp, hash, eq, |_: &V, _| ())
            } else {
                self.look(stamp, hash, eq, |_: &Arc<Stored<V>>, _| ())
            }
        };
        found.map(|((), standing)| standing)
    }

    /// # Safety
    /// `stored::number::<K, W>` gave the function of `stamp`.
    unsafe fn look<K: 'static, W: 'static, R>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        mut eq: impl FnMut(&K) -> bool,
        take: impl FnOnce(&W, Standing) -> R,
    ) -> Option<(R, Standing)> {
        let inside = self.shard(hash).lock();
        let entry = inside.table.entry(hash as u32, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get::<K, W>(stamp) }.is_some_and(|kept| eq(&kept.key))
        })?;
        let standing = entry.standing();
        // SAFETY: entries in the index are live; the rest by the caller.
        let kept = unsafe { entry.payload().get::<K, W>(stamp) }?;
        Some((take(&kept.held, standing), standing))
    }

    /// Keeps a value, in place of an older one of its key. `beside` is what key and value hold on the heap.
    ///
    /// # Safety
    /// As for [`hit`](Self::hit), of the stamp that the value carries.
    pub(crate) unsafe fn keep<K, V>(
        &self,
        hash: KeyHash,
        key: K,
        stored: Arc<Stored<V>>,
        beside: usize,
        now: u64,
    ) -> Left
    where
        K: Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let times = (stored.deadline, stored.started);
        let stamp = stored.stamp;
        // SAFETY: by the caller.
        unsafe {
            if self.copy {
                self.put(stamp, hash, key, stored.value.clone(), beside, times, now)
            } else {
                let beside = beside + size_of::<Stored<V>>() + 16;
                self.put(stamp, hash, key, stored, beside, times, now)
            }
        }
    }

    /// # Safety
    /// `stored::number::<K, W>` gave the function of `stamp`.
    #[expect(clippy::too_many_arguments, reason = "as for Table::insert")]
    unsafe fn put<K, W>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        key: K,
        held: W,
        beside: usize,
        times: (u64, u64),
        now: u64,
    ) -> Left
    where
        K: Eq + Send + Sync + 'static,
        W: Send + Sync + 'static,
    {
        let weight = u32::try_from(beside + Kept::<K, W>::BESIDE).unwrap_or(u32::MAX);
        let mut out = Vec::new();
        let mut inside = self.shard(hash).lock();
        let table = &mut inside.table;
        let old = table.slot(hash as u32, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get_of::<K, W>(stamp) }.is_some_and(|kept| kept.key == key)
        });
        // SAFETY: by the caller.
        let payload = unsafe { Payload::new(stamp, key, held) };
        table.insert_over(old, hash, payload, weight, times, now, &mut out);
        Left { _payloads: out }
    }

    /// Removes the entry of a key, whatever its epoch.
    ///
    /// # Safety
    /// As for [`hit`](Self::hit).
    pub(crate) unsafe fn remove<K: 'static, V: 'static>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        same: impl FnMut(&K) -> bool,
    ) -> Left {
        // SAFETY: by the caller.
        unsafe {
            if self.copy {
                self.take::<K, V>(stamp, hash, same)
            } else {
                self.take::<K, Arc<Stored<V>>>(stamp, hash, same)
            }
        }
    }

    /// # Safety
    /// `stored::number::<K, W>` gave the function of `stamp`.
    unsafe fn take<K: 'static, W: 'static>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        mut same: impl FnMut(&K) -> bool,
    ) -> Left {
        let mut inside = self.shard(hash).lock();
        let removed = inside.table.remove(hash, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get_of::<K, W>(stamp) }.is_some_and(|kept| same(&kept.key))
        });
        Left {
            _payloads: removed.into_iter().collect(),
        }
    }

    /// Frees some of what expired, and of what an ended epoch left behind, in one shard after the other.
    pub(crate) fn sweep_some(&self, turn: usize, now: u64, live: impl Fn(Stamp) -> bool) {
        const BUDGET: usize = 16;
        let mut out = Vec::new();
        if let Some(mut inside) = self.shards[turn & (self.shards.len() - 1)].0.try_lock() {
            inside
                .table
                .sweep(now, BUDGET, |payload| !live(payload.stamp()), &mut out);
        }
        drop(out);
    }

    /// Hits, entries and bytes of one function.
    pub(crate) fn of_function(&self, stamp: Stamp) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        for shard in &*self.shards {
            let inside = shard.lock();
            sum.0 += inside.hits.of(self.seat);
            for (payload, standing) in inside.table.iter() {
                if payload.stamp() == stamp {
                    sum.1 += 1;
                    sum.2 += u64::from(standing.weight)
                        + u64::from(Table::<Payload, CacheLine>::OVERHEAD);
                }
            }
        }
        sum
    }
}

//! The tables of a memory as one function sees them: keys and values with their types, over entries that have none.

use std::sync::Arc;

use super::shards::Shard;
use super::stored::{Kept, Payload, Stamp, Stored};
use super::{CacheLine, Found, Life, Standing, Table};
use crate::clock::Freshness;
use crate::key::KeyPart;
use crate::tier::store::Guard;

/// A hash of a key: the upper half chooses a shard, the lower half is for its table.
pub(crate) type KeyHash = u64;

/// An entry that was found.
pub(crate) type Held<'t> = Found<'t, Payload, CacheLine>;

/// What leaves a table: to be dropped when every lock is released.
pub(crate) struct Left {
    _payloads: Vec<Payload>,
}

impl Left {
    pub(super) fn new(payloads: Vec<Payload>) -> Self {
        Left {
            _payloads: payloads,
        }
    }
}

/// The tables of a memory, a power of two of them, as one function sees them.
pub(crate) struct Tables {
    shards: Arc<[Shard]>,
    /// Where its hits are counted.
    seat: usize,
    /// Whether its values are held as they are and cloned under the lock: they are `Copy`, or an `Arc`, so that no code of a
    /// user runs there.
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
    pub(super) fn new(shards: Arc<[Shard]>, seat: usize, copy: bool) -> Self {
        Tables { shards, seat, copy }
    }

    #[inline(always)]
    fn shard(&self, hash: KeyHash) -> &Shard {
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    /// The value of a key, if it is here, `holds` and has not expired. Counts as a hit. `copy` is that of these tables, from who knows it while
    /// compiling.
    ///
    /// # Safety
    /// The function of `stamp` has its number from [`number`], for these types, with the `copy` of these tables.
    #[inline(always)]
    pub(crate) unsafe fn hit<K: KeyPart, V: Clone>(
        &self,
        copy: bool,
        stamp: Stamp,
        hash: KeyHash,
        key: &K,
        holds: impl Fn(&Held<'_>) -> bool,
        freshness: &Freshness,
    ) -> Option<V> {
        debug_assert_eq!(copy, self.copy);
        // SAFETY: by the caller.
        unsafe {
            if copy {
                self.find(stamp, hash, key, holds, freshness, V::clone)
            } else {
                // Cloned when the lock is released: it is code of a user.
                self.find(stamp, hash, key, holds, freshness, Arc::<Stored<V>>::clone)
                    .map(|stored| stored.value.clone())
            }
        }
    }

    /// # Safety
    /// `stored::number::<K::Owned, W>` gave the function of `stamp`.
    #[inline(always)]
    unsafe fn find<K: KeyPart, W>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        key: &K,
        holds: impl Fn(&Held<'_>) -> bool,
        freshness: &Freshness,
        take: fn(&W) -> W,
    ) -> Option<W> {
        let mut reading = self.shard(hash).read();
        let (table, hits) = reading.parts();
        let found = table.look(hash, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get::<K::Owned, W>(stamp) }.is_some_and(|kept| key.eq_owned(&kept.key))
        })?;
        if !holds(&found) || !found.visit(|deadline| freshness.passed(deadline)) {
            return None;
        }
        hits.count(self.seat);
        // SAFETY: by the caller.
        unsafe { found.payload().get::<K::Owned, W>(stamp) }.map(|kept| take(&kept.held))
    }

    /// The value of a key, if it is here, `holds` and its deadline has not `passed`, as it flies. Does not count.
    ///
    /// # Safety
    /// As for [`hit`](Self::hit).
    pub(crate) unsafe fn peek<K: 'static, V: Clone + 'static>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        eq: impl FnMut(&K) -> bool,
        holds: impl Fn(&Held<'_>) -> bool,
        now: u64,
        passed: impl Fn(u64) -> bool,
    ) -> Option<Arc<Stored<V>>> {
        // SAFETY: by the caller.
        let (stored, standing) = unsafe {
            if self.copy {
                self.look(stamp, hash, eq, holds, |value: &V, standing| {
                    let started = now - standing.age(now).unwrap_or(0);
                    Stored::new(stamp, started, standing.deadline, value.clone())
                })
            } else {
                self.look(stamp, hash, eq, holds, |stored: &Arc<Stored<V>>, _| {
                    stored.clone()
                })
            }
        }?;
        (!passed(standing.deadline)).then_some(stored)
    }

    /// What is known of an entry that `holds`, expired or not.
    ///
    /// # Safety
    /// As for [`hit`](Self::hit).
    pub(crate) unsafe fn standing<K: 'static, V: 'static>(
        &self,
        stamp: Stamp,
        hash: KeyHash,
        eq: impl FnMut(&K) -> bool,
        holds: impl Fn(&Held<'_>) -> bool,
    ) -> Option<Standing> {
        // SAFETY: by the caller.
        let found = unsafe {
            if self.copy {
                self.look(stamp, hash, eq, holds, |_: &V, _| ())
            } else {
                self.look(stamp, hash, eq, holds, |_: &Arc<Stored<V>>, _| ())
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
        holds: impl Fn(&Held<'_>) -> bool,
        take: impl FnOnce(&W, Standing) -> R,
    ) -> Option<(R, Standing)> {
        let table = self.shard(hash).read();
        let (found, standing) = table.look_with_standing(hash, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get::<K, W>(stamp) }.is_some_and(|kept| eq(&kept.key))
        })?;
        if !holds(&found) {
            return None;
        }
        // SAFETY: by the caller.
        let kept = unsafe { found.payload().get::<K, W>(stamp) }?;
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
        guard: Guard,
        beside: usize,
        now: u64,
    ) -> Left
    where
        K: Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let life = Life {
            deadline: stored.deadline,
            born: stored.started,
            guard,
        };
        let stamp = stored.stamp;
        // SAFETY: by the caller.
        unsafe {
            if self.copy {
                self.put(stamp, hash, key, stored.value.clone(), beside, life, now)
            } else {
                let beside = beside + size_of::<Stored<V>>() + 16;
                self.put(stamp, hash, key, stored, beside, life, now)
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
        life: Life,
        now: u64,
    ) -> Left
    where
        K: Eq + Send + Sync + 'static,
        W: Send + Sync + 'static,
    {
        let weight = u32::try_from(beside + Kept::<K, W>::BESIDE).unwrap_or(u32::MAX);
        let mut out = Vec::new();
        let mut table = self.shard(hash).write();
        let old = table.slot(hash as u32, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get_of::<K, W>(stamp) }.is_some_and(|kept| kept.key == key)
        });
        // SAFETY: by the caller.
        let payload = unsafe { Payload::new(stamp, key, held) };
        table.insert_over(old, hash, payload, weight, life, now, &mut out);
        Left::new(out)
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
        let mut table = self.shard(hash).write();
        let removed = table.remove(hash, |payload| {
            // SAFETY: by the caller.
            unsafe { payload.get_of::<K, W>(stamp) }.is_some_and(|kept| same(&kept.key))
        });
        Left::new(removed.into_iter().collect())
    }

    /// Frees some of what expired, and of what an ended epoch left behind, in one shard after the other.
    pub(crate) fn sweep_some(&self, turn: usize, now: u64, live: impl Fn(Stamp) -> bool) {
        const BUDGET: usize = 16;
        let mut out = Vec::new();
        if let Some(mut table) = self.shards[turn & (self.shards.len() - 1)].try_write() {
            table.sweep(now, BUDGET, |payload| !live(payload.stamp()), &mut out);
        }
        drop(out);
    }

    /// Which memory they are of.
    #[cfg(unix)]
    pub(crate) fn of_memory(&self) -> *const () {
        Arc::as_ptr(&self.shards).cast()
    }

    /// The lock of every shard, held until this is dropped: for the moment of a fork.
    #[cfg(unix)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.shards.iter().map(Shard::hold).collect::<Vec<_>>()
    }

    /// Hits, entries and bytes of one function.
    pub(crate) fn of_function(&self, stamp: Stamp) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        for shard in &*self.shards {
            shard.each(|hits| sum.0 += hits.of(self.seat));
            for (payload, standing) in shard.read().iter() {
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

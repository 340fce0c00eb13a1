//! The steps of a call that missed, blocking or async: what it has in hand, what flies to its followers, what is stored where
//! and for how long. Nothing here waits; who asks the slower tiers is in `outer` and `asynchronous`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::Pending;
use super::outer::Outside;
use super::redis::{AtHand, InPlace};
use super::{Flown, Function, WholeKey, protocol};
use crate::clock::{Millis, deadline};
use crate::config::Times;
use crate::key::v1::Digest;
use crate::probe::{Outcome, ValueHooks};
use crate::protocol::blocking;
use crate::protocol::guarded::Found;
use crate::protocol::machine::{KeyOf, Seq};
use crate::stats::{Event, count};
use crate::tier::memory::{Held, KeyHash, Left, Stamp, Stored};
use crate::tier::store::Seen;

/// The result of a flight that this call may not have.
pub(super) struct NotShared;

/// An execution that began.
pub(super) struct Run {
    started: Millis,
    instant: Instant,
    /// Read before the flight could be known: an entry of an ended epoch is no hit.
    stamp: Stamp,
}

/// What a call has in hand between its steps.
pub(super) struct Work<K, O: Outcome> {
    pub(super) function: &'static Function,
    pub(super) kind: O,
    pub(super) hash: KeyHash,
    pub(super) digest: Digest,
    hand: Mutex<Hand<K, O::Returned>>,
}

pub(super) struct Hand<K, R> {
    /// Until it moves into the entry.
    pub(super) key: Option<K>,
    /// A result that is not stored.
    pub(super) returned: Option<R>,
    /// How many of the slower tiers lack the value.
    lacking: usize,
    /// Its age, and what was left of its life, in the tier that had it.
    pub(super) was: Option<(Duration, Duration)>,
    /// What is known of the key in the machine's store, and whether that lacks the value.
    pub(super) seen: Option<Seen>,
    pub(super) store_lacks: bool,
    /// What key and value hold on the heap.
    beside: usize,
    stored: bool,
    computed: bool,
    too_slow: bool,
    /// What is known of the key in Redis.
    pub(super) redis: AtHand,
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    pub(super) fn new(pending: Pending<K, O>) -> Self {
        let Pending {
            function,
            kind,
            hash,
            digest,
            key,
            key_heap,
            ..
        } = pending;
        let hand = Hand {
            key: Some(key),
            returned: None,
            lacking: function.outer.len(),
            was: None,
            seen: None,
            store_lacks: true,
            beside: key_heap,
            stored: false,
            computed: false,
            too_slow: false,
            redis: AtHand::default(),
        };
        Work {
            function,
            kind,
            hash,
            digest,
            hand: Mutex::new(hand),
        }
    }

    pub(super) fn hand(&self) -> MutexGuard<'_, Hand<K, O::Returned>> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hooks(&self) -> ValueHooks<O::Value> {
        self.kind.hooks()
    }

    pub(super) fn whole(&self) -> WholeKey {
        *self.digest.as_bytes()
    }

    pub(super) fn key_of<'a>(&self, whole: &'a WholeKey) -> KeyOf<'a, WholeKey> {
        KeyOf {
            function: self.function.number,
            hash: self.hash,
            key: whole,
        }
    }

    pub(super) fn has_outer(&self) -> bool {
        !self.function.outer.is_empty()
    }

    /// May the slower tiers hold what a clear that has returned was to remove?
    pub(super) fn in_doubt(&self) -> bool {
        protocol().doubt(self.key_of(&self.whole()))
    }

    /// Another flight may have ended between the miss and the lead.
    pub(super) fn look_again(&self) -> Option<Found<Flown>> {
        let tables = self.function.tables.as_ref()?;
        let hand = self.hand();
        let wanted = hand.key.as_ref()?;
        // SAFETY: the types are those that `Site::function` was asked with.
        let stored = unsafe {
            let same = |key: &K| key == wanted;
            let holds = |found: &Held<'_>| self.function.holds(found);
            tables.peek::<K, O::Value>(
                self.function.stamp(),
                self.hash,
                same,
                holds,
                self.function.clock.now(),
                |deadline| self.function.freshness.passed(deadline),
            )
        }?;
        Some(Found {
            value: Flown::Value(stored),
            backfill: false,
        })
    }

    /// A value that slower tier number `tier` had; the store is the first of them.
    pub(super) fn found(&self, tier: usize, outside: Outside<O::Value>) -> Option<Found<Flown>> {
        let Outside {
            value, age, left, ..
        } = outside;
        count(&self.function.counters.tier_hits[tier]);
        let (own, has_store) = (
            self.function.times.own(),
            self.function.times.store.is_some(),
        );
        let stamp = self.function.stamp();
        let started = self.function.clock.now();
        let mut hand = self.hand();
        hand.lacking = tier.saturating_sub(own);
        hand.store_lacks = tier > 0 || !has_store;
        hand.was = Some((age, left));
        let Times { memory, stale, .. } = &self.function.times;
        let deadline = deadline(started, memory.min(&left).saturating_add(*stale));
        hand.beside += (self.hooks().weigh)(&value);
        Some(Found {
            value: Flown::Value(Stored::new(stamp, started, deadline, value)),
            backfill: true,
        })
    }

    pub(super) fn begin(&self) -> Run {
        self.begin_in_redis();
        Run {
            started: self.function.clock.now(),
            instant: Instant::now(),
            stamp: self.function.stamp(),
        }
    }

    pub(super) fn finish(&self, run: Run, returned: O::Returned) -> Flown {
        let Function { counters, .. } = self.function;
        let took = run.instant.elapsed();
        count(&counters.executions);
        counters.nanos.fetch_add(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        let value = match self.kind.split(returned) {
            Ok(value) => value,
            Err(returned) => {
                let shared = self.kind.share(&returned);
                self.hand().returned = Some(returned);
                return shared.map_or(Flown::Lone, Flown::Error);
            }
        };
        self.keep_value(run, value)
    }

    pub(super) fn keep_value(&self, run: Run, value: O::Value) -> Flown {
        let Function { clock, times, .. } = self.function;
        let until = deadline(run.started, times.memory.saturating_add(times.stale));
        let longest = times
            .behind()
            .fold(times.memory, |longest, time| longest.max(*time));
        let mut hand = self.hand();
        hand.computed = true;
        hand.too_slow = clock.now() >= deadline(run.started, longest);
        hand.beside += (self.hooks().weigh)(&value);
        Flown::Value(Stored::new(run.stamp, run.started, until, value))
    }

    /// The entry that flies, if it is to be stored.
    pub(super) fn entry(&self, flown: &Flown) -> Option<Arc<Stored<O::Value>>> {
        match flown {
            Flown::Value(any) if self.may_store() => any.clone().downcast().ok(),
            _ => None,
        }
    }

    fn may_store(&self) -> bool {
        let hand = self.hand();
        !hand.too_slow && !hand.redis.is_void()
    }

    /// How long ago the execution of the entry's value started.
    pub(super) fn age(&self, entry: &Stored<O::Value>) -> Duration {
        let here = Duration::from_millis(self.function.clock.now() - entry.started);
        here + self.hand().was.map_or(Duration::ZERO, |(age, _)| age)
    }

    /// The slower tiers that lack a value of this age, outermost first, and how long it may live there.
    pub(super) fn lacking(&self, age: Duration) -> Vec<(usize, Duration)> {
        let hand = self.hand();
        let life = |tier: usize| {
            let time = self.function.times.outer[tier];
            let left = match hand.was {
                Some((age_then, left)) => time.min((age_then + left).checked_sub(age)?),
                None => time.checked_sub(age)?,
            };
            (!left.is_zero()).then_some(left)
        };
        (0..hand.lacking)
            .rev()
            .filter_map(|tier| Some((tier, life(tier)?)))
            .collect()
    }

    /// Keeps the entry in the memory tier. Runs under the guard of the protocol.
    pub(super) fn keep(&self, flown: &Flown) -> Option<Left> {
        let entry = self.entry(flown)?;
        let mut hand = self.hand();
        hand.stored = true;
        let tables = self.function.tables.as_ref()?;
        let guard = self.function.guard(hand.seen.as_ref())?;
        if !self.may_keep(&hand) {
            return None;
        }
        let (key, now) = (hand.key.take()?, self.function.clock.now());
        // SAFETY: the types are those that `Site::function` was asked with.
        Some(unsafe { tables.keep(self.hash, key, entry, guard, hand.beside, now) })
    }

    /// Of a value that replaces what is there, at the end. Runs under the guard of the protocol.
    pub(super) fn keep_or_remove(&self, stands: bool, flown: &Flown) -> Option<Left> {
        if stands {
            return self.keep(flown);
        }
        let tables = self.function.tables.as_ref()?;
        let hand = self.hand();
        let wanted = hand.key.as_ref()?;
        let (stamp, same) = (self.function.stamp(), |key: &K| key == wanted);
        // SAFETY: the types are those that `Site::function` was asked with.
        Some(unsafe { tables.remove::<K, O::Value>(stamp, self.hash, same) })
    }

    pub(super) fn supersede(&self, token: Seq, flown: &Flown) {
        if !matches!(flown, Flown::Value(_)) {
            return;
        }
        if !blocking::now(self.supersede_in_redis(&InPlace, flown)) {
            return self.clear_older();
        }
        self.supersede_here(token, flown);
    }

    /// In the tiers but Redis.
    pub(super) fn supersede_here(&self, token: Seq, flown: &Flown) {
        if !self.supersede_in_store(flown) {
            return;
        }
        let whole = self.whole();
        let key = self.key_of(&whole);
        if self.has_outer() {
            blocking::supersede(
                protocol(),
                key,
                token,
                || self.store(flown),
                || self.delete(),
                |stands| self.keep_or_remove(stands, flown),
            );
        } else {
            drop(protocol().supersede(key, token, || self.keep(flown)));
        }
    }

    /// What is there on this machine is older than a value that could not be stored.
    pub(super) fn clear_older(&self) {
        let _pending = self.function.clear_in_store(&self.digest);
        let whole = self.whole();
        drop(protocol().clear(self.key_of(&whole), || {
            self.keep_or_remove(false, &Flown::Lone)
        }));
    }

    /// What the call returns.
    pub(super) fn end(self, flown: Flown) -> Result<O::Returned, NotShared> {
        let (kind, function) = (self.kind, self.function);
        if let Some(returned) = self.settle() {
            return Ok(returned);
        }
        match flown {
            Flown::Value(any) => match any.downcast::<Stored<O::Value>>() {
                Ok(entry) => Ok(kind.join(Stored::into_value(entry))),
                Err(_) => Err(NotShared),
            },
            Flown::Stale(any) => match any.downcast::<Stored<O::Value>>() {
                Ok(entry) => {
                    count(&function.counters.stale_hits);
                    Ok(kind.join(Stored::into_value(entry)))
                }
                Err(_) => Err(NotShared),
            },
            Flown::Error(shared) => kind.unshare(&shared).ok_or(NotShared),
            Flown::Lone => Err(NotShared),
        }
    }

    /// Counts what became of the value. The result, if it was one that is not stored.
    pub(super) fn settle(self) -> Option<O::Returned> {
        let function = self.function;
        let counters = &function.counters;
        let hand = self
            .hand
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if hand.stored {
            count(&counters.fills);
            counters.happened(self.hash, Event::Stored);
            if let Some(tables) = &function.tables {
                let turn = counters.fills.load(Ordering::Relaxed) as usize;
                let (own, now) = (function.stamp(), function.clock.now());
                tables.sweep_some(turn, now, |stamp| !stamp.is_older(own));
            }
        } else if hand.computed {
            count(&counters.refused);
            if hand.too_slow && !function.warned_slow.swap(true, Ordering::Relaxed) {
                log::warn!(
                    target: "quickcache",
                    "`{}` takes longer than its timeout, so its values are too old before they can be stored: \
                     give it a longer `timeout`",
                    function.site.declared.name()
                );
            }
        }
        hand.returned
    }
}

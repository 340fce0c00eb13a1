//! The life of a call: a hit in the memory tier, in place and without an allocation; or a flight, whose leader asks the
//! slower tiers, runs the function and stores. The blocking door is here, the async one in `asynchronous`; what both do
//! is `Work`.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Flown, Function, Identity, Site, WholeKey, protocol};
use crate::clock::{Millis, deadline};
use crate::key::v1::Digest;
use crate::key::{Key, KeyPart};
use crate::probe::{Outcome, ValueHooks};
use crate::protocol::blocking;
use crate::protocol::guarded::{Asked, Found, Steps};
use crate::protocol::machine::{KeyOf, Seq};
use crate::stats::{Event, Miss, count};
use crate::tier::memory::{KeyHash, Left, Stamp, Stored};

/// What a call wants of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A value, cached or not.
    Cached,
    /// A new value, which is stored: `skip_arg`, `refresh`.
    Anew,
    /// The function alone.
    Alone,
}

impl From<bool> for How {
    #[inline]
    fn from(skip: bool) -> Self {
        if skip { How::Anew } else { How::Cached }
    }
}

/// A call of one instantiation of a function.
#[derive(Clone, Copy)]
pub struct Call<O> {
    site: &'static Site,
    identity: Identity,
    kind: O,
}

impl<O: Outcome> Call<O> {
    /// For the attribute.
    #[inline(always)]
    pub fn new(site: &'static Site, identity: Identity, kind: O) -> Self {
        Call {
            site,
            identity,
            kind,
        }
    }

    #[inline]
    fn function<K: 'static>(self) -> &'static Function {
        let copy = self.kind.hooks().copy;
        self.site.function::<K, O::Value>(self.identity, copy)
    }

    /// The value from the memory tier, or what it takes to get it.
    ///
    /// # Errors
    /// The error is the call that missed.
    #[inline]
    pub fn look<K: Key>(
        self,
        key: &K,
        how: impl Into<How>,
    ) -> Result<O::Returned, Pending<K::Owned, O>> {
        let how = how.into();
        let function = self.function::<K::Owned>();
        let hash = hash(function, key);
        if let Some(tables) = &function.tables
            && how == How::Cached
            && function.enabled()
        {
            // SAFETY: `Site::function` gives one function, with a number of its own, for these very types.
            let hit = unsafe { tables.hit(function.stamp(), hash, key, &function.clock) };
            if let Some(value) = hit {
                return Ok(self.kind.join(value));
            }
        }
        Err(Pending::new(function, self.kind, hash, key, how))
    }

    /// The call as one that missed, to compute anew.
    pub fn anew<K: Key>(self, key: &K) -> Pending<K::Owned, O> {
        let function = self.function::<K::Owned>();
        Pending::new(function, self.kind, hash(function, key), key, How::Anew)
    }

    pub(super) fn parts<K: Key>(self, key: &K) -> (&'static Function, O, KeyHash, Digest) {
        let function = self.function::<K::Owned>();
        (
            function,
            self.kind,
            hash(function, key),
            function.keys.key(&key.values()),
        )
    }
}

#[inline]
fn hash(function: &Function, key: &impl KeyPart) -> KeyHash {
    let mut state = function.hasher.build_hasher();
    key.hash_part(&mut state);
    state.finish()
}

/// A call that missed. It owns its key, so that the arguments may move into the function.
pub struct Pending<K, O> {
    pub(super) function: &'static Function,
    pub(super) kind: O,
    pub(super) hash: KeyHash,
    pub(super) digest: Digest,
    pub(super) key: K,
    /// What the key holds on the heap.
    pub(super) key_heap: usize,
    pub(super) how: How,
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Pending<K, O> {
    #[cold]
    fn new<P: Key<Owned = K>>(
        function: &'static Function,
        kind: O,
        hash: KeyHash,
        key: &P,
        how: How,
    ) -> Self {
        let owned = key.to_owned_part();
        let how = if function.enabled() { how } else { How::Alone };
        let pending = Pending {
            function,
            kind,
            hash,
            digest: function.keys.key(&key.values()),
            key_heap: P::owned_heap(&owned),
            key: owned,
            how,
        };
        if how != How::Alone {
            let known = match how {
                How::Anew => Some(Miss::Skipped),
                _ => pending.is_there().then_some(Miss::Expired),
            };
            function.counters.missed(hash, known);
        }
        pending
    }

    /// Is there an entry, expired or not?
    fn is_there(&self) -> bool {
        let Some(tables) = &self.function.tables else {
            return false;
        };
        // SAFETY: the types are those that `Site::function` was asked with.
        unsafe {
            let same = |key: &K| *key == self.key;
            tables.standing::<K, O::Value>(self.function.stamp(), self.hash, same)
        }
        .is_some()
    }

    /// Ends the call: `body` is the function.
    pub fn lead(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        match self.how {
            How::Alone => body(),
            How::Anew => self.refresh(body),
            How::Cached => self.fly(body),
        }
    }

    fn fly(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        let patience = self.function.patience;
        let work = Work::new(self);
        let mut body = Some(body);
        let whole = work.whole();
        let asked = Asked {
            key: work.key_of(&whole),
            generation: 0,
        };
        let flown = blocking::run(
            protocol(),
            asked,
            patience,
            Steps {
                look: || work.look(),
                compute: || {
                    let run = work.begin();
                    match body.take() {
                        Some(body) => work.finish(run, body()),
                        None => Flown::Lone,
                    }
                },
                store: work
                    .has_outer()
                    .then_some(|flown: &Flown| work.store(flown)),
                keep: |flown: &Flown| work.keep(flown),
            },
        );
        match work.end(flown) {
            Ok(returned) => returned,
            Err(NotShared) => match body {
                Some(body) => body(),
                None => unreachable!("a result that is not shared is another call's"),
            },
        }
    }

    /// Runs the function, and stores the result in place of what is there.
    pub fn refresh(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        if !self.function.enabled() {
            return body();
        }
        let token = protocol().lock().now();
        let work = Work::new(self);
        let run = work.begin();
        let flown = work.finish(run, body());
        work.supersede(token, &flown);
        match work.end(flown) {
            Ok(returned) => returned,
            Err(NotShared) => unreachable!("the result is the call's own"),
        }
    }
}

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
    hash: KeyHash,
    pub(super) digest: Digest,
    hand: Mutex<Hand<K, O::Returned>>,
}

struct Hand<K, R> {
    /// Until it moves into the entry.
    key: Option<K>,
    /// A result that is not stored.
    returned: Option<R>,
    /// How many of the slower tiers lack the value.
    lacking: usize,
    /// What was left of its life in the tier that had it.
    left: Option<Duration>,
    /// What key and value hold on the heap.
    beside: usize,
    stored: bool,
    computed: bool,
    too_slow: bool,
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
            left: None,
            beside: key_heap,
            stored: false,
            computed: false,
            too_slow: false,
        };
        Work {
            function,
            kind,
            hash,
            digest,
            hand: Mutex::new(hand),
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand<K, O::Returned>> {
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

    /// Another flight may have ended between the miss and the lead.
    pub(super) fn look_again(&self) -> Option<Found<Flown>> {
        let tables = self.function.tables.as_ref()?;
        let hand = self.hand();
        let wanted = hand.key.as_ref()?;
        // SAFETY: the types are those that `Site::function` was asked with.
        let stored = unsafe {
            let same = |key: &K| key == wanted;
            tables.peek::<K, O::Value>(self.function.stamp(), self.hash, same, &self.function.clock)
        }?;
        Some(Found {
            value: Flown::Value(stored),
            backfill: false,
        })
    }

    /// A value that slower tier number `tier` had.
    pub(super) fn found(
        &self,
        tier: usize,
        value: O::Value,
        left: Duration,
    ) -> Option<Found<Flown>> {
        count(&self.function.counters.tier_hits[tier]);
        let stamp = self.function.stamp();
        let started = self.function.clock.now();
        let mut hand = self.hand();
        hand.lacking = tier;
        hand.left = Some(left);
        let deadline = deadline(started, self.function.times.memory.min(left));
        hand.beside += (self.hooks().weigh)(&value);
        Some(Found {
            value: Flown::Value(Stored::new(stamp, started, deadline, value)),
            backfill: true,
        })
    }

    pub(super) fn begin(&self) -> Run {
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
        let until = deadline(run.started, times.memory);
        let longest = times
            .outer
            .iter()
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
            Flown::Value(any) if !self.hand().too_slow => any.clone().downcast().ok(),
            _ => None,
        }
    }

    /// The slower tiers that lack the value, outermost first, and how long it may live there.
    pub(super) fn lacking(&self, entry: &Stored<O::Value>) -> Vec<(usize, Duration)> {
        let hand = self.hand();
        let age = Duration::from_millis(self.function.clock.now() - entry.started);
        let life = |tier: usize| {
            let time = self.function.times.outer[tier];
            match hand.left {
                Some(left) => Some(time.min(left)),
                None => time.checked_sub(age).filter(|life| !life.is_zero()),
            }
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
        let (key, now) = (hand.key.take()?, self.function.clock.now());
        // SAFETY: the types are those that `Site::function` was asked with.
        Some(unsafe { tables.keep(self.hash, key, entry, hand.beside, now) })
    }

    pub(super) fn supersede(&self, token: Seq, flown: &Flown) {
        if !matches!(flown, Flown::Value(_)) {
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
                || self.keep(flown),
            );
        } else {
            drop(protocol().supersede(key, token, || self.keep(flown)));
        }
    }

    /// What the call returns.
    pub(super) fn end(self, flown: Flown) -> Result<O::Returned, NotShared> {
        let kind = self.kind;
        if let Some(returned) = self.settle() {
            return Ok(returned);
        }
        match flown {
            Flown::Value(any) => match any.downcast::<Stored<O::Value>>() {
                Ok(entry) => Ok(kind.join(Stored::into_value(entry))),
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

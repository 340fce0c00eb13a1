//! A function at the machine's store: the generation of its keys, leases, and values there. The steps that wait are in `outer` and
//! `asynchronous`; the store itself is in `tier::store`.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use super::outer::{NO_CODEC, Outside};
use super::work::Work;
use super::{Flown, Function};
use crate::clock::{self, Millis};
use crate::entry::{Entry, Head, Rejected};
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::guarded::Found;
use crate::stats::count;
use crate::tier::memory::Stored;
use crate::tier::store::{
    Guard, Lease, Opened, Shared, Spot, Stamp, StoreKey, Turn, Waiting, Watch,
};

/// The store of a function.
pub(crate) struct AtStore {
    pub(crate) shared: &'static Shared,
    pub(crate) name: String,
    /// What its keys begin with: names it in the table.
    id: [u8; 32],
    /// Of the store as it was opened last; null before that.
    bound: AtomicPtr<Bound>,
}

/// A function at an open store. Made again when another table takes the place of one, and never dropped.
pub(super) struct Bound {
    pub(super) opened: &'static Opened,
    pub(super) function: u32,
    watch: Watch,
}

/// What a call knows of its key in the store.
pub(super) struct Seen {
    bound: &'static Bound,
    spot: Spot,
    /// Read after the call began and, if the function ran, before it did.
    pub(super) stamp: Stamp,
    /// The right to run it. Released when the call has ended.
    lease: Option<Lease>,
}

/// What a call is to do next.
pub(super) enum Next<V> {
    Found(Outside<V>),
    Run,
    Wait(Waiting),
}

impl AtStore {
    pub(crate) fn new(shared: &'static Shared, name: &str, id: [u8; 32]) -> Self {
        AtStore {
            shared,
            name: name.to_owned(),
            id,
            bound: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Whether an entry of the memory tier may be handed out: nobody on the machine has cleared it. What a hit asks.
    #[inline(always)]
    pub(crate) fn holds(&self, guard: Guard) -> bool {
        // SAFETY: what is put here is leaked.
        let bound = unsafe { self.bound.load(Ordering::Acquire).as_ref() };
        bound.is_some_and(|bound| bound.watch.holds(guard))
    }

    /// The function at the store as it is open now; `None` if it cannot be opened.
    pub(super) fn bound(&self) -> Option<&'static Bound> {
        let opened = self.shared.open()?;
        // SAFETY: as above.
        let bound = unsafe { self.bound.load(Ordering::Acquire).as_ref() };
        match bound {
            Some(bound) if ptr::eq(bound.opened, opened) => Some(bound),
            _ => Some(self.bind(opened)),
        }
    }

    #[cold]
    fn bind(&self, opened: &'static Opened) -> &'static Bound {
        let function = opened.function(&self.id);
        let bound = Box::leak(Box::new(Bound {
            opened,
            function,
            watch: opened.watch(function),
        }));
        // Two threads may do it at once: either will do, they say the same.
        self.bound.store(bound, Ordering::Release);
        bound
    }

    /// Clears a key in every process; what failed, if it cannot be reached.
    pub(super) fn clear(&self, key: &Digest) -> Option<String> {
        match self.bound() {
            Some(bound) => {
                bound
                    .opened
                    .clear(&bound.opened.spot(StoreKey::of_digest(key)));
                None
            }
            None => Some(self.closed()),
        }
    }

    /// Clears every key of the function in every process.
    pub(crate) fn clear_all(&self) -> Option<String> {
        match self.bound() {
            Some(bound) => {
                bound.opened.clear_function(bound.function);
                None
            }
            None => Some(self.closed()),
        }
    }

    fn closed(&self) -> String {
        format!("tier `{}`: it cannot be opened", self.name)
    }
}

impl Function {
    /// The clock of its store.
    fn store_now(&self) -> Millis {
        self.clock.of_machine()
    }

    /// Whether an entry of the memory tier may be handed out.
    #[inline(always)]
    pub(super) fn holds(&self, guard: Guard) -> bool {
        self.store.as_ref().is_none_or(|store| store.holds(guard))
    }

    /// What an entry in the memory tier is to carry; `None`: it may not be kept.
    pub(super) fn guard(&self, seen: Option<&Seen>) -> Option<Guard> {
        match &self.store {
            None => Some(Guard::NONE),
            Some(_) => seen.map(|seen| seen.stamp.guard()),
        }
    }

    /// The generation of a key, where there is a store that can be opened.
    pub(super) fn see(&self, key: &Digest) -> Option<Seen> {
        let bound = self.store.as_ref()?.bound()?;
        let spot = bound.opened.spot(StoreKey::of_digest(key));
        Some(Seen {
            bound,
            spot,
            stamp: bound.opened.stamp(bound.function, &spot),
            lease: None,
        })
    }

    /// What the store has of a key at a generation.
    pub(super) fn read_store<O: Outcome>(
        &self,
        kind: &O,
        seen: &Seen,
    ) -> Option<Outside<O::Value>> {
        let codec = kind.hooks().codec?;
        let now = self.store_now();
        let read = |entry: &Entry<'_>| {
            if entry.head.codec != codec.id {
                return None;
            }
            Some(Outside {
                value: (codec.decode)(&entry.payload).ok()?,
                age: Duration::from_millis(now.saturating_sub(entry.head.started)),
                left: Duration::from_millis(entry.head.deadline.saturating_sub(now)),
            })
        };
        let (opened, function) = (seen.bound.opened, seen.bound.function);
        match opened.get(function, &seen.spot, seen.stamp, now, read) {
            Ok(found) => found,
            Err(Rejected::Expired | Rejected::Foreign) => None,
            Err(Rejected::Damaged | Rejected::OtherCodec) => {
                count(&self.counters.rejected);
                None
            }
        }
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// Reads the generation of the key, after the call began: what a flight is joined by.
    pub(super) fn see(&self) -> u64 {
        let seen = self.function.see(&self.digest);
        let generation = seen.as_ref().map_or(0, |seen| seen.stamp.sum);
        self.hand().seen = seen;
        generation
    }

    /// Looks into the store; if nothing is there, claims the right to run the function. With `patience_is_over` it waits no longer
    /// for who has it.
    pub(super) fn turn(&self, waiting: Option<&Waiting>, patience_is_over: bool) -> Next<O::Value> {
        let mut hand = self.hand();
        let Some(seen) = &mut hand.seen else {
            return Next::Run;
        };
        let opened = seen.bound.opened;
        let look = |seen: &mut Seen| {
            seen.stamp = opened.stamp(seen.bound.function, &seen.spot);
            self.function.read_store(&self.kind, seen)
        };
        if let Some(found) = look(seen) {
            return Next::Found(found);
        }
        let lease = match waiting.and_then(|waiting| waiting.take_over(patience_is_over)) {
            Some(lease) => Some(lease),
            None => match opened.claim(&seen.spot, seen.stamp) {
                Turn::Lead(lease) => lease,
                Turn::Wait(waiting) => return Next::Wait(waiting),
            },
        };
        // Whoever had it may have stored between the look and the claim.
        if let Some(found) = look(seen) {
            return Next::Found(found);
        }
        seen.lease = lease;
        Next::Run
    }

    /// The value of the store. Waits for another process that runs the function.
    pub(super) fn look_at_store(&self) -> Option<Found<Flown>> {
        let mut since = None;
        let mut waiting = None;
        loop {
            let over =
                since.is_some_and(|since: Instant| since.elapsed() >= self.function.patience());
            match self.turn(waiting.as_ref(), over) {
                Next::Found(outside) => return self.found(0, outside),
                Next::Run => return None,
                Next::Wait(next) => {
                    let since = *since.get_or_insert_with(Instant::now);
                    next.wait(self.function.patience().saturating_sub(since.elapsed()));
                    waiting = Some(next);
                }
            }
        }
    }

    /// The value of the store, if there is one: waits for nobody.
    pub(super) fn peek_at_store(&self) -> Option<Found<Flown>> {
        self.see();
        let outside = {
            let hand = self.hand();
            self.function.read_store(&self.kind, hand.seen.as_ref()?)
        }?;
        self.found(0, outside)
    }

    /// As a leader looks: what slower tiers have is put into the store too.
    pub(super) fn look_and_put(&self) -> Option<Found<Flown>> {
        let mut found = self.look()?;
        if found.backfill {
            found.value = self.put_in_store(found.value);
        }
        Some(found)
    }

    /// Stores the result in the store, before anybody is told of it.
    pub(super) fn put_in_store(&self, flown: Flown) -> Flown {
        if self.function.store.is_some()
            && let Some(entry) = self.entry(&flown)
        {
            self.put(&entry);
        }
        flown
    }

    /// Stores the value in the store, at the generation that was read before the function ran.
    fn put(&self, entry: &Stored<O::Value>) {
        let Some(life) = self.function.times.store else {
            return;
        };
        let Some(codec) = self.hooks().codec else {
            return self.function.unwritable(NO_CODEC);
        };
        let age = self.age(entry);
        let hand = self.hand();
        let Some(seen) = hand.seen.as_ref().filter(|_| hand.store_lacks) else {
            return;
        };
        let left = match hand.was {
            Some((age_then, left)) => life.min((age_then + left).saturating_sub(age)),
            None => life.saturating_sub(age),
        };
        if left.is_zero() {
            return;
        }
        let now = self.function.store_now();
        let head = Head {
            codec: codec.id,
            generation: seen.stamp.sum,
            started: now.saturating_sub(clock::millis(age)),
            deadline: clock::deadline(now, left),
        };
        let opened = seen.bound.opened;
        let write = |bytes: &mut Vec<u8>| (codec.encode)(&entry.value, bytes);
        match opened.seal().write(seen.spot.key().bytes(), head, write) {
            Ok(bytes) => {
                if let Err(why) = opened.put(seen.bound.function, &seen.spot, &bytes) {
                    count(&self.function.counters.unstored);
                    if let Some(store) = &self.function.store {
                        store.shared.unstored(&why);
                    }
                }
            }
            Err(error) => self.function.unwritable(&error.to_string()),
        }
    }

    /// Stores a value that is no fill, in place of what is there: whether it may be stored in the other tiers too. If something came
    /// between it may not, and then nothing older stays in the store either.
    pub(super) fn supersede_in_store(&self, flown: &Flown) -> bool {
        if self.function.store.is_none() {
            return true;
        }
        {
            let mut hand = self.hand();
            let Some(seen) = &mut hand.seen else {
                return false;
            };
            match seen.bound.opened.supersede(seen.stamp) {
                Some(stamp) => seen.stamp = stamp,
                None => {
                    seen.bound.opened.clear(&seen.spot);
                    return false;
                }
            }
        }
        if let Some(entry) = self.entry(flown) {
            self.put(&entry);
        }
        true
    }
}

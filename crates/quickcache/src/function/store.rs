//! A function at the machine's store: the generation of its keys, leases, and values there. The steps that wait are in `outer` and
//! `asynchronous`; the store itself is in `tier::store`.

use std::time::Duration;

use super::outer::{NO_CODEC, Outside, late_by};
use super::work::Work;
use super::{Flown, Function, Site};
use crate::clock::{self, Millis};
use crate::entry::{Entry, Head, Rejected};
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::guarded::Found;
use crate::stats::count;
use crate::tier::memory::{Held, Stored};
use crate::tier::store::{Guard, Next, Patience, Seen, StoreKey, Waiting};

/// What messages call it.
pub(super) const NAME: &str = "store";

/// What a store that cannot be opened says to a clear.
fn closed() -> String {
    format!("tier `{NAME}`: it cannot be opened")
}

impl Function {
    /// The clock of its store.
    fn store_now(&self) -> Millis {
        self.clock.of_machine()
    }

    /// Whether an entry of the memory tier may be handed out.
    #[inline(always)]
    pub(super) fn holds(&self, found: &Held<'_>) -> bool {
        self.store.as_ref().is_none_or(|store| store.holds(found))
    }

    /// What an entry in the memory tier is to carry; `None`: it may not be kept.
    pub(super) fn guard(&self, seen: Option<&Seen>) -> Option<Guard> {
        match &self.store {
            None => Some(Guard::NONE),
            Some(_) => seen.map(Seen::guard),
        }
    }

    /// The generation of a key, where there is a store that can be opened.
    pub(super) fn see(&self, key: &Digest) -> Option<Seen> {
        let bound = self.store.as_ref()?.bound()?;
        Some(bound.see(StoreKey::of_digest(key)))
    }

    /// Clears a key in every process; what failed, if the store cannot be reached.
    pub(super) fn clear_in_store(&self, key: &Digest) -> Option<String> {
        match self.store.as_ref()?.bound_to_clear() {
            Some(bound) => {
                bound.clear(StoreKey::of_digest(key));
                None
            }
            None => Some(closed()),
        }
    }

    /// What the store has of a key at a generation, and be it `late` by so long.
    pub(super) fn read_store<O: Outcome>(
        &self,
        kind: &O,
        seen: &Seen,
        late: Duration,
    ) -> Option<Outside<O::Value>> {
        let codec = kind.hooks().codec?;
        let now = self.store_now();
        let read = |entry: &Entry<'_>| {
            if entry.codec != codec.id {
                return None;
            }
            let value = (codec.decode)(&entry.payload).ok()?;
            Some(Outside::of(value, &entry.head, now, late))
        };
        match seen.get(late_by(now, late), read) {
            Ok(found) => found,
            Err(Rejected::Expired | Rejected::Foreign) => None,
            Err(Rejected::Damaged | Rejected::OtherCodec) => {
                count(&self.counters.rejected);
                None
            }
        }
    }
}

impl Site {
    /// Clears every key of the function in every process, whether or not this one has ever called it; what failed, if the store cannot
    /// be reached.
    pub(super) fn clear_all_in_store(&self) -> Option<String> {
        let (shared, id) = self.at_store()?;
        match shared.open_to_clear() {
            Some(opened) => {
                opened.clear_function(opened.function(&id));
                None
            }
            None => Some(closed()),
        }
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// Reads the generation of the key, after the call began: what a flight is joined by.
    pub(super) fn see(&self) -> u64 {
        let seen = self.function.see(&self.digest);
        let generation = seen.as_ref().map_or(0, Seen::generation);
        self.hand().seen = seen;
        generation
    }

    /// Looks into the store; if nothing is there, claims the right to run the function.
    pub(super) fn turn(
        &self,
        waiting: Option<&Waiting>,
        patience_is_over: bool,
    ) -> Next<Outside<O::Value>> {
        if self.function.times.store.is_none() && self.function.redis_answers() {
            // There is nothing to find, and the right to run the function is had from Redis, on every machine.
            return Next::Run;
        }
        match &mut self.hand().seen {
            None => Next::Run,
            Some(seen) => seen.turn(waiting, patience_is_over, |seen| {
                self.function.read_store(&self.kind, seen, Duration::ZERO)
            }),
        }
    }

    /// The value of the store. Waits for another process that runs the function.
    pub(super) fn look_at_store(&self) -> Option<Found<Flown>> {
        let mut patience = Patience::new(self.function.patience());
        let mut waiting = None;
        loop {
            match self.turn(waiting.as_ref(), patience.is_over()) {
                Next::Found(outside) => return self.found(0, outside),
                Next::Run => return None,
                Next::Wait(next) => {
                    next.wait(patience.left());
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
            self.function
                .read_store(&self.kind, hand.seen.as_ref()?, Duration::ZERO)
        }?;
        self.found(0, outside)
    }

    /// As a leader looks: what slower tiers have is put into the store too.
    pub(super) fn look_and_put(&self) -> Option<Found<Flown>> {
        let mut found = self.look()?;
        if found.backfill {
            found.value = self.put_in_store(found.value, false);
        }
        Some(found)
    }

    /// Stores the result in the store, before anybody is told of it; if an async call may not wait for that, another thread does it,
    /// provided that the memory tier has the value for this process meanwhile.
    pub(super) fn put_in_store(&self, flown: Flown, is_async: bool) -> Flown {
        if self.function.store.is_some()
            && let Some(entry) = self.entry(&flown)
        {
            self.put(&entry, is_async && self.function.tables.is_some());
        }
        flown
    }

    /// Stores the value in the store, at the generation that was read before the function ran.
    fn put(&self, entry: &Stored<O::Value>, later: bool) {
        let Some(life) = self.function.times.store else {
            return;
        };
        let Some(codec) = self.hooks().codec else {
            return self.function.unwritable(NO_CODEC);
        };
        let age = self.age(entry);
        let Some(store) = &self.function.store else {
            return;
        };
        let mut hand = self.hand();
        if !self.may_keep(&hand) {
            return;
        }
        let (was, lacks) = (hand.was, hand.store_lacks);
        let Some(seen) = hand.seen.as_mut().filter(|_| lacks) else {
            return;
        };
        let left = match was {
            Some((age_then, left)) => life.min((age_then + left).saturating_sub(age)),
            None => life.saturating_sub(age),
        };
        if left.is_zero() {
            return;
        }
        let now = self.function.store_now();
        let head = Head {
            generation: seen.generation(),
            started: now.saturating_sub(clock::millis(age)),
            deadline: clock::deadline(now, left),
        };
        let write = |bytes: &mut Vec<u8>| (codec.encode)(&entry.value, bytes).map(|()| codec.id);
        match seen.opened().seal().write(seen.key().bytes(), head, write) {
            Ok(bytes) if later => seen.put_later(store.shared(), bytes),
            Ok(bytes) => {
                if let Err(why) = seen.put(&bytes) {
                    count(&self.function.counters.unstored);
                    store.shared().unstored(&why);
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
        // Apart: the hand is let go before anything else is asked.
        let superseded = self.hand().seen.as_mut().map(Seen::supersede);
        match superseded {
            Some(true) => {}
            Some(false) => return false,
            None => {
                // It could not be opened when the execution began: what is there is older.
                let _pending = self.function.clear_in_store(&self.digest);
                return false;
            }
        }
        if let Some(entry) = self.entry(flown) {
            self.put(&entry, false);
        }
        true
    }
}

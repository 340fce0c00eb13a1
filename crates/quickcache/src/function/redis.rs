//! A function at a Redis: values and leases there, and until when a result may be shared. The steps are futures, of a blocking caller too
//! (`now`); the Redis itself is in `tier::redis`.

use std::time::Duration;

use super::entry::Handle;
use super::outer::{NO_CODEC, Outside};
use super::redis_past::Late;
use super::work::{Hand, Work};
use super::{Flown, Function, Site, protocol};
use crate::clock;
use crate::entry::{Entry, Head, Seal};
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::guarded::{Found, runs_alone};
use crate::protocol::machine::ValidFrom;
use crate::stats::{Explanation, count};
pub(crate) use crate::tier::redis::AtRedis;
use crate::tier::redis::{Fence, Held, Hit, Looked, Meeting, Out, Released, Server, Turn, Via};
pub(super) use crate::tier::redis::{InPlace, Soon};
use crate::tier::store::{Patience, Proven, StoreKey};

/// What messages call it.
pub(super) const NAME: &str = "redis";

/// How long who waits for a lease sleeps at first, and at most, if nothing wakes it.
const NAP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// The Redis of a function, which begins to be listened to if there is anything of this machine before it.
pub(super) fn at_redis(site: &Site) -> Option<AtRedis> {
    let tiers = &site.cache().config.tiers;
    let redis = tiers.redis()?;
    let at = AtRedis::new(redis.server(), site.keys("()").id());
    if (tiers.memory().is_some() || tiers.store().is_some())
        && let Some(table) = tiers.table()
    {
        at.listen(table);
    }
    Some(at)
}

/// What seals the values there, if that is not the cache's secret.
pub(super) fn seal(site: &Site) -> Option<Seal> {
    site.cache().config.tiers.redis()?.seal()
}

/// What proves that memory and store know what was cleared on other machines.
pub(super) fn proven_by(redis: Option<&AtRedis>) -> Option<Proven> {
    redis.map(|redis| redis.server().proven())
}

/// How long to wait until other machines have heard of a clear: the bound, and that clocks may run apart by one in a hundred.
pub(super) fn longest_staleness() -> Option<Duration> {
    let longest = Server::longest_staleness()?;
    Some(longest + longest / 100 + Duration::from_millis(2))
}

/// What a call knows of its key in Redis.
#[derive(Default)]
pub(super) struct AtHand {
    held: Option<Held>,
    /// Who gave the value, or the lease.
    fence: Option<Fence>,
    /// From when on the result counts; `None`: for all who were let in.
    pub(super) since: Option<ValidFrom>,
    /// What was computed may not be stored anywhere: the key was cleared meanwhile.
    void: bool,
    /// What became of the lease of a call whose function failed.
    pub(super) released: Option<Released>,
    /// What the lease replaced, because a clock alone said that it is too old.
    pub(super) late: Option<Late>,
}

impl AtHand {
    pub(super) fn is_void(&self) -> bool {
        self.void
    }
}

/// What a call is to do next.
enum Next {
    Found(Option<Found<Flown>>),
    Lead(Held),
    Wait,
}

/// This moment, for `ValidFrom::At`.
pub(super) fn moment() -> ValidFrom {
    ValidFrom::At(protocol().lock().now())
}

impl Function {
    /// How long a clear on another machine took to be heard of here.
    pub(super) fn lag(&self) -> Option<Duration> {
        self.meeting()?.common().lag()
    }

    /// Whether it has one that can be reached.
    pub(super) fn redis_answers(&self) -> bool {
        self.redis.as_ref().is_some_and(|at| !at.server().is_away())
    }

    pub(super) fn redis_failed(&self, what: &str, error: &Out) {
        if matches!(error, Out::Away) {
            return; // counted when it went
        }
        count(&self.counters.tier_errors);
        log::debug!(target: "quickcache", "`{}`: {what} of tier `{NAME}` failed: {error}", self.site.declared.name());
    }

    /// Clears a key on every machine; what failed, if that is not certain.
    pub(super) async fn clear_in_redis(&self, via: &impl Via, key: &Digest) -> Option<String> {
        let at = self.redis.as_ref()?;
        let cleared = at
            .clear(via, self.meeting(), &StoreKey::of_digest(key))
            .await;
        let error = cleared.err()?;
        self.redis_failed("clear", &error);
        Some(format!("tier `{NAME}`: {error}"))
    }

    /// Where the processes of this machine meet about its Redis.
    fn meeting(&self) -> Option<&'static Meeting> {
        self.redis.as_ref()?.meeting(self.store.as_ref()?.shared())
    }

    /// What seals its values there.
    pub(super) fn seal_of_redis(&self) -> &Seal {
        self.redis_seal.as_ref().unwrap_or(&self.seal)
    }

    /// An entry, unless it is damaged, forged, of another codec or too old.
    fn read_hit<O: Outcome>(
        &self,
        kind: &O,
        key: &StoreKey,
        hit: &Hit,
    ) -> Option<Outside<O::Value>> {
        let codec = kind.hooks().codec?;
        let now = clock::unix();
        let read = self.seal_of_redis().read(key.bytes(), now, hit.entry());
        let outside = read
            .and_then(|entry| entry.of_codec(codec.id))
            .ok()
            .and_then(|Entry { head, payload, .. }| {
                let by_clock = Duration::from_millis(head.deadline - now);
                Some(Outside {
                    value: (codec.decode)(&payload).ok()?,
                    age: Duration::from_millis(now.saturating_sub(head.started)),
                    // What the server says is right; the clock of the machine that wrote it may only shorten it.
                    left: hit.left.map_or(by_clock, |left| left.min(by_clock)),
                    stale: false,
                })
            });
        if outside.is_none() {
            count(&self.counters.rejected);
        }
        outside
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Handle<K, O> {
    /// What Redis knows of it.
    pub(super) async fn explain_redis(&self, via: &impl Via, explanation: &mut Explanation) {
        let Some(at) = &self.function.redis else {
            return;
        };
        let key = StoreKey::of_digest(&self.digest);
        if at.is_pending(self.function.meeting(), &key) {
            return;
        }
        let outside = match at.look(via, &key, true).await {
            Ok(Looked::Found(hit)) => self.function.read_hit(&self.kind, &key, &hit),
            Ok(Looked::Missing(_)) => self.past_of_redis(via, at, &key).await,
            Err(_) => None,
        };
        if let Some(outside) = outside {
            explanation.found(NAME, outside.standing());
        }
    }
}

impl Site {
    /// Clears every key of the function on every machine; what failed, if that is not certain.
    pub(super) async fn clear_all_in_redis(&self, via: &impl Via) -> Option<String> {
        let tiers = &self.cache().config.tiers;
        let at = AtRedis::new(tiers.redis()?.server(), self.keys("()").id());
        let meeting = tiers.table().and_then(|table| at.meeting(table));
        let error = at.clear_all(via, meeting).await.err()?;
        Some(format!("tier `{NAME}`: {error}"))
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    pub(super) fn redis_key(&self) -> StoreKey {
        StoreKey::of_digest(&self.digest)
    }

    /// Where Redis is among the tiers behind memory.
    fn redis_at(&self) -> usize {
        usize::from(self.function.times.store.is_some())
    }

    /// Whether it matters how long a value may still live: a faster tier wants to know, or one that is still there may be stale.
    fn wants_life(&self) -> bool {
        let times = &self.function.times;
        self.function.tables.is_some() || times.store.is_some() || !times.stale.is_zero()
    }

    /// From when on the result of this call's flight is as good as one of a call's own.
    pub(super) fn valid_from(&self) -> ValidFrom {
        if self.function.redis.is_none() {
            return ValidFrom::Joined;
        }
        let hand = self.hand();
        // With memory before it the promise has a bound, and while the bound is kept all who were let in may have the result: a clear
        // elsewhere has detached the flight within it.
        let is_proven = |meeting: &Meeting| meeting.common().is_proven();
        let proven =
            self.function.tables.is_some() && self.function.meeting().is_some_and(is_proven);
        match hand.redis.since {
            Some(since) if !proven => since,
            _ => ValidFrom::Joined,
        }
    }

    /// Whether memory and store may keep the value: what gave it, or the right to compute it, is the server whose clears are listened to.
    pub(super) fn may_keep(&self, hand: &Hand<K, O::Returned>) -> bool {
        let Some(fence) = &hand.redis.fence else {
            return true;
        };
        let meeting = self.function.meeting();
        meeting.is_some_and(|meeting| meeting.listens_to(fence))
    }

    /// The value that Redis has. If it has none, the right to store one, or a wait for whoever has that.
    pub(super) async fn look_at_redis(&self, via: &impl Via) -> Option<Found<Flown>> {
        let at = self.function.redis.as_ref()?;
        let key = self.redis_key();
        let mut patience = Patience::new(match runs_alone() {
            true => Duration::ZERO,
            false => self.function.patience(),
        });
        let mut nap = NAP.0;
        loop {
            self.hand().redis.since = Some(moment());
            let bell = self.function.meeting().map(AtRedis::bell);
            if self.is_pending_in_redis(at, &key) {
                return None;
            }
            match self.turn_in_redis(via, at, &key).await {
                Ok(Next::Found(found)) => return found,
                Ok(Next::Lead(held)) => {
                    self.hold(held);
                    return None;
                }
                Ok(Next::Wait) if patience.is_over() => return None,
                Ok(Next::Wait) => {
                    via.rest(bell, nap.min(patience.left())).await;
                    nap = (nap * 2).min(NAP.1);
                }
                Err(error) => {
                    self.function.redis_failed("get", &error);
                    return self.look_while_out(at);
                }
            }
        }
    }

    /// What memory and store have, if they serve now that Redis is known to be out of reach.
    fn look_while_out(&self, at: &AtRedis) -> Option<Found<Flown>> {
        if !at.server().proven().while_out {
            return None;
        }
        self.look_again().or_else(|| self.peek_at_store())
    }

    fn hold(&self, held: Held) {
        let mut hand = self.hand();
        hand.redis.fence = Some(held.era().fence);
        hand.redis.held = Some(held);
    }

    /// Whether what Redis has may be what a clear of this machine was to remove. The key's stamp was read before.
    pub(super) fn is_pending_in_redis(&self, at: &AtRedis, key: &StoreKey) -> bool {
        at.is_pending(self.function.meeting(), key)
    }

    async fn turn_in_redis(
        &self,
        via: &impl Via,
        at: &AtRedis,
        key: &StoreKey,
    ) -> Result<Next, Out> {
        let hit = match at.look(via, key, self.wants_life()).await? {
            Looked::Found(hit) => hit,
            // What it finds counts from before the look: there the function was not cleared yet.
            Looked::Missing(era) => match at.claim(via, key, &era).await? {
                Turn::Found(hit) => hit,
                Turn::Lead(held) => return Ok(Next::Lead(held)),
                Turn::Wait => return Ok(Next::Wait),
            },
        };
        match self.function.read_hit(&self.kind, key, &hit) {
            Some(outside) => Ok(Next::Found(self.found_in_redis(&hit, outside))),
            // What cannot be read is replaced; if it is too old by a clock alone, it is the last value.
            None => Ok(match at.take(via, key, &hit.era).await? {
                Some(held) => {
                    self.hand().redis.late = self.function.late_by_clock(key, &hit);
                    Next::Lead(held)
                }
                None => Next::Wait,
            }),
        }
    }

    fn found_in_redis(&self, hit: &Hit, outside: Outside<O::Value>) -> Option<Found<Flown>> {
        self.hand().redis.fence = Some(hit.era.fence);
        self.found(self.redis_at(), outside)
    }

    /// The value that Redis has, if there is one: waits for nobody.
    pub(super) async fn peek_at_redis(&self, via: &impl Via) -> Option<Found<Flown>> {
        let at = self.function.redis.as_ref()?;
        let key = self.redis_key();
        if self.is_pending_in_redis(at, &key) {
            return None;
        }
        match at.look(via, &key, self.wants_life()).await {
            Ok(Looked::Found(hit)) => {
                let outside = self.function.read_hit(&self.kind, &key, &hit)?;
                self.found_in_redis(&hit, outside)
            }
            Ok(Looked::Missing(_)) => None,
            Err(error) => {
                self.function.redis_failed("get", &error);
                None
            }
        }
    }

    /// The function begins: if nothing is stored, its result counts from here.
    pub(super) fn begin_in_redis(&self) {
        if self.function.redis.is_some() {
            self.hand().redis.since = Some(moment());
        }
    }

    /// Stores the result in Redis, under the lease that the call has, or gives that back.
    pub(super) async fn fill_redis(&self, via: &impl Via, flown: &Flown) {
        let Some(held) = self.hand().redis.held.take() else {
            return;
        };
        let late = self.hand().redis.late.take();
        let entry = match late {
            // It comes back as what it is, for as long as it may be served.
            Some(late) if !matches!(flown, Flown::Value(_)) => {
                self.put_back(via, held, late).await;
                return;
            }
            _ => self.redis_entry(flown),
        };
        let since = moment();
        let stood = match entry {
            Some((bytes, life)) => match self.lasting(held).fill(via, &bytes, life, None).await {
                Ok(stored) => {
                    self.hand().redis.void = !stored;
                    Ok(stored)
                }
                Err(error) => Err(error),
            },
            None => match held.release_for_past(via).await {
                Ok(released) => {
                    let stood = matches!(released, Released::Stood(_));
                    self.hand().redis.released = Some(released);
                    Ok(stood)
                }
                Err(error) => {
                    // It may have been cleared.
                    self.hand().redis.released = Some(Released::Lost);
                    Err(error)
                }
            },
        };
        match stood {
            // Nobody had cleared it by then.
            Ok(true) => self.hand().redis.since = Some(since),
            Ok(false) => {}
            Err(error) => self.function.redis_failed("set", &error),
        }
    }

    /// What is stored under it is kept for calls whose function fails.
    fn lasting(&self, held: Held) -> Held {
        held.beyond(self.function.times.stale)
    }

    /// The bytes of a result, and how long they may live there.
    fn redis_entry(&self, flown: &Flown) -> Option<(Vec<u8>, Duration)> {
        let entry = self.entry(flown)?;
        let Some(codec) = self.hooks().codec else {
            self.function.unwritable(NO_CODEC);
            return None;
        };
        let age = self.age(&entry);
        let life = self.function.times.redis?.checked_sub(age)?;
        if life.is_zero() {
            return None;
        }
        let now = clock::unix();
        let head = Head {
            generation: 0,
            started: now.saturating_sub(clock::millis(age)),
            deadline: clock::deadline(now, life),
        };
        let write = |bytes: &mut Vec<u8>| (codec.encode)(&entry.value, bytes).map(|()| codec.id);
        match self
            .function
            .seal_of_redis()
            .write(self.redis_key().bytes(), head, write)
        {
            Ok(bytes) => Some((bytes, life)),
            Err(error) => {
                self.function.unwritable(&error.to_string());
                None
            }
        }
    }

    /// Before a value is computed that is no fill: takes the key over.
    pub(super) async fn take_in_redis(&self, via: &impl Via) {
        let Some(at) = &self.function.redis else {
            return;
        };
        let key = self.redis_key();
        let taken = match at.look(via, &key, false).await {
            Ok(Looked::Found(Hit { era, .. }) | Looked::Missing(era)) => {
                at.take(via, &key, &era).await
            }
            Err(error) => Err(error),
        };
        match taken {
            Ok(Some(held)) => self.hold(held),
            Ok(None) => {}
            Err(error) => self.function.redis_failed("set", &error),
        }
    }

    /// Stores a value that is no fill, in place of what is there. `false`: something came between, or it cannot be reached; what is there
    /// is cleared, and the value is not stored anywhere.
    pub(super) async fn supersede_in_redis(&self, via: &impl Via, flown: &Flown) -> bool {
        if self.function.redis.is_none() {
            return true;
        }
        let held = self.hand().redis.held.take();
        let Some((held, (bytes, life))) = held.zip(self.redis_entry(flown)) else {
            // What is there is older.
            return self
                .function
                .clear_in_redis(via, &self.digest)
                .await
                .is_none();
        };
        match self
            .lasting(held)
            .fill(via, &bytes, life, Some(self.function.meeting()))
            .await
        {
            Ok(stored) => stored,
            Err(error) => {
                self.function.redis_failed("set", &error);
                let _pending = self.function.clear_in_redis(via, &self.digest).await;
                false
            }
        }
    }
}

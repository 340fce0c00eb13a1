//! A function at a Redis: values and leases there, and until when a result may be shared, in the order in which the Rust front does it.

use super::ask::{Answer, Job, Met};
use super::{Redis, life};
use crate::call::Hand;
use crate::keys::Keys;
use crate::memory::deadline;
use crate::plan::Compiled;
use crate::stack::{Native, TextKey};
use crate::state::{Counts, FLIGHTS, add};
use crate::store::{Found, Standing, function_name, store_key};
use crate::value::is_ellipsis;
use crate::wait::wait;
use crate::{clock, warn};
use pyo3::prelude::*;
use quickcache::entry::{Entry, Rejected};
use quickcache::protocol::machine::ValidFrom;
use quickcache::tier::memory::NEVER;
use quickcache::tier::redis::{AtRedis, Bell, Fence, Held, Hit, Out, Released};
use quickcache::tier::store::{Patience, Proven, Shared, StoreKey};
use std::sync::Arc;
use std::time::Duration;

/// How long who waits for a lease sleeps at first, and at most, if nothing wakes it.
const NAP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// The Redis behind the other tiers of one function.
pub struct At {
    pub redis: Py<Redis>,
    at: Arc<AtRedis>,
    /// What the tier puts before a text key.
    key_prefix: Box<str>,
    beside: u64,
    pub(super) times: Times,
    /// Whether it matters how long a value may still live: a faster tier wants to know, or one that is still there may be stale.
    asks_life: bool,
}

/// How long values stay, in milliseconds.
pub struct Times {
    pub timeout: u64,
    /// Beyond that, for calls whose function raises.
    pub stale: u64,
    /// A faster tier goes by what is left.
    pub has_faster: bool,
}

/// What a call knows of its key in Redis.
#[derive(Default)]
pub struct InRedis {
    held: Option<Held>,
    /// Who gave the value, or the lease.
    fence: Option<Fence>,
    /// From when on the result counts; `None`: for all who were let in.
    pub(super) since: Option<ValidFrom>,
    /// What was computed may not be stored anywhere: the key was cleared meanwhile.
    pub void: bool,
    /// What was replaced since by this machine's clock it is too old, though not by the server's.
    late: Option<Vec<u8>>,
    /// What became of the lease of a call whose function raised.
    pub(super) released: Option<Released>,
}

/// What a call is to do next.
pub enum Turn<'py> {
    Found(Found<'py>),
    Run,
    /// Another call has the lease: wait, then ask again.
    Wait,
    /// Ask this.
    Ask(Job),
}

/// This moment, for `ValidFrom::At`.
pub fn moment(py: Python) -> ValidFrom {
    ValidFrom::At(FLIGHTS.with(py, |m| m.now()))
}

impl At {
    pub fn new(redis: &Bound<Redis>, times: Times, key_prefix: &str, keys: &Keys) -> At {
        let own = redis.get();
        let name = function_name(keys, key_prefix, own.beside);
        At {
            redis: redis.clone().unbind(),
            at: Arc::new(AtRedis::new(own.server, &name)),
            key_prefix: key_prefix.into(),
            beside: own.beside,
            asks_life: times.has_faster || times.stale != 0,
            times,
        }
    }

    /// What proves that memory and store know what was cleared on other machines.
    pub fn proven(&self) -> Proven {
        self.at.server().proven()
    }

    /// Has clears listened for, on the machine of this table.
    pub fn listen(&self, table: &'static Shared) {
        self.at.listen(table);
    }

    pub fn at(&self) -> Arc<AtRedis> {
        self.at.clone()
    }

    pub fn key(&self, key: &TextKey) -> StoreKey {
        store_key(&self.key_prefix, key.shown(), self.beside)
    }

    /// Where the processes of this machine meet about it.
    fn meeting(&self, n: &Native) -> Met {
        self.at.meeting(n.store.as_ref()?.shared())
    }

    /// Whether what Redis has may be what a clear of this machine was to remove. Asked after the key's stamp was read.
    pub(super) fn is_pending(&self, n: &Native, key: &StoreKey) -> bool {
        self.at.is_pending(self.meeting(n), key)
    }

    /// How long a clear on another machine took to be heard of here, in seconds.
    pub fn lag(&self, n: &Native) -> Option<f64> {
        Some(self.meeting(n)?.common().lag()?.as_secs_f64())
    }

    /// From when on the result of this call's flight is as good as one of a call's own.
    pub fn valid_from(&self, n: &Native, hand: &Hand) -> ValidFrom {
        // With memory before it the promise has a bound, and while the bound is kept all who were let in may have the result: a clear
        // elsewhere has detached the flight within it.
        let proven = n.remembers
            && self
                .meeting(n)
                .is_some_and(|meeting| meeting.common().is_proven());
        match hand.redis.since {
            Some(since) if !proven => since,
            _ => ValidFrom::Joined,
        }
    }

    /// Whether memory and store may keep the value: what gave it, or the right to compute it, is the server whose clears are listened to.
    pub fn may_keep(&self, n: &Native, hand: &Hand) -> bool {
        let Some(fence) = &hand.redis.fence else {
            return true;
        };
        self.meeting(n)
            .is_some_and(|meeting| meeting.listens_to(fence))
    }

    /// The question of a call that leads; `None`: it may not ask, since what is there may be what a clear was to remove.
    pub fn turn_job(&self, py: Python, n: &Native, key: &StoreKey, hand: &mut Hand) -> Option<Job> {
        hand.redis.since = Some(moment(py));
        (!self.is_pending(n, key)).then_some(Job::Turn(self.asks_life))
    }

    /// What its answer means.
    pub fn answered<'py>(
        &self,
        py: Python<'py>,
        key: &StoreKey,
        hand: &mut Hand,
        counts: &Counts,
        answer: Result<Answer, Out>,
    ) -> PyResult<Turn<'py>> {
        Ok(match answer {
            Ok(Answer::Found(hit)) => match self.read(py, key, &hit, counts)? {
                Some(found) => {
                    hand.redis.fence = Some(hit.era.fence);
                    add(&counts.redis_hits);
                    Turn::Found(found)
                }
                // What cannot be read is replaced; if a clock alone says that it is too old, it may be stale.
                None => {
                    hand.redis.late = (self.times.stale != 0).then(|| hit.entry().to_vec());
                    Turn::Ask(Job::Replace(hit.era))
                }
            },
            Ok(Answer::Lead(held)) => {
                hand.redis.hold(self.lasting(held));
                Turn::Run
            }
            Ok(Answer::Wait) => Turn::Wait,
            Ok(_) | Err(_) => Turn::Run,
        })
    }

    /// The value, or the right to store one. Lets other threads run while it waits, so long at most for another call.
    pub fn turn<'py>(
        &self,
        py: Python<'py>,
        n: &Native,
        (key, most): (&TextKey, Duration),
        hand: &mut Hand,
        counts: &Counts,
    ) -> PyResult<Option<Found<'py>>> {
        let key = self.key(key);
        let mut patience = Patience::new(most);
        let mut nap = NAP.0;
        loop {
            let bell = self.meeting(n).map(AtRedis::bell);
            let Some(mut job) = self.turn_job(py, n, &key, hand) else {
                return Ok(None);
            };
            let turn = loop {
                let answer = job.ask(py, &self.at, &key);
                match self.answered(py, &key, hand, counts, answer)? {
                    Turn::Ask(next) => job = next,
                    turn => break turn,
                }
            };
            match turn {
                Turn::Found(found) => return Ok(Some(found)),
                Turn::Wait if !patience.is_over() => {
                    let most = nap.min(patience.left());
                    wait(py, most, |most| rest(bell, most))?;
                    nap = (nap * 2).min(NAP.1);
                }
                _ => return Ok(None),
            }
        }
    }

    /// The value, if there is one: waits for nobody.
    pub fn peek<'py>(
        &self,
        py: Python<'py>,
        n: &Native,
        key: &TextKey,
        hand: &mut Hand,
        counts: &Counts,
    ) -> PyResult<Option<Found<'py>>> {
        let key = self.key(key);
        if self.is_pending(n, &key) {
            return Ok(None);
        }
        match Job::Look(self.asks_life).ask(py, &self.at, &key) {
            Ok(Answer::Found(hit)) => {
                hand.redis.fence = Some(hit.era.fence);
                self.read(py, &key, &hit, counts)
            }
            _ => Ok(None),
        }
    }

    /// An entry, unless it is damaged, forged, of another codec or too old. An interrupt comes out.
    fn read<'py>(
        &self,
        py: Python<'py>,
        key: &StoreKey,
        hit: &Hit,
        counts: &Counts,
    ) -> PyResult<Option<Found<'py>>> {
        let read = self.redis.get().decode(py, key, super::now(), hit.entry());
        let (value, due) = match read? {
            Ok(read) => read,
            Err(Rejected::Expired) => return Ok(None),
            Err(_) => {
                add(&counts.rejected);
                return Ok(None);
            }
        };
        // To a call it says "nothing is stored" (drop-in.md R2).
        if is_ellipsis(&value) {
            return Ok(None);
        }
        let by_clock = match due {
            NEVER => NEVER,
            due => due.saturating_sub(super::now()),
        };
        // What the server says is right; the clock of the machine that wrote it may only shorten it.
        let left = hit.left.map_or(by_clock, |left| {
            u64::try_from(left.as_millis())
                .unwrap_or(NEVER)
                .min(by_clock)
        });
        Ok(Some((value, deadline(clock::now(), left))))
    }

    /// What is known of the entry, which may be stale: nothing is decoded.
    pub fn standing(&self, py: Python, n: &Native, key: &TextKey) -> Option<Standing> {
        let key = self.key(key);
        if self.is_pending(n, &key) {
            return None;
        }
        let Ok(Answer::Found(hit)) = Job::Look(true).ask(py, &self.at, &key) else {
            return self.standing_past(py, &key);
        };
        let now = super::now();
        let Entry { head, payload, .. } = self
            .redis
            .get()
            .seal
            .read(key.bytes(), now, hit.entry())
            .ok()?;
        Some(Standing {
            age: Some(now.saturating_sub(head.started) as f64 / 1e3),
            stale: false,
            left: (head.deadline != NEVER).then(|| hit.left.unwrap_or_default().as_secs_f64()),
            bytes: payload.len(),
        })
    }

    /// The function begins: if nothing is stored, its result counts from here.
    pub fn begin(&self, py: Python, hand: &mut Hand) {
        hand.redis.since = Some(moment(py));
    }

    /// What stores the value that the function gave, under the lease that the call has, or gives that back. Not stored if it `settles`.
    pub fn fill_job(
        &self,
        (c, counts): (&Compiled, &Counts),
        hand: &mut Hand,
        value: &Bound<PyAny>,
        began: u64,
        settles: bool,
    ) -> PyResult<Option<Job>> {
        let Some(held) = hand.redis.held.take() else {
            return Ok(None);
        };
        let entry = match settles {
            true => None,
            false => self.entry((c, counts), held.of(), value, began)?,
        };
        Ok(Some(match entry {
            Some((entry, life)) => Job::Fill {
                held,
                entry,
                life,
                tell_all: None,
            },
            None => Job::Release(held),
        }))
    }

    /// What gives back the lease of a function that raised.
    pub fn release_job(&self, hand: &mut Hand) -> Option<Job> {
        let held = hand.redis.held.take()?;
        if let Some(entry) = hand.redis.late.take()
            && let Some(left) = self.late_by_clock(held.of(), &entry)
        {
            // It comes back as what it is, for as long as it may be served.
            return Some(Job::Fill {
                held: held.beyond(left),
                entry,
                life: Duration::ZERO,
                tell_all: None,
            });
        }
        Some(match self.times.stale {
            0 => Job::Release(held),
            _ => Job::GiveBack(held),
        })
    }

    /// What came of either, which was asked at `since`; `fill`: it was a fill.
    pub fn stood(
        &self,
        hand: &mut Hand,
        since: ValidFrom,
        is_fill: bool,
        answer: Result<Answer, Out>,
    ) {
        match answer {
            // Nobody had cleared it by then.
            Ok(Answer::Stood(true)) => hand.redis.since = Some(since),
            Ok(Answer::Stood(false)) => hand.redis.void = is_fill,
            Ok(Answer::Released(released)) => {
                if matches!(released, Released::Stood(_)) {
                    hand.redis.since = Some(since);
                }
                hand.redis.released = Some(released);
            }
            // It may have been cleared.
            Err(_) => hand.redis.released = Some(Released::Lost),
            _ => {}
        }
    }

    /// Asks either.
    pub fn store(&self, py: Python, key: &TextKey, hand: &mut Hand, job: Option<Job>) {
        if let Some(job) = job {
            let (since, is_fill) = (moment(py), matches!(job, Job::Fill { .. }));
            let answer = job.ask(py, &self.at, &self.key(key));
            self.stood(hand, since, is_fill, answer);
        }
    }

    /// The bytes of a value whose execution began at `began`, and how long they may live there; `None` if it has none, with one
    /// warning, or is too old by now.
    fn entry(
        &self,
        (c, counts): (&Compiled, &Counts),
        key: &StoreKey,
        value: &Bound<PyAny>,
        began: u64,
    ) -> PyResult<Option<(Vec<u8>, Duration)>> {
        let py = value.py();
        let here = clock::now();
        if began > here {
            // By a fake clock that has ended meanwhile.
            return Ok(None);
        }
        let due = deadline(began, self.times.timeout);
        if due <= here {
            warn::slower_than_timeout(py, c)?;
            return Ok(None);
        }
        let left = if due == NEVER { NEVER } else { due - here };
        match self.redis.get().encode(value, key, here - began, left) {
            Ok(entry) => Ok(Some((entry, life(left)))),
            Err(error) => {
                add(&counts.unstored);
                warn::cannot_encode(py, c, value, error).map(|()| None)
            }
        }
    }

    /// Before a value is computed that is no fill: takes the key over.
    pub fn take(&self, py: Python, key: &TextKey, hand: &mut Hand) {
        if let Ok(Answer::Lead(held)) = Job::Take.ask(py, &self.at, &self.key(key)) {
            hand.redis.hold(self.lasting(held));
        }
    }

    /// What is stored under it is kept for calls whose function raises.
    fn lasting(&self, held: Held) -> Held {
        held.beyond(Duration::from_millis(self.times.stale))
    }

    /// Stores a value that is no fill, in place of what is there. `false`: something came between, or it cannot be reached; what is there
    /// is cleared, and the value is not stored anywhere.
    pub fn supersede(
        &self,
        (c, counts): (&Compiled, &Counts),
        n: &Native,
        key: &TextKey,
        hand: &mut Hand,
        value: &Bound<PyAny>,
        began: u64,
    ) -> PyResult<bool> {
        let py = value.py();
        let own = self.key(key);
        // If the arguments have another key by now nothing is held of that.
        let held = hand.redis.held.take().filter(|held| *held.of() == own);
        let entry = match held {
            None => None,
            Some(held) => self
                .entry((c, counts), &own, value, began)?
                .map(|entry| (held, entry)),
        };
        let Some((held, (entry, life))) = entry else {
            // What is there is older.
            return Ok(self.clear(py, n, key));
        };
        let job = Job::Fill {
            held,
            entry,
            life,
            tell_all: Some(self.meeting(n)),
        };
        match job.ask(py, &self.at, &own) {
            Ok(answer) => Ok(matches!(answer, Answer::Stood(true))),
            Err(_) => {
                self.clear(py, n, key);
                Ok(false)
            }
        }
    }

    /// Clears a key on every machine; says whether that is certain.
    pub fn clear(&self, py: Python, n: &Native, key: &TextKey) -> bool {
        let job = Job::Clear(self.meeting(n));
        job.ask(py, &self.at, &self.key(key)).is_ok()
    }

    /// Clears every key of the function on every machine; says whether that is certain.
    pub fn clear_all(&self, py: Python, n: &Native) -> bool {
        let job = Job::ClearAll(self.meeting(n));
        // Of the function, whichever key is named.
        job.ask(py, &self.at, &StoreKey::of_text("")).is_ok()
    }
}

impl InRedis {
    fn hold(&mut self, held: Held) {
        self.fence = Some(held.era().fence);
        self.held = Some(held);
    }
}

fn rest(bell: Option<Bell>, most: Duration) {
    match bell {
        Some(bell) => bell.wait(most),
        None => std::thread::sleep(most),
    }
}

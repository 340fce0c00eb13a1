//! A call whose first tier is a memory of ours: look, lead or follow, ask slower tiers, run, fill.

use super::leader::{Followed, Followers, Lead, follow, patience};
use super::{Call, Hand, Op};
use crate::clock;
use crate::flight::{self, Cell, Outcome};
use crate::keys::KeyParts;
use crate::memory::{Stored, deadline, served};
use crate::stack::{Native, TextKey};
use crate::state::{FLIGHTS, add, debug, debugging};
use crate::store::Found;
use crate::value::is_ellipsis;
use crate::{fault, warn};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyString;
use quickcache::protocol::machine::{self, Enter, Ticket};
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::Guard;
use std::time::Duration;

impl<'py> Op<'py> {
    pub(super) fn hit(&self, n: &Native, parts: &KeyParts) -> PyResult<Option<Bound<'py, PyAny>>> {
        match n.memory.get().look(self.py, &n.space, &parts.parts) {
            // Stored as ever, and computed anew as ever: to a call it says "nothing is stored" (drop-in.md R2).
            Some((object, _)) if is_ellipsis(&object) => Ok(None),
            Some((object, encoded)) => {
                add(&self.counts().slow_hits);
                served(object, encoded).map(Some)
            }
            None => Ok(None),
        }
    }

    pub(super) fn through_memory(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if let Some(v) = self.hit(n, parts)? {
            return Ok(v);
        }
        let key = self.text_key(parts)?;
        if debugging(py) {
            debug(py, key.shown())?;
        }
        if self.adopt(n, parts, &key)?
            && let Some(v) = self.hit(n, parts)?
        {
            return Ok(v);
        }
        let within = flight::within(py)?;
        let mut waited = 0;
        let started = FLIGHTS.with(py, |m| m.begin());
        loop {
            let hand = Hand::of(n.see(&key));
            let generation = hand.generation();
            let entered = FLIGHTS.with(py, |m| {
                let _ = m.begin();
                m.enter(key.of(), machine::Call { within, generation }, Cell::new)
            });
            match entered {
                Enter::Lead(ticket) | Enter::Alone(ticket) => {
                    let lead = Lead {
                        key: &key,
                        ticket: Some(ticket),
                    };
                    // The caches' own code too, so that a call from inside it does not wait for this one.
                    return flight::inside(py, lead.flight(), || {
                        self.lead(n, parts, lead, hand, call)
                    });
                }
                Enter::Follow(following, cell) => {
                    let outcome = match follow(py, &key, following, &cell, patience(self.counts()))?
                    {
                        Followed::Outcome(o) => o,
                        Followed::GaveUp(_ticket) => return self.alone(n, parts, &key, call),
                    };
                    add(&self.counts().followed);
                    match &*outcome {
                        // Somebody may have cleared it elsewhere, after it was read and before this call began.
                        _ if !cell.is_for(started) => waited += 1,
                        Outcome::Raised(e) => return Err(e.clone_ref(py)),
                        Outcome::Value(v, encoded) => return served(v.bind(py).clone(), *encoded),
                        Outcome::Stale(v, encoded) => {
                            add(&self.counts().stale_hits);
                            return served(v.bind(py).clone(), *encoded);
                        }
                        Outcome::Nothing => waited += 1,
                    }
                    if let Some(v) = self.hit(n, parts)? {
                        return Ok(v);
                    }
                    if waited == 2 {
                        return self.alone(n, parts, &key, call);
                    }
                }
            }
        }
    }

    /// An entry that was set by text becomes one that calls find.
    pub(super) fn adopt(&self, n: &Native, parts: &KeyParts, key: &TextKey) -> PyResult<bool> {
        let (py, memory) = (self.py, n.memory.get());
        if !memory.has_texts(py) {
            return Ok(false);
        }
        // From here on it is as good as any: who clears the key clears it.
        let Some(guard) = n.guard(n.see(key).as_ref()) else {
            return Ok(false);
        };
        if n.key_prefix.is_empty() {
            return Ok(memory.adopt(py, &n.space, &parts.parts, key.object().cast()?, guard));
        }
        let full = PyString::new(py, &format!("{}{}", n.key_prefix, key.shown()));
        Ok(memory.adopt(py, &n.space, &parts.parts, &full, guard))
    }

    fn lead(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        mut lead: Lead<'_, 'py>,
        mut hand: Hand,
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let id = n.space.id.get();
        // Another flight may have landed between our look and now.
        if let Some(v) = self.hit(n, parts)? {
            return Ok(v);
        }
        let token = lead.token();
        let began = clock::now();
        if let (Some(at), Some(seen)) = (&n.store, &mut hand.seen)
            && let Some(found) = at.turn(py, seen, self.counts())?
        {
            return self.found_in_store(n, parts, &mut lead, id, hand, found);
        }
        // One from inside the function would wait for its own call.
        let most = match lead.flight() {
            Some(_) => patience(self.counts()),
            None => Duration::ZERO,
        };
        if let Some(at) = &n.redis
            && let Some(found) = at.turn(py, n, (lead.key, most), &mut hand, self.counts())?
        {
            return self.found_in_redis(n, parts, &mut lead, id, hand, found, false);
        }
        if let Some((v, until)) = n.rest.get_until(lead.key, token)? {
            add(&self.counts().outer_hits);
            self.put(n, lead.key, &mut hand, &v, began, until, false)?;
            let due = deadline(began, n.timeout).min(until);
            let stored = match due > clock::now() {
                true => self.stored(n, &v)?,
                false => None,
            };
            self.land(n, parts, &mut lead, id, hand, (stored, &v), due)?;
            return Ok(v);
        }
        add(&self.counts().misses);
        if debugging(py) {
            debug(py, &format!("cache miss, calling {}", self.c.name(py)?))?;
        }
        if let Some(at) = &n.redis {
            at.begin(py, &mut hand);
        }
        let ran = self.execute(call);
        let value = match ran.result {
            Ok(v) => v,
            Err(e) => {
                // An interrupt is the leader's own: its followers look again.
                if e.is_instance_of::<PyException>(py) {
                    if let Some(at) = &n.redis {
                        let job = at.release_job(&mut hand);
                        at.store(py, lead.key, &mut hand, job);
                    }
                    let stale = self.or_stale(n, parts, lead.key, &mut hand, &e)?;
                    let valid_from = n.valid_from(&hand);
                    if let Some(stale) = stale {
                        lead.end_from(stale.outcome, valid_from)?;
                        return Ok(stale.value);
                    }
                    lead.end_from(Outcome::Raised(e.clone_ref(py)), valid_from)?;
                }
                return Err(e);
            }
        };
        if let Some(at) = &n.redis {
            let job = self.fill_in_redis(at, lead.key, &mut hand, &value, ran.began)?;
            at.store(py, lead.key, &mut hand, job);
        }
        let ticket = lead.ticket.take().expect("not landed yet");
        self.finish(
            n, parts, lead.key, ticket, id, hand, &value, ran.began, false,
        )?;
        Ok(value)
    }

    /// What stores the value of a flight in Redis, if the call has the right to. Not while a clear settles.
    pub fn fill_in_redis(
        &self,
        at: &crate::redis::At,
        key: &TextKey,
        hand: &mut Hand,
        value: &Bound<PyAny>,
        began: u64,
    ) -> PyResult<Option<crate::redis::Job>> {
        let settles = FLIGHTS.with(self.py, |m| m.clearing(key.function, key.hash));
        at.fill_job((&self.c, self.counts()), hand, value, began, settles)
    }

    /// Ends a flight whose value Redis has: the store behind memory gets it, too.
    #[allow(clippy::too_many_arguments, reason = "what a flight is made of")]
    pub fn found_in_redis(
        &self,
        n: &Native,
        parts: &KeyParts,
        lead: &mut Lead<'_, 'py>,
        id: u32,
        mut hand: Hand,
        (value, until): Found<'py>,
        is_async: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let now = clock::now();
        self.put(n, lead.key, &mut hand, &value, now, until, is_async)?;
        let stored = match n.remembers {
            true => self.stored(n, &value)?,
            false => None,
        };
        let due = deadline(now, n.timeout).min(until);
        self.land(n, parts, lead, id, hand, (stored, &value), due)?;
        Ok(value)
    }

    /// Ends a flight whose value the store has.
    pub fn found_in_store(
        &self,
        n: &Native,
        parts: &KeyParts,
        lead: &mut Lead<'_, 'py>,
        id: u32,
        hand: Hand,
        (value, until): Found<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        add(&self.counts().store_hits);
        let due = deadline(clock::now(), n.timeout).min(until);
        let stored = match n.remembers {
            true => self.stored(n, &value)?,
            false => None,
        };
        self.land(n, parts, lead, id, hand, (stored, &value), due)?;
        Ok(value)
    }

    /// Stores a value in the store, if there is one, at the generation that was seen before it was computed; `later`: by another
    /// thread, if the memory tier has it meanwhile. Not while a clear settles.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a value to store is made of"
    )]
    fn put(
        &self,
        n: &Native,
        key: &TextKey,
        hand: &mut Hand,
        value: &Bound<PyAny>,
        began: u64,
        until: u64,
        later: bool,
    ) -> PyResult<()> {
        if hand.redis.void || n.redis.as_ref().is_some_and(|at| !at.may_keep(n, hand)) {
            return Ok(());
        }
        if let (Some(at), Some(seen)) = (&n.store, &mut hand.seen)
            && !FLIGHTS.with(self.py, |m| m.clearing(key.function, key.hash))
            && let Some(entry) =
                at.entry((&self.c, self.counts()), &*seen, value, (began, until))?
        {
            if later && n.remembers {
                at.put_later(seen, entry);
            } else {
                at.put(seen, &entry, self.counts());
            }
        }
        Ok(())
    }

    /// Ends a flight whose function gave `value`: the slower tiers, then the memory tier, then the followers.
    #[allow(
        clippy::too_many_arguments,
        reason = "what an asynchronous flight kept of its beginning"
    )]
    pub fn finish(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        key: &TextKey<'py>,
        ticket: Ticket,
        id: u32,
        mut hand: Hand,
        value: &Bound<'py, PyAny>,
        began: u64,
        is_async: bool,
    ) -> PyResult<()> {
        let mut lead = Lead {
            key,
            ticket: Some(ticket),
        };
        let stored = self.stored(n, value)?;
        if !n.rest.is_none()
            && !hand.redis.void
            && n.rest.fill(key, lead.token(), began, value)?.is_none()
        {
            add(&self.counts().refused);
        }
        self.put(n, key, &mut hand, value, began, NEVER, is_async)?;
        let due = deadline(began, n.timeout);
        self.land(n, parts, &mut lead, id, hand, (stored, value), due)
    }

    /// What is to be stored of a value; `None` if it cannot be, with one warning.
    pub(super) fn stored(
        &self,
        n: &Native,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Stored<'py>>> {
        match Stored::of(value, n.copy) {
            Ok(s) => Ok(Some(s)),
            Err(e) => {
                let prefix = self.c.prefix.bind(self.py).to_string_lossy();
                warn::cannot_copy(self.py, Some(&prefix), value, e)?;
                add(&self.counts().refused);
                Ok(None)
            }
        }
    }

    /// The flight ends: the fill if it still stands, then the followers.
    #[allow(clippy::too_many_arguments, reason = "what a flight is made of")]
    fn land(
        &self,
        n: &Native,
        parts: &KeyParts,
        lead: &mut Lead<'_, 'py>,
        id: u32,
        hand: Hand,
        (mut stored, value): (Option<Stored<'py>>, &Bound<'py, PyAny>),
        deadline: u64,
    ) -> PyResult<()> {
        let py = self.py;
        let counts = self.counts();
        fault::point(py, "land");
        let valid_from = n.valid_from(&hand);
        let may_keep = n.redis.as_ref().is_none_or(|at| at.may_keep(n, &hand));
        let landed = FLIGHTS.with(py, |m| m.land(lead.ticket.take().expect("landed once")));
        let followers = Followers(py, landed.left.map(|(_, cell)| cell));
        fault::point(py, "fill");
        // Nothing between the landing and the fill lets another thread in.
        let mut late = false;
        let why = n.memory.get().why_not(py, &n.space, &parts.parts);
        let guard = n.guard(hand.seen.as_ref());
        let good = landed.good && guard.is_some() && may_keep && !hand.redis.void;
        let stored_now = stored.is_some() && good && deadline > clock::now();
        counts.why.missed(py, lead.key.hash, why, stored_now);
        if let Some(s) = &stored {
            if !good {
                add(&counts.refused);
            } else if deadline <= clock::now() {
                late = true;
                add(&counts.refused);
            } else {
                let guard = guard.unwrap_or(Guard::NONE);
                n.memory
                    .get()
                    .fill(py, &n.space, id, &parts.parts, s, deadline, guard);
                add(&counts.fills);
            }
        }
        // The lease of the machine ends when the value is where others look for it.
        drop(hand);
        if stored.is_none() && !n.remembers && followers.wait() {
            stored = self.stored(n, value)?;
        }
        let outcome = match stored {
            Some(s) => Outcome::Value(s.object.unbind(), s.encoded),
            None => Outcome::Nothing,
        };
        followers.wake(outcome, valid_from)?;
        if late {
            warn::slower_than_timeout(py, &self.c)?;
        }
        Ok(())
    }
}

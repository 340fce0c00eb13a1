//! Stores that are not fills, reads that run nothing, and clears.

use super::user::User;
use super::{Call, Hand, Op};
use crate::keys::KeyParts;
use crate::memory::deadline;
use crate::stack::{Native, Stack, TextKey, Tiers};
use crate::state::{FLIGHTS, add, debug, debugging};
use crate::{clock, fault, testing, warn};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use quickcache::protocol::machine::Seq;
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::{Guard, Seen};
use std::cell::Cell;

impl<'py> Op<'py> {
    /// Computes anew whatever is stored, and stores that.
    pub fn compute_and_store(&self, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let token = FLIGHTS.with(self.py, |m| m.begin());
        let hand = self.see_and_take(call)?;
        let ran = self.execute(call);
        let value = ran.result?;
        // The key comes after the function, as ever: a changed argument is stored under its new key.
        let parts = self.key(&self.values(call)?)?;
        self.store(&parts, token, hand, ran.began, &value)?;
        Ok(value)
    }

    /// As `see`; and the right to store the value in Redis.
    pub fn see_and_take(&self, call: Call) -> PyResult<Hand> {
        let key = self.key_before(call)?;
        Ok(self.hand(key.as_ref()))
    }

    fn hand(&self, key: Option<&TextKey>) -> Hand {
        let (Stack::Native(n), Some(key)) = (&self.c.stack, key) else {
            return Hand::default();
        };
        let mut hand = Hand::of(n.see(key));
        if let Some(at) = &n.redis {
            at.take(self.py, key, &mut hand);
        }
        hand
    }

    /// The key of a call before its function runs, if any tier wants to know it.
    fn key_before(&self, call: Call) -> PyResult<Option<TextKey<'py>>> {
        if !matches!(&self.c.stack, Stack::Native(Native { store: Some(_), .. })) {
            return Ok(None);
        }
        let key = || self.text_key(&self.key(&self.values(call)?)?);
        match key() {
            Ok(key) => Ok(Some(key)),
            // It has no key yet; if it has none afterwards either, that is said then.
            Err(error) if error.is_instance_of::<PyException>(self.py) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a value of the caller's own: its execution began and ended now.
    pub fn set(
        &self,
        parts: &KeyParts<'py>,
        token: Seq,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let hand = self.hand(Some(&self.text_key(parts)?));
        self.store(parts, token, hand, clock::now(), value)
    }

    /// Whether a value that is no fill may be stored anywhere, by the store, where it is put; `seen` is that of this key afterwards.
    fn supersede(
        &self,
        n: &Native,
        key: &TextKey<'py>,
        hand: &mut Hand,
        value: &Bound<'py, PyAny>,
        began: u64,
    ) -> PyResult<bool> {
        let settles = FLIGHTS.with(self.py, |m| m.clearing(key.function, key.hash));
        if let Some(at) = &n.redis {
            let stands = match settles {
                true => {
                    at.clear(self.py, n, key);
                    false
                }
                false => at.supersede((&self.c, self.counts()), n, key, hand, value, began)?,
            };
            if !stands {
                // What is there on this machine is older than a value that could not be stored.
                self.clear_in_store(n, key);
                FLIGHTS.with(self.py, |m| m.clear(key.of()));
                return Ok(false);
            }
        }
        let seen = &mut hand.seen;
        let Some(at) = &n.store else {
            return Ok(true);
        };
        let Some(now) = n.see(key) else {
            // What is there when it can be opened again is older.
            at.clear(&n.space, key);
            return Ok(false);
        };
        let mut before = seen
            .take()
            .filter(|seen| seen.key() == now.key() && !settles);
        if !before.as_mut().is_some_and(Seen::supersede) {
            // The arguments have another key by now, of which nothing was seen before; or a clear settles; or something came between, and
            // then this has been done.
            at.clear(&n.space, key);
            return Ok(false);
        }
        if let Some(seen) = &before
            && let Some(entry) = at.entry((&self.c, self.counts()), seen, value, (began, NEVER))?
        {
            at.put(seen, &entry, self.counts());
        }
        *seen = before;
        Ok(true)
    }

    /// Stores a value that began under `token`, with what was known and held then; gives back what the cache's `set` gave.
    pub fn store(
        &self,
        parts: &KeyParts<'py>,
        token: Seq,
        mut hand: Hand,
        began: u64,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if testing::disabled() {
            return Ok(py.None().into_bound(py));
        }
        let key = self.text_key(parts)?;
        let counts = self.counts();
        fault::point(py, "store");
        match &self.c.stack {
            Stack::Foreign(tiers) => match tiers.supersede(&key, token, began, value, || ())? {
                Some((returned, _)) => {
                    add(&counts.fills);
                    return Ok(returned);
                }
                None => add(&counts.refused),
            },
            Stack::Native(n) => {
                let id = n.space.id.get();
                let stored = self.stored(n, value)?;
                if !self.supersede(n, &key, &mut hand, value, began)? {
                    add(&counts.refused);
                    if n.redis.is_some() {
                        self.adopt(n, parts, &key)?;
                        n.memory.get().remove(py, &n.space, &parts.parts);
                    }
                    return Ok(py.None().into_bound(py));
                }
                let stands = match &n.rest {
                    Tiers::None => FLIGHTS.with(py, |m| m.supersede(key.of(), token)),
                    rest => {
                        let inner = || {
                            n.memory.get().remove(py, &n.space, &parts.parts);
                        };
                        rest.supersede(&key, token, began, value, inner)?
                            .is_some_and(|(_, stands)| stands)
                    }
                };
                let due = deadline(began, n.timeout);
                let may_keep = n.redis.as_ref().is_none_or(|at| at.may_keep(n, &hand));
                if !stands {
                    add(&counts.refused);
                    return Ok(py.None().into_bound(py));
                }
                // An entry that was set by text is replaced too.
                self.adopt(n, parts, &key)?;
                match stored {
                    Some(s) if due > clock::now() && may_keep => {
                        let guard = n.guard(hand.seen.as_ref()).unwrap_or(Guard::NONE);
                        n.memory
                            .get()
                            .fill(py, &n.space, id, &parts.parts, &s, due, guard);
                        add(&counts.fills);
                    }
                    other => {
                        // What cannot be stored must not leave an older value behind.
                        n.memory.get().remove(py, &n.space, &parts.parts);
                        if other.is_some() && may_keep {
                            add(&counts.refused);
                            warn::slower_than_timeout(py, &self.c)?;
                        }
                    }
                }
            }
        }
        Ok(py.None().into_bound(py))
    }

    /// The stored value, without running anything. For a call: then it counts as its hit.
    pub fn cached(
        &self,
        parts: &KeyParts<'py>,
        for_a_call: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if testing::disabled() {
            return Ok(None);
        }
        let token = FLIGHTS.with(self.py, |m| m.begin());
        match &self.c.stack {
            Stack::Foreign(tiers) => {
                let key = self.text_key(parts)?;
                if debugging(self.py) {
                    debug(self.py, key.shown())?;
                }
                let found = tiers.get(&key, token)?;
                if for_a_call && found.is_some() {
                    add(&self.counts().outer_hits);
                }
                Ok(found)
            }
            Stack::Native(n) => {
                if let Some(v) = self.hit(n, parts)? {
                    return Ok(Some(v));
                }
                let key = self.text_key(parts)?;
                if self.adopt(n, parts, &key)? {
                    return self.hit(n, parts);
                }
                let began = clock::now();
                let id = n.space.id.get();
                let seen = n.see(&key);
                let counts = self.counts();
                let mut hand = Hand::of(seen);
                let mut found = match (&n.store, &hand.seen) {
                    (Some(at), Some(seen)) => at.get(self.py, seen, counts)?,
                    _ => None,
                };
                let mut hits = &counts.store_hits;
                if found.is_none()
                    && let Some(at) = &n.redis
                {
                    if for_a_call {
                        // It may not wait for the network here: the flight asks.
                        return Ok(None);
                    }
                    found = at.peek(self.py, n, &key, &mut hand, counts)?;
                }
                if found.is_none() {
                    found = n.rest.get_until(&key, token)?;
                    hits = &counts.outer_hits;
                }
                let Some((v, until)) = found else {
                    return Ok(None);
                };
                if for_a_call {
                    add(hits);
                }
                let may_keep = n.redis.as_ref().is_none_or(|at| at.may_keep(n, &hand));
                let Some(guard) = n.guard(hand.seen.as_ref()).filter(|_| may_keep) else {
                    return Ok(Some(v));
                };
                if let Some(s) = self.stored(n, &v)?
                    && FLIGHTS.with(self.py, |m| m.good(key.function, key.hash, token))
                {
                    n.memory.get().fill(
                        self.py,
                        &n.space,
                        id,
                        &parts.parts,
                        &s,
                        deadline(began, n.timeout).min(until),
                        guard,
                    );
                }
                Ok(Some(v))
            }
        }
    }

    fn clear_in_store(&self, n: &Native, key: &TextKey) -> bool {
        n.store.as_ref().is_none_or(|at| at.clear(&n.space, key))
    }

    /// Out of the tiers that others share, the outermost first: whether that is certain.
    fn clear_in_shared(&self, n: &Native, key: &TextKey) -> bool {
        let redis = n.redis.as_ref();
        let cleared = redis.is_none_or(|at| at.clear(self.py, n, key));
        let told = self.clear_in_store(n, key) && cleared;
        if !told {
            add(&self.counts().pending);
        }
        told
    }

    /// Whether every tier that others share is certain of it.
    pub fn clear(&self, parts: &KeyParts<'py>) -> PyResult<bool> {
        let py = self.py;
        add(&self.counts().clears);
        let key = self.text_key(parts)?;
        fault::point(py, "clear");
        match &self.c.stack {
            Stack::Foreign(tiers) => {
                self.counts().why.cleared(py, key.hash);
                User::detach(py, &self.plan, &key).and_then(|()| tiers.clear(&key, || ()))?;
                Ok(true)
            }
            Stack::Native(n) => {
                let remove = || {
                    n.memory.get().remove(py, &n.space, &parts.parts);
                };
                self.counts().why.cleared(py, key.hash);
                // An entry that was set by text goes too.
                self.adopt(n, parts, &key)?;
                match &n.rest {
                    Tiers::None => {
                        let told = self.clear_in_shared(n, &key);
                        FLIGHTS.with(py, |m| m.clear(key.of()));
                        remove();
                        Ok(told)
                    }
                    rest => {
                        let told = Cell::new(true);
                        let inner = || {
                            told.set(self.clear_in_shared(n, &key));
                            remove();
                        };
                        rest.clear(&key, inner)?;
                        Ok(told.get())
                    }
                }
            }
        }
    }
}

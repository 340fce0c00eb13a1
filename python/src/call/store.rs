//! Stores that are not fills, reads that run nothing, and clears.

use super::user::User;
use super::{Call, Op};
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

impl<'py> Op<'py> {
    /// Computes anew whatever is stored, and stores that.
    pub fn compute_and_store(&self, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let token = FLIGHTS.with(self.py, |m| m.begin());
        let seen = self.see(call)?;
        let ran = self.execute(call);
        let value = ran.result?;
        // The key comes after the function, as ever: a changed argument is stored under its new key.
        let parts = self.key(&self.values(call)?)?;
        self.store(&parts, token, seen, ran.began, &value)?;
        Ok(value)
    }

    /// The generation of a call's key in the store, read before its function runs.
    pub fn see(&self, call: Call) -> PyResult<Option<Seen>> {
        let Stack::Native(n @ Native { store: Some(_), .. }) = &self.c.stack else {
            return Ok(None);
        };
        let key = || self.text_key(&self.key(&self.values(call)?)?);
        match key() {
            Ok(key) => Ok(n.see(&key)),
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
        let seen = match &self.c.stack {
            Stack::Native(n) => n.see(&self.text_key(parts)?),
            Stack::Foreign(_) => None,
        };
        self.store(parts, token, seen, clock::now(), value)
    }

    /// Whether a value that is no fill may be stored anywhere, by the store, where it is put; `seen` is that of this key afterwards.
    fn supersede(
        &self,
        n: &Native,
        key: &TextKey<'py>,
        seen: &mut Option<Seen>,
        value: &Bound<'py, PyAny>,
        began: u64,
    ) -> PyResult<bool> {
        let Some(at) = &n.store else {
            return Ok(true);
        };
        let Some(now) = n.see(key) else {
            // What is there when it can be opened again is older.
            at.clear(&n.space, key);
            return Ok(false);
        };
        let settles = FLIGHTS.with(self.py, |m| m.clearing(key.function, key.hash));
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

    /// Stores a value that began under `token`, when `seen` was seen; gives back what the cache's `set` gave.
    pub fn store(
        &self,
        parts: &KeyParts<'py>,
        token: Seq,
        mut seen: Option<Seen>,
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
                if !self.supersede(n, &key, &mut seen, value, began)? {
                    add(&counts.refused);
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
                if !stands {
                    add(&counts.refused);
                    return Ok(py.None().into_bound(py));
                }
                // An entry that was set by text is replaced too.
                self.adopt(n, parts, &key)?;
                match stored {
                    Some(s) if due > clock::now() => {
                        let guard = n.guard(seen.as_ref()).unwrap_or(Guard::NONE);
                        n.memory
                            .get()
                            .fill(py, &n.space, id, &parts.parts, &s, due, guard);
                        add(&counts.fills);
                    }
                    other => {
                        // What cannot be stored must not leave an older value behind.
                        n.memory.get().remove(py, &n.space, &parts.parts);
                        if other.is_some() {
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
                let in_store = match (&n.store, &seen) {
                    (Some(at), Some(seen)) => at.get(self.py, seen, self.counts())?,
                    _ => None,
                };
                let (found, hits) = match in_store {
                    Some(found) => (Some(found), &self.counts().store_hits),
                    None => (n.rest.get_until(&key, token)?, &self.counts().outer_hits),
                };
                let Some((v, until)) = found else {
                    return Ok(None);
                };
                if for_a_call {
                    add(hits);
                }
                let Some(guard) = n.guard(seen.as_ref()) else {
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

    fn clear_in_store(&self, n: &Native, key: &TextKey) {
        if let Some(at) = &n.store
            && !at.clear(&n.space, key)
        {
            add(&self.counts().pending);
        }
    }

    pub fn clear(&self, parts: &KeyParts<'py>) -> PyResult<()> {
        let py = self.py;
        add(&self.counts().clears);
        let key = self.text_key(parts)?;
        fault::point(py, "clear");
        match &self.c.stack {
            Stack::Foreign(tiers) => {
                self.counts().why.cleared(py, key.hash);
                User::detach(py, &self.plan, &key).and_then(|()| tiers.clear(&key, || ()))
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
                        self.clear_in_store(n, &key);
                        FLIGHTS.with(py, |m| m.clear(key.of()));
                        remove();
                        Ok(())
                    }
                    rest => {
                        let inner = || {
                            self.clear_in_store(n, &key);
                            remove();
                        };
                        rest.clear(&key, inner)
                    }
                }
            }
        }
    }
}

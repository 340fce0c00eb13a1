//! Stores that are not fills, reads that run nothing, and clears.

use super::user::User;
use super::{Call, Op};
use crate::keys::KeyParts;
use crate::memory::deadline;
use crate::stack::{Stack, Tiers};
use crate::state::{FLIGHTS, add, debug, debugging};
use crate::{clock, fault, testing, warn};
use pyo3::prelude::*;
use quickcache::protocol::machine::Seq;

impl<'py> Op<'py> {
    /// Computes anew whatever is stored, and stores that.
    pub fn compute_and_store(&self, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let token = FLIGHTS.with(self.py, |m| m.begin());
        let ran = self.execute(call);
        let value = ran.result?;
        // The key comes after the function, as ever: a changed argument is stored under its new key.
        let parts = self.key(&self.values(call)?)?;
        self.store(&parts, token, ran.began, &value)?;
        Ok(value)
    }

    /// Stores a value that began under `token`; gives back what the cache's `set` gave.
    pub fn store(
        &self,
        parts: &KeyParts<'py>,
        token: Seq,
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
                        n.memory.get().fill(py, &n.space, id, &parts.parts, &s, due);
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

    /// The stored value, without running anything.
    pub fn cached(&self, parts: &KeyParts<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
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
                tiers.get(&key, token)
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
                let Some((v, until)) = n.rest.get_until(&key, token)? else {
                    return Ok(None);
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
                    );
                }
                Ok(Some(v))
            }
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
                        FLIGHTS.with(py, |m| m.clear(key.of()));
                        remove();
                        Ok(())
                    }
                    rest => rest.clear(&key, remove),
                }
            }
        }
    }
}

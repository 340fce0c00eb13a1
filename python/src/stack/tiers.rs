//! The tiers that are reached by get, set and delete on a text key, and the stores and clears there, which are announced to each other.

use super::{TextKey, caches};
use crate::clock;
use crate::fault;
use crate::flight;
use crate::memory::Memory;
use crate::state::{FLIGHTS, debug, debugging};
use crate::tier;
use crate::value::is_ellipsis;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3::{PyTraverseError, PyVisit};
use quickcache::protocol::machine::{Clearing, Seq};
use quickcache::tier::memory::NEVER;
use std::time::Duration;

/// How long a clear waits for stores of its key that have begun in a cache of the user's.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// Caches that are reached by get, set and delete on a text key.
pub enum Tiers {
    None,
    /// One object, whatever it is.
    One(Py<PyAny>),
    /// The tiers of an exact `TieredCache`, as they are at each call.
    Tiered(Py<PyAny>),
    /// The tiers behind the first one of an exact `TieredCache`.
    Behind(Vec<Py<PyAny>>),
}

/// Ends a store or a clear that was begun, whatever happened in between.
struct Ending<'a, 'py, T>(
    &'a TextKey<'py>,
    Option<T>,
    fn(Python, &TextKey, T) -> PyResult<bool>,
);

impl<T> Ending<'_, '_, T> {
    fn end(mut self) -> PyResult<bool> {
        let begun = self.1.take().expect("ended once");
        self.2(self.0.py, self.0, begun)
    }
}

impl<T> Drop for Ending<'_, '_, T> {
    fn drop(&mut self) {
        if let Some(begun) = self.1.take() {
            let py = self.0.py;
            // An error is on its way out already.
            if let Err(e) = self.2(py, self.0, begun) {
                e.write_unraisable(py, None);
            }
        }
    }
}

fn end_clear(py: Python, key: &TextKey, clearing: Clearing) -> PyResult<bool> {
    let ended = FLIGHTS.with(py, |m| m.clear_end(key.of(), clearing));
    if ended.wake {
        flight::wake_store_waiters(py);
    }
    Ok(ended.stands)
}

impl Tiers {
    pub fn is_none(&self) -> bool {
        matches!(self, Tiers::None)
    }

    pub(super) fn traverse(&self, visit: &PyVisit) -> Result<(), PyTraverseError> {
        match self {
            Tiers::None => Ok(()),
            Tiers::One(c) | Tiers::Tiered(c) => visit.call(c),
            Tiers::Behind(cs) => cs.iter().try_for_each(|c| visit.call(c)),
        }
    }

    pub fn clone_ref(&self, py: Python) -> Tiers {
        match self {
            Tiers::None => Tiers::None,
            Tiers::One(c) => Tiers::One(c.clone_ref(py)),
            Tiers::Tiered(c) => Tiers::Tiered(c.clone_ref(py)),
            Tiers::Behind(cs) => Tiers::Behind(cs.iter().map(|c| c.clone_ref(py)).collect()),
        }
    }

    /// The one object that is asked as a whole: a cache of the user's, or a `TieredCache` on which something was changed.
    pub(super) fn whole<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Tiers::One(c) => Ok(Some(c.bind(py).clone())),
            Tiers::Tiered(c) if caches(c.bind(py))?.is_none() => Ok(Some(c.bind(py).clone())),
            _ => Ok(None),
        }
    }

    /// The tiers, fastest first.
    fn list<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        match self {
            Tiers::None => Ok(vec![]),
            Tiers::One(c) => Ok(vec![c.bind(py).clone()]),
            Tiers::Tiered(c) => {
                let caches = c.bind(py).getattr(intern!(py, "caches"))?;
                let each = caches.try_iter().map_err(|e| {
                    tier::said_more(
                        py,
                        e,
                        "TieredCache takes a list of caches, the fastest first",
                    )
                })?;
                each.collect()
            }
            Tiers::Behind(cs) => Ok(cs.iter().map(|c| c.bind(py).clone()).collect()),
        }
    }

    /// As `get_until`, for callers that do not keep the value.
    pub fn get<'py>(&self, key: &TextKey<'py>, token: Seq) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.get_until(key, token)?.map(|(value, _)| value))
    }

    /// The value of the first tier that has it, stored in those before it (backfill) unless the key was cleared since
    /// `token`, which was read before the call; `None` when no tier has it. With the moment at which it is too old, where
    /// that tier is one that knows, else `NEVER`.
    pub fn get_until<'py>(
        &self,
        key: &TextKey<'py>,
        token: Seq,
    ) -> PyResult<Option<(Bound<'py, PyAny>, u64)>> {
        let py = key.py;
        if FLIGHTS.with(py, |m| m.doubt(key.of())) {
            return Ok(None);
        }
        if let Some(cache) = self.whole(py)? {
            let content = tier::get(&cache, key.object())?;
            return Ok((!is_ellipsis(&content)).then_some((content, NEVER)));
        }
        let tiers = self.list(py)?;
        for (i, tier) in tiers.iter().enumerate() {
            let content = tier::get(tier, key.object())?;
            if is_ellipsis(&content) {
                continue;
            }
            let missed = &tiers[..i];
            let until = tier::due(tier, key)?;
            if !missed.is_empty() {
                let now = clock::now();
                let backfill = || {
                    missed.iter().try_for_each(|t| {
                        tier::set_for(t, key, Some(token), &content, now, until).map(|_| ())
                    })
                };
                announced(key, token, backfill, || delete_from(missed, key))?;
            }
            if debugging(py) {
                let names: Vec<_> = missed
                    .iter()
                    .map(tier::class_name)
                    .collect::<PyResult<_>>()?;
                debug(
                    py,
                    &format!("missed caches: {}", PyList::new(py, names)?.repr()?),
                )?;
                debug(py, &format!("hit cache: {}", tier::class_name(tier)?))?;
            }
            return Ok(Some((content, until)));
        }
        Ok(None)
    }

    /// The class name of the first tier that has the key; backfills nothing.
    pub fn holder<'py>(&self, key: &TextKey<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        for tier in self.list(key.py)? {
            if !is_ellipsis(&tier::get(&tier, key.object())?) {
                return tier::class_name(&tier).map(Some);
            }
        }
        Ok(None)
    }

    /// Stores a value that was computed under `token`, from `began` on. `None`: the key was cleared meanwhile, nothing is
    /// stored.
    pub fn fill<'py>(
        &self,
        key: &TextKey<'py>,
        token: Seq,
        began: u64,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        announced(
            key,
            token,
            || self.set_all(key, Some(token), began, value),
            || self.delete_all(key),
        )
    }

    /// Stores a value that is no fill, in place of what is there or on its way. `None`: not stored, a clear or another such
    /// value came between. The flag says whether it stands still, for a memory tier in front; `inner` removes the key from there
    /// if an older value must not stay.
    pub fn supersede<'py>(
        &self,
        key: &TextKey<'py>,
        token: Seq,
        began: u64,
        value: &Bound<'py, PyAny>,
        inner: impl Fn(),
    ) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        let py = key.py;
        let Some(clearing) = FLIGHTS.with(py, |m| m.supersede_begin(key.of(), token)) else {
            return Ok(None);
        };
        let ending = Ending(key, Some(clearing), end_clear);
        if !wait_for_stores(py, &ending)? {
            // One of them may be the store around this one: what it sets would be the later.
            let deleted = self.delete_all(key);
            inner();
            ending.end()?;
            return deleted.map(|()| None);
        }
        fault::point(py, "supersede");
        let set = flight::storing(py, || self.set_all(key, None, began, value));
        let clearing = ending.1.as_ref().expect("not ended yet");
        let removed = match FLIGHTS.with(py, |m| m.superseding_overtaken(clearing)) {
            true => self.delete_all(key),
            false => Ok(()),
        };
        let stands = ending.end()?;
        let returned = set?;
        removed?;
        if !stands {
            // A clear_all came between, which knows of our own memories only.
            for tier in self.list(py)? {
                if let Ok(memory) = tier.cast_exact::<Memory>() {
                    memory.get().delete(key.object())?;
                }
            }
        }
        Ok(Some((returned, stands)))
    }

    fn set_all<'py>(
        &self,
        key: &TextKey<'py>,
        token: Option<Seq>,
        began: u64,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        if let Some(cache) = self.whole(py)? {
            return tier::set_for(&cache, key, token, value, began, NEVER);
        }
        for tier in self.list(py)? {
            tier::set_for(&tier, key, token, value, began, NEVER)?;
        }
        Ok(py.None().into_bound(py))
    }

    /// Clears a key: waits for the stores of it that have begun, deletes the outermost tier first, lets no older value in.
    /// `inner` removes it from the memory tier in front, as the very last. The first error of a tier comes out when all
    /// have been asked.
    pub fn clear(&self, key: &TextKey, inner: impl Fn()) -> PyResult<()> {
        let py = key.py;
        let clearing = FLIGHTS.with(py, |m| m.clear_begin(key.of()));
        let ending = Ending(key, Some(clearing), end_clear);
        wait_for_stores(py, &ending)?;
        fault::point(py, "delete");
        let deleted = self.delete_all(key);
        // While the clear has not ended no fill is let in, so nothing can come back behind this.
        inner();
        ending.end()?;
        deleted
    }

    /// Deletes a key, the outermost tier first, even if one fails; then the first error comes out.
    fn delete_all(&self, key: &TextKey) -> PyResult<()> {
        let py = key.py;
        match self.whole(py)? {
            Some(cache) => delete_from(&[cache], key),
            None => delete_from(&self.list(py)?, key),
        }
    }
}

fn delete_from(tiers: &[Bound<PyAny>], key: &TextKey) -> PyResult<()> {
    let mut failed = None;
    for tier in tiers.iter().rev() {
        let name = intern!(tier.py(), "delete");
        if let Err(e) = tier::call_method(tier, name, &[key.object()]) {
            failed.get_or_insert(e);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Whether no store of the key runs any more; else, from inside a store and when patience is over, they are overtaken.
fn wait_for_stores(py: Python, ending: &Ending<Clearing>) -> PyResult<bool> {
    let clearing = ending.1.as_ref().expect("not ended yet");
    let done = || FLIGHTS.with(py, |m| m.stores_running(clearing)) == 0;
    if done() || !flight::inside_a_store(py)? && flight::wait_for_stores(py, STORE_PATIENCE, done)?
    {
        return Ok(true);
    }
    FLIGHTS.with(py, |m| m.overtake(clearing));
    Ok(false)
}

/// Runs `store` as an announced store, and `remove`, which deletes what it has set, if a clear overtook it. `None`: nothing
/// is stored, `token` is no longer good for the key, or the clear came.
fn announced<'py, R>(
    key: &TextKey<'py>,
    token: Seq,
    store: impl FnOnce() -> PyResult<R>,
    remove: impl FnOnce() -> PyResult<()>,
) -> PyResult<Option<R>> {
    let py = key.py;
    let Some(id) = FLIGHTS.with(py, |m| m.store_begin(key.of(), token)) else {
        return Ok(None);
    };
    let ending = Ending(key, Some(id), |py, _, id| {
        let ended = FLIGHTS.with(py, |m| m.store_end(id));
        if ended.wake {
            flight::wake_store_waiters(py);
        }
        Ok(ended.stands)
    });
    fault::point(py, "announced");
    let result = flight::storing(py, store);
    let id = ending.1.as_ref().expect("not ended yet");
    let overtaken = FLIGHTS.with(py, |m| m.overtaken(id));
    let removed = if overtaken { remove() } else { Ok(()) };
    ending.end()?;
    let result = result?;
    removed?;
    Ok((!overtaken).then_some(result))
}

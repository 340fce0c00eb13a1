//! Where the values of one function live: the memory tier first, where it is one of ours, then whatever the user gave.

use crate::call::Hand;
use crate::clock;
use crate::fault;
use crate::ffi;
use crate::flight::{self, FlightKey};
use crate::keys::Keys;
use crate::memory::{Memory, Space};
use crate::state::{self, FLIGHTS, debug, debugging, home};
use crate::tier::{self, NativeTier};
use crate::value::is_ellipsis;
use crate::{redis, store::At};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use quickcache::protocol::machine::{Clearing, KeyOf, Seq, ValidFrom};
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::{Guard, Seen};
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// How long a clear waits for stores of its key that have begun in a cache of the user's.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// The memory tier in front.
pub struct Native {
    pub memory: Py<Memory>,
    pub space: Arc<Space>,
    /// Milliseconds.
    pub timeout: u64,
    /// Callers get copies of what is mutable.
    pub copy: bool,
    /// What the tier puts before a text key.
    pub key_prefix: Box<str>,
    /// Whether it holds anything: in a stack that begins with a store it does not.
    pub remembers: bool,
    /// The machine's store right behind it, or its table of generations alone if there is a Redis.
    pub store: Option<At>,
    /// The Redis behind that.
    pub redis: Option<Box<redis::At>>,
    /// The slower tiers.
    pub rest: Tiers,
    /// Where the tiers come from, if that is a `TieredCache`.
    pub of: Option<Source>,
}

impl Native {
    /// The generation of a key, where there is a store that can be opened.
    pub fn see(&self, key: &TextKey) -> Option<Seen> {
        self.store.as_ref()?.see(&self.space, key)
    }

    /// From when on the result of a flight counts.
    pub fn valid_from(&self, hand: &Hand) -> ValidFrom {
        let redis = self.redis.as_ref();
        redis.map_or(ValidFrom::Joined, |at| at.valid_from(self, hand))
    }

    /// What an entry of the memory tier is to carry; `None`: it may not be kept, since a clear of it would not be seen.
    pub fn guard(&self, seen: Option<&Seen>) -> Option<Guard> {
        match &self.store {
            None => Some(Guard::NONE),
            Some(_) => seen.map(Seen::guard),
        }
    }
}

/// A `TieredCache` and the tiers that it had. To give it others retires the plans; to change its list in place, or to go by
/// its `__dict__`, is seen by whatever is not a hit.
pub struct Source {
    cache: Py<PyAny>,
    tiers: Vec<Py<PyAny>>,
}

impl Source {
    fn is_current(&self, py: Python) -> PyResult<bool> {
        let Some(now) = caches(self.cache.bind(py))? else {
            return Ok(false);
        };
        let mut was = self.tiers.iter();
        Ok(if let Ok(now) = now.cast_exact::<PyTuple>() {
            now.len() == was.len()
                && now
                    .iter_borrowed()
                    .all(|tier| was.next().is_some_and(|t| tier.is(t)))
        } else if let Ok(now) = now.cast_exact::<PyList>() {
            now.len() == was.len()
                && now
                    .iter()
                    .all(|tier| was.next().is_some_and(|t| tier.is(t)))
        } else {
            false
        })
    }
}

pub enum Stack {
    Native(Native),
    Foreign(Tiers),
}

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

impl Stack {
    /// Of a helper's cache, and its stale timeout; with the classes that must stay as they are.
    pub fn of(cache: &Bound<PyAny>, keys: &Keys, stale: u64) -> PyResult<(Stack, Vec<Py<PyAny>>)> {
        let py = cache.py();
        let home = home(py)?;
        let mut guarded = Vec::new();
        if let Some(first) = NativeTier::of(cache, &mut guarded)? {
            return Ok((
                Stack::Native(NativeTier::stack(
                    &[first],
                    keys,
                    (Tiers::None, false),
                    stale,
                )?),
                guarded,
            ));
        }
        if !cache.get_type().is(&home.tiered) {
            return Ok((Stack::Foreign(Tiers::One(cache.clone().unbind())), guarded));
        }
        guarded.push(home.tiered.clone_ref(py));
        if let Some(caches) = caches(cache)?
            && is_plain_sequence(&caches)
        {
            let caches: Vec<Bound<PyAny>> = caches.try_iter()?.collect::<PyResult<_>>()?;
            if let Some((first, rest)) = caches.split_first()
                && let Some(native) = NativeTier::of(first, &mut guarded)?
            {
                let serialises = rest.iter().any(
                    |c| !matches!(NativeTier::of(c, &mut Vec::new()), Ok(Some(t)) if !t.copies),
                );
                // Memory, store and Redis follow one another, and any of them may be missing.
                let mut natives = vec![native];
                for next in rest {
                    let last = &natives[natives.len() - 1];
                    let store = natives.iter().find(|tier| tier.is_store());
                    let Some(tier) = NativeTier::of(next, &mut guarded)? else {
                        break;
                    };
                    let follows = tier.is_store() && last.is_memory()
                        || !last.is_redis_behind(None) && tier.is_redis_behind(store);
                    if !follows {
                        break;
                    }
                    natives.push(tier);
                }
                let rest = &rest[natives.len() - 1..];
                let rest = match rest {
                    [] => Tiers::None,
                    _ => Tiers::Behind(rest.iter().map(|c| c.clone().unbind()).collect()),
                };
                let mut native = NativeTier::stack(&natives, keys, (rest, serialises), stale)?;
                native.of = Some(Source {
                    cache: cache.clone().unbind(),
                    tiers: caches.iter().map(|c| c.clone().unbind()).collect(),
                });
                return Ok((Stack::Native(native), guarded));
            }
        }
        Ok((
            Stack::Foreign(Tiers::Tiered(cache.clone().unbind())),
            guarded,
        ))
    }

    /// Whether the cache still has the tiers that this was made of.
    pub fn is_current(&self, py: Python) -> PyResult<bool> {
        match self {
            Stack::Native(Native { of: Some(of), .. }) => of.is_current(py),

            _ => Ok(true),
        }
    }

    pub fn traverse(&self, visit: &PyVisit) -> Result<(), PyTraverseError> {
        match self {
            Stack::Native(n) => {
                visit.call(&n.memory)?;
                if let Some(store) = n.store.as_ref().and_then(|at| at.store.as_ref()) {
                    visit.call(store)?;
                }
                if let Some(at) = &n.redis {
                    visit.call(&at.redis)?;
                }
                if let Some(of) = &n.of {
                    visit.call(&of.cache)?;
                    of.tiers.iter().try_for_each(|t| visit.call(t))?;
                }
                n.rest.traverse(visit)
            }
            Stack::Foreign(tiers) => tiers.traverse(visit),
        }
    }
}

/// A text key in the words of the protocol.
pub struct TextKey<'py> {
    pub py: Python<'py>,
    object: OnceCell<Bound<'py, PyAny>>,
    pub flight: FlightKey,
    pub hash: u64,
    pub function: u32,
}

impl<'py> TextKey<'py> {
    pub fn new(py: Python<'py>, text: &str, function: u32) -> TextKey<'py> {
        TextKey {
            py,
            object: OnceCell::new(),
            hash: crate::memory::hash_text(text),
            flight: FlightKey::Text(text.into()),
            function,
        }
    }

    /// Whatever a helper of the user's makes. Keys that look alike share flights and clears, which is safe.
    pub fn of_any(key: &Bound<'py, PyAny>) -> TextKey<'py> {
        if let Ok(text) = key.cast_exact::<PyString>()
            && let Ok(own) = text.to_str()
        {
            return TextKey::as_object(key, own, 0);
        }
        let shown = key.repr().map(|r| r.to_string_lossy().into_owned());
        TextKey::as_object(key, &shown.unwrap_or_default(), 0)
    }

    /// The key that caches are asked by is there already.
    pub fn as_object(object: &Bound<'py, PyAny>, text: &str, function: u32) -> TextKey<'py> {
        TextKey {
            object: object.clone().into(),
            ..TextKey::new(object.py(), text, function)
        }
    }

    /// What caches are asked by: a str, but for helpers that make other keys.
    pub fn object(&self) -> &Bound<'py, PyAny> {
        self.object
            .get_or_init(|| PyString::new(self.py, self.shown()).into_any())
    }

    /// For messages.
    pub fn shown(&self) -> &str {
        match &self.flight {
            FlightKey::Text(t) | FlightKey::Of(_, t) => t,
        }
    }

    pub fn of(&self) -> KeyOf<'_, FlightKey> {
        KeyOf {
            function: self.function,
            hash: self.hash,
            key: &self.flight,
        }
    }
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

    fn traverse(&self, visit: &PyVisit) -> Result<(), PyTraverseError> {
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
    fn whole<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
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

fn is_plain_sequence(o: &Bound<PyAny>) -> bool {
    o.is_exact_instance_of::<PyList>() || o.is_exact_instance_of::<PyTuple>()
}

/// What an exact `TieredCache` has as its tiers, if it is as it was made: neither its class nor itself has been patched.
fn caches<'py>(cache: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = cache.py();
    // SAFETY: an object with a `__dict__` of its own; both calls give a new reference or null with an error.
    let own = unsafe {
        let own = ffi::PyObject_GenericGetDict(cache.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, own)?.cast_into_unchecked::<PyDict>()
    };
    let Some(caches) = own
        .get_item(intern!(py, "caches"))?
        .filter(|_| own.len() == 1)
    else {
        return Ok(None);
    };
    // The version of the class when it was last looked at whole.
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let class = home(py)?.tiered.bind(py);
    let class_of = class.as_ptr() as *mut ffi::PyTypeObject;
    // SAFETY: a class is a type, and alive.
    let version = unsafe { ffi::type_version(class_of) };
    if version != 0 && version == SEEN.load(Relaxed) {
        return Ok(Some(caches));
    }
    let as_made = state::as_made(class)?;
    if as_made {
        // SAFETY: as above. To ask for a number costs as much as all the rest of this, so it is done when something has changed only.
        SEEN.store(unsafe { state::version_of(class_of) }, Relaxed);
    }
    Ok(as_made.then_some(caches))
}

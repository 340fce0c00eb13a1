//! Where the values of one function live: the memory tier first, where it is one of ours, then whatever the user gave.

use crate::fault;
use crate::ffi;
use crate::flight::{self, FlightKey};
use crate::memory::{Memory, Space, Stored, deadline, millis, text_key};
use crate::state::{self, FLIGHTS, debug, debugging, home};
use crate::value::is_ellipsis;
use crate::warn;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use quickcache::clock;
use quickcache::protocol::machine::{Clearing, KeyOf, Seq};
use quickcache::tier::memory::NEVER;
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
    /// The slower tiers.
    pub rest: Tiers,
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
    /// Of a helper's cache; with the classes that must stay as they are.
    pub fn of(cache: &Bound<PyAny>, prefix: &Bound<PyString>) -> PyResult<(Stack, Vec<Py<PyAny>>)> {
        let py = cache.py();
        let home = home(py)?;
        let mut guarded = Vec::new();
        if let Some(first) = NativeTier::of(cache, &mut guarded)? {
            return Ok((
                Stack::Native(first.stack(prefix, Tiers::None, false)?),
                guarded,
            ));
        }
        if !cache.get_type().is(&home.tiered) {
            return Ok((Stack::Foreign(Tiers::One(cache.clone().unbind())), guarded));
        }
        guarded.push(home.tiered.clone_ref(py));
        let caches = cache.getattr(intern!(py, "caches"))?;
        if drivable(cache)?
            && (caches.is_exact_instance_of::<PyList>() || caches.is_exact_instance_of::<PyTuple>())
        {
            let caches: Vec<Bound<PyAny>> = caches.try_iter()?.collect::<PyResult<_>>()?;
            if let Some((first, rest)) = caches.split_first()
                && let Some(native) = NativeTier::of(first, &mut guarded)?
            {
                let serialises = rest.iter().any(
                    |c| !matches!(NativeTier::of(c, &mut Vec::new()), Ok(Some(t)) if !t.copies),
                );
                let rest = match rest {
                    [] => Tiers::None,
                    _ => Tiers::Behind(rest.iter().map(|c| c.clone().unbind()).collect()),
                };
                return Ok((
                    Stack::Native(native.stack(prefix, rest, serialises)?),
                    guarded,
                ));
            }
        }
        Ok((
            Stack::Foreign(Tiers::Tiered(cache.clone().unbind())),
            guarded,
        ))
    }

    pub fn traverse(&self, visit: &PyVisit) -> Result<(), PyTraverseError> {
        match self {
            Stack::Native(n) => {
                visit.call(&n.memory)?;
                n.rest.traverse(visit)
            }
            Stack::Foreign(tiers) => tiers.traverse(visit),
        }
    }
}

/// A memory tier as found in a stack: a `Memory`, a Django backend over one, either of them with a preset timeout.
struct NativeTier<'py> {
    memory: Bound<'py, Memory>,
    timeout: u64,
    key_prefix: String,
    copies: bool,
}

impl<'py> NativeTier<'py> {
    fn of(
        cache: &Bound<'py, PyAny>,
        guarded: &mut Vec<Py<PyAny>>,
    ) -> PyResult<Option<NativeTier<'py>>> {
        let py = cache.py();
        if let Ok(memory) = cache.cast_exact::<Memory>() {
            let timeout = memory.get().timeout;
            let copies = memory.get().copy == Some(true);
            return Ok(Some(NativeTier {
                memory: memory.clone(),
                timeout,
                key_prefix: String::new(),
                copies,
            }));
        }
        let home = home(py)?;
        if cache.get_type().is(&home.presets) {
            if cache.getattr(intern!(py, "prefix_function"))?.is_truthy()? {
                return Ok(None);
            }
            let Some(mut tier) = NativeTier::of(&cache.getattr(intern!(py, "cache"))?, guarded)?
            else {
                return Ok(None);
            };
            let timeout = cache.getattr(intern!(py, "timeout"))?;
            tier.timeout = match timeout.is_none() {
                true => NEVER,
                // Anything but a positive number is left to the cache itself.
                false if timeout.is_instance_of::<PyBool>() => return Ok(None),
                false
                    if timeout.is_instance_of::<PyInt>() || timeout.is_instance_of::<PyFloat>() =>
                {
                    match timeout.extract::<f64>()? {
                        s if s > 0.0 => millis(s),
                        _ => return Ok(None),
                    }
                }
                false => return Ok(None),
            };
            guarded.push(home.presets.clone_ref(py));
            return Ok(Some(tier));
        }
        // A Django backend of ours says which memory it is made of and what it puts before its keys.
        if !cache.get_type().hasattr(intern!(py, "_quickcache_tier"))? {
            return Ok(None);
        }
        let native = cache.getattr(intern!(py, "_quickcache_tier"))?;
        let Some((memory, key_prefix, class)) =
            native
                .call0()?
                .extract::<Option<(Bound<PyAny>, String, Bound<PyAny>)>>()?
        else {
            return Ok(None);
        };
        if !cache.get_type().is(&class) {
            return Ok(None);
        }
        guarded.push(class.unbind());
        let memory = memory.cast_into_exact::<Memory>()?;
        let timeout = memory.get().timeout;
        Ok(Some(NativeTier {
            memory,
            timeout,
            key_prefix,
            copies: true,
        }))
    }

    fn stack(self, prefix: &Bound<PyString>, rest: Tiers, serialises: bool) -> PyResult<Native> {
        let text = format!("{}quickcache.{}/", self.key_prefix, prefix.to_str()?);
        let memory = self.memory.get();
        Ok(Native {
            space: memory.space(prefix.py(), &text, self.key_prefix.len()),
            timeout: self.timeout,
            copy: self.copies || memory.copy.unwrap_or(serialises),
            key_prefix: self.key_prefix.into(),
            rest,
            memory: self.memory.clone().unbind(),
        })
    }
}

/// A text key in the words of the protocol.
pub struct TextKey<'py> {
    /// A str, but for helpers that make other keys.
    pub text: Bound<'py, PyAny>,
    pub flight: FlightKey,
    pub hash: u64,
    pub function: u32,
}

impl<'py> TextKey<'py> {
    pub fn new(text: Bound<'py, PyString>, function: u32) -> PyResult<TextKey<'py>> {
        let shared: Arc<str> = text.to_str()?.into();
        let hash = crate::memory::hash_text(&shared);
        Ok(TextKey {
            text: text.into_any(),
            flight: FlightKey::Text(shared),
            hash,
            function,
        })
    }

    /// Whatever a helper of the user's makes. Keys that look alike share flights and clears, which is safe.
    pub fn of_any(key: &Bound<'py, PyAny>) -> PyResult<TextKey<'py>> {
        if let Ok(text) = key.cast_exact::<PyString>()
            && text.to_str().is_ok()
        {
            return TextKey::new(text.clone(), 0);
        }
        let shown = key.repr().map(|r| r.to_string_lossy().into_owned());
        let shared: Arc<str> = shown.unwrap_or_default().into();
        let hash = crate::memory::hash_text(&shared);
        Ok(TextKey {
            text: key.clone(),
            flight: FlightKey::Text(shared),
            hash,
            function: 0,
        })
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
        self.2(self.0.text.py(), self.0, begun)
    }
}

impl<T> Drop for Ending<'_, '_, T> {
    fn drop(&mut self) {
        if let Some(begun) = self.1.take() {
            let py = self.0.text.py();
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
        flight::wake_store_waiters(py)?;
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
            Tiers::Tiered(c) if !drivable(c.bind(py))? => Ok(Some(c.bind(py).clone())),
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
                    said_more(
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
        let py = key.text.py();
        if FLIGHTS.with(py, |m| m.doubt(key.of())) {
            return Ok(None);
        }
        if let Some(cache) = self.whole(py)? {
            let content = get(&cache, &key.text)?;
            return Ok((!is_ellipsis(&content)).then_some((content, NEVER)));
        }
        let tiers = self.list(py)?;
        for (i, tier) in tiers.iter().enumerate() {
            let content = get(tier, &key.text)?;
            if is_ellipsis(&content) {
                continue;
            }
            let missed = &tiers[..i];
            let until = match tier.cast_exact::<Memory>() {
                Ok(memory) => memory.get().due(&key.text)?,
                Err(_) => NEVER,
            };
            if !missed.is_empty() {
                let now = clock::now();
                let backfill = || {
                    missed.iter().try_for_each(|t| {
                        set_for(t, key, Some(token), &content, now, until).map(|_| ())
                    })
                };
                announced(key, token, backfill, || delete_from(missed, key))?;
            }
            if debugging(py) {
                let names: Vec<_> = missed.iter().map(class_name).collect::<PyResult<_>>()?;
                debug(
                    py,
                    &format!("missed caches: {}", PyList::new(py, names)?.repr()?),
                )?;
                debug(py, &format!("hit cache: {}", class_name(tier)?))?;
            }
            return Ok(Some((content, until)));
        }
        Ok(None)
    }

    /// The class name of the first tier that has the key; backfills nothing.
    pub fn holder<'py>(&self, key: &TextKey<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        for tier in self.list(key.text.py())? {
            if !is_ellipsis(&get(&tier, &key.text)?) {
                return class_name(&tier).map(Some);
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
        let py = key.text.py();
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
                    memory.get().delete(&key.text)?;
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
            return set(&cache, &key.text, value);
        }
        for tier in self.list(py)? {
            set_for(&tier, key, token, value, began, NEVER)?;
        }
        Ok(py.None().into_bound(py))
    }

    /// Clears a key: waits for the stores of it that have begun, deletes the outermost tier first, lets no older value in.
    /// `inner` removes it from the memory tier in front, as the very last. The first error of a tier comes out when all
    /// have been asked.
    pub fn clear(&self, key: &TextKey, inner: impl Fn()) -> PyResult<()> {
        let py = key.text.py();
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
        let py = key.text.py();
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
        if let Err(e) = call_method(tier, name, &[key.text.as_any()]) {
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
    let py = key.text.py();
    let Some(id) = FLIGHTS.with(py, |m| m.store_begin(key.of(), token)) else {
        return Ok(None);
    };
    let ending = Ending(key, Some(id), |py, _, id| {
        let ended = FLIGHTS.with(py, |m| m.store_end(id));
        if ended.wake {
            flight::wake_store_waiters(py)?;
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

/// Whether an exact `TieredCache` is as it was made: neither its class nor itself has been patched.
fn drivable(cache: &Bound<PyAny>) -> PyResult<bool> {
    let py = cache.py();
    let own = cache.getattr(intern!(py, "__dict__"))?;
    if own.len()? != 1 || !own.contains(intern!(py, "caches"))? {
        return Ok(false);
    }
    // The version of the class when it was last looked at whole.
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let class = home(py)?.tiered.bind(py);
    // SAFETY: a class is a type, and alive.
    let version = unsafe { state::version_of(class.as_ptr() as *mut ffi::PyTypeObject) };
    if version != 0 && version == SEEN.load(Relaxed) {
        return Ok(true);
    }
    let as_made = state::as_made(class)?;
    if as_made {
        SEEN.store(version, Relaxed);
    }
    Ok(as_made)
}

fn class_name<'py>(tier: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    tier.getattr(intern!(tier.py(), "__class__"))?
        .getattr(intern!(tier.py(), "__name__"))
}

/// `cache.get(key, default=...)`: the keyword is part of what a backend must understand.
fn get<'py>(cache: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = cache.py();
    static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let names =
        NAMES.get_or_try_init(py, || PyResult::Ok(PyTuple::new(py, ["default"])?.unbind()))?;
    // SAFETY: three arguments follow the reserved place: the object, the key, and one keyword value.
    unsafe {
        let args = [cache.as_ptr(), key.as_ptr(), ffi::Py_Ellipsis()];
        let name = intern!(py, "get");
        let v = ffi::call_method(name.as_ptr(), args.as_ptr(), 2, names.as_ptr());
        Bound::from_owned_ptr_or_err(py, v)
            .map_err(|e| explained(cache, key, "get(key, default)", e))
    }
}

/// Stores a value as old as since `began` that must be gone at `until`, where the tier is a memory of ours, and there only
/// if `token` is good at that very moment: a clear_all waits for nobody. Any other tier counts its timeout from now.
fn set_for<'py>(
    tier: &Bound<'py, PyAny>,
    key: &TextKey<'py>,
    token: Option<Seq>,
    value: &Bound<'py, PyAny>,
    began: u64,
    until: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let Ok(memory) = tier.cast_exact::<Memory>() else {
        return set(tier, &key.text, value);
    };
    let memory = memory.get();
    let py = tier.py();
    let text = text_key(&key.text)?;
    let due = deadline(began, memory.timeout).min(until);
    let good =
        |py| token.is_none_or(|token| FLIGHTS.with(py, |m| m.good(key.function, key.hash, token)));
    match Stored::of(value, memory.copy == Some(true)) {
        Ok(stored) => memory.put(&text, &stored, due, good),
        Err(e) => {
            warn::cannot_copy(py, prefix_of(&key.text), value, e)?;
            // What cannot be stored must not leave an older value behind.
            if good(py) {
                memory.delete(&text)?;
            }
        }
    }
    Ok(py.None().into_bound(py))
}

fn set<'py>(
    cache: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    call_method(cache, intern!(cache.py(), "set"), &[key.as_any(), value])
}

fn call_method<'py>(
    cache: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    ffi::method(cache, name, args).map_err(|e| {
        let wanted = if name == "set" {
            "set(key, value)"
        } else {
            "delete(key)"
        };
        explained(cache, args[0], wanted, e)
    })
}

/// The prefix of the function that a text key belongs to, if its helper spells keys as ours does.
fn prefix_of<'k>(key: &'k Bound<PyAny>) -> Option<&'k str> {
    let key = key.cast::<PyString>().ok()?.to_str().ok()?;
    Some(key.strip_prefix("quickcache.")?.split_once('/')?.0)
}

/// A cache object without a needed method: the same error, with words that help added to its own.
fn explained(cache: &Bound<PyAny>, key: &Bound<PyAny>, wanted: &str, error: PyErr) -> PyErr {
    let py = cache.py();
    let name = wanted.split('(').next().unwrap_or(wanted);
    let said = error.value(py).to_string();
    // A TypeError of the call itself, not of code that it ran.
    let unfit = error.is_instance_of::<PyTypeError>(py) && error.traceback(py).is_none();
    let wrong = if unfit && cache.is_instance_of::<PyType>() {
        "is a class: give an object of it".into()
    } else if error.is_instance_of::<PyAttributeError>(py) && !cache.hasattr(name).unwrap_or(true) {
        format!("lacks {wanted}")
    } else if unfit && name == "get" && said.contains("keyword argument") {
        "takes no keyword default".into()
    } else {
        return error;
    };
    let which = prefix_of(key).map_or_else(
        || "this one".into(),
        |prefix| format!("that of {}", warn::name_in(prefix)),
    );
    let needs = format!(
        "a cache for quickcache needs get(key, default), set(key, value) and delete(key), and {which} {wrong}"
    );
    said_more(py, error, &needs)
}

/// The same type of error with its own text first, and what helps behind it.
fn said_more(py: Python, error: PyErr, more: &str) -> PyErr {
    let text = format!("{}: {more}", error.value(py));
    let better = PyErr::from_type(error.get_type(py), text);
    better.set_cause(py, Some(error));
    better
}

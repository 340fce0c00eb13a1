//! One tier of a stack: whether it is one of ours, and get, set and delete on whatever it is.

use crate::clock;
use crate::ffi;
use crate::keys::Keys;
use crate::memory::{Memory, Stored, deadline, millis, text_key};
use crate::once::Once;
use crate::redis::{self, Redis};
use crate::stack::{Native, TextKey, Tiers};
use crate::state::{FLIGHTS, home};
use crate::store::{At, Store};
use crate::warn;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyFloat, PyInt, PyString, PyTuple, PyType};
use quickcache::protocol::machine::Seq;
use quickcache::tier::memory::NEVER;

/// A tier of ours as found in a stack: a `Memory`, a `Store` or a `Redis`, a Django backend over one, any of them with a preset timeout.
pub struct NativeTier<'py> {
    pub of: Ours<'py>,
    timeout: u64,
    key_prefix: String,
    pub copies: bool,
}

#[derive(Clone)]
pub enum Ours<'py> {
    Memory(Bound<'py, Memory>),
    Store(Bound<'py, Store>),
    Redis(Bound<'py, Redis>),
}

impl<'py> Ours<'py> {
    /// Of the tier itself, no subclass.
    fn exact(tier: &Bound<'py, PyAny>) -> Option<Ours<'py>> {
        if let Ok(memory) = tier.cast_exact::<Memory>() {
            return Some(Ours::Memory(memory.clone()));
        }
        if let Ok(redis) = tier.cast_exact::<Redis>() {
            return Some(Ours::Redis(redis.clone()));
        }
        let store = tier.cast_exact::<Store>().ok()?;
        Some(Ours::Store(store.clone()))
    }

    fn timeout(&self) -> u64 {
        match self {
            Ours::Memory(memory) => memory.get().timeout,
            Ours::Store(store) => store.get().timeout,
            Ours::Redis(redis) => redis.get().timeout,
        }
    }
}

impl<'py> NativeTier<'py> {
    pub fn of(
        cache: &Bound<'py, PyAny>,
        guarded: &mut Vec<Py<PyAny>>,
    ) -> PyResult<Option<NativeTier<'py>>> {
        let py = cache.py();
        if let Some(of) = Ours::exact(cache) {
            return Ok(Some(NativeTier {
                timeout: of.timeout(),
                copies: match &of {
                    Ours::Memory(memory) => memory.get().copy == Some(true),
                    Ours::Store(_) | Ours::Redis(_) => true,
                },
                key_prefix: String::new(),
                of,
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
            // Anything but a positive number is left to the cache itself.
            let Some(timeout) = preset(&cache.getattr(intern!(py, "timeout"))?)? else {
                return Ok(None);
            };
            tier.timeout = timeout;
            guarded.push(home.presets.clone_ref(py));
            return Ok(Some(tier));
        }
        let Some(django) = DjangoTier::of(cache)? else {
            return Ok(None);
        };
        let Some(key_prefix) = django.key_prefix else {
            return Ok(None);
        };
        guarded.push(django.class);
        Ok(Some(NativeTier {
            of: django.of,
            timeout: django.timeout,
            key_prefix,
            copies: true,
        }))
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.of, Ours::Memory(_))
    }

    pub fn is_store(&self) -> bool {
        matches!(self.of, Ours::Store(_))
    }

    /// Whether it can be behind this store: what a server tells of its keys must be what the store knows them by.
    pub fn is_redis_behind(&self, store: Option<&NativeTier>) -> bool {
        matches!(self.of, Ours::Redis(_))
            && store.is_none_or(|store| store.key_prefix == self.key_prefix)
    }

    /// The stack of these tiers, each behind the one before it. Store and Redis, and memory before them, keep a value for `stale`
    /// milliseconds beyond its time.
    pub fn stack(
        tiers: &[NativeTier<'py>],
        keys: &Keys,
        (rest, serialises): (Tiers, bool),
        stale: u64,
    ) -> PyResult<Native> {
        let first = &tiers[0];
        // What is behind keeps nothing beyond its time, and may be asked by text only.
        let stale = if rest.is_none() { stale } else { 0 };
        let memory = match &first.of {
            Ours::Memory(memory) => memory.clone(),
            Ours::Store(store) => store.get().nothing(store.py())?,
            Ours::Redis(redis) => redis.get().nothing(redis.py())?,
        };
        let behind = tiers.iter().find_map(|tier| match &tier.of {
            Ours::Redis(redis) => Some((redis, tier)),
            _ => None,
        });
        let redis = behind.map(|(redis, tier)| {
            let times = redis::Times {
                timeout: tier.timeout,
                stale,
                has_faster: tiers.len() > 1,
            };
            redis::At::new(redis, times, &tier.key_prefix, keys)
        });
        let proven = redis.as_ref().map(redis::At::proven);
        let store = tiers.iter().find_map(|tier| match &tier.of {
            Ours::Store(store) => Some((store, tier)),
            _ => None,
        });
        let store = match (store, behind) {
            (Some((store, tier)), _) => {
                let (timeout, key_prefix) = (tier.timeout, &tier.key_prefix);
                Some(At::new(store, timeout, key_prefix, keys, proven))
            }
            (None, Some((redis, tier))) => {
                let own = redis.get();
                let place = (&*tier.key_prefix, own.beside);
                Some(At::table(own.table(), place, keys, proven))
            }
            (None, None) => None,
        };
        if let (Some(redis), Some(store)) = (&redis, &store)
            && tiers.len() > 1
        {
            redis.listen(store.shared());
        }
        let own = memory.get();
        let behind = store.as_ref().map(|_| stale);
        Ok(Native {
            remembers: first.is_memory(),
            space: own.space(memory.py(), &first.key_prefix, keys, behind),
            timeout: first.timeout,
            copy: first.copies || own.copy.unwrap_or(serialises),
            key_prefix: first.key_prefix.as_str().into(),
            store,
            redis: redis.map(Box::new),
            rest,
            of: None,
            memory: memory.unbind(),
        })
    }
}

/// A Django backend of ours: it says which tier it is made of, what it puts before its keys (`None`: that depends on the
/// key), and for how long it stores when it is not told.
struct DjangoTier<'py> {
    of: Ours<'py>,
    key_prefix: Option<String>,
    class: Py<PyAny>,
    timeout: u64,
}

impl<'py> DjangoTier<'py> {
    fn of(cache: &Bound<'py, PyAny>) -> PyResult<Option<DjangoTier<'py>>> {
        let py = cache.py();
        let name = intern!(py, "_quickcache_tier");
        if !cache.get_type().hasattr(name)? {
            return Ok(None);
        }
        let said = cache.call_method0(name)?;
        type Said<'py> = (
            Bound<'py, PyAny>,
            Option<String>,
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
        );
        let (tier, key_prefix, class, timeout) = said.extract::<Said>()?;
        // A subclass may do anything else.
        if !cache.get_type().is(&class) {
            return Ok(None);
        }
        let Some(timeout) = preset(&timeout)? else {
            return Ok(None);
        };
        Ok(Some(DjangoTier {
            of: Ours::exact(&tier).ok_or_else(|| {
                PyTypeError::new_err("_quickcache_tier: its first is a Memory, a Store or a Redis")
            })?,
            key_prefix,
            class: class.unbind(),
            timeout,
        }))
    }
}

/// A preset timeout in milliseconds; `None` if it is no positive number.
fn preset(timeout: &Bound<PyAny>) -> PyResult<Option<u64>> {
    if timeout.is_none() {
        return Ok(Some(NEVER));
    }
    let number = timeout.is_instance_of::<PyInt>() || timeout.is_instance_of::<PyFloat>();
    if !number || timeout.is_instance_of::<PyBool>() {
        return Ok(None);
    }
    let seconds = timeout.extract::<f64>()?;
    Ok((seconds > 0.0).then(|| millis(seconds)))
}

pub fn class_name<'py>(tier: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    tier.getattr(intern!(tier.py(), "__class__"))?
        .getattr(intern!(tier.py(), "__name__"))
}

/// `cache.get(key, default=...)`: the keyword is part of what a backend must understand.
pub fn get<'py>(cache: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = cache.py();
    static NAMES: Once<Py<PyTuple>> = Once::new();
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

/// Stores a value as old as since `began` that must be gone at `until`, where the tier is one of ours: a memory, and there only
/// if `token` is good at that very moment, for a clear_all waits for nobody; or a Django backend over one, or either of them
/// with presets. Any other tier counts its timeout from now.
pub fn set_for<'py>(
    tier: &Bound<'py, PyAny>,
    key: &TextKey<'py>,
    token: Option<Seq>,
    value: &Bound<'py, PyAny>,
    began: u64,
    until: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = tier.py();
    if let Ok(memory) = tier.cast_exact::<Memory>() {
        let memory = memory.get();
        let text = text_key("Memory", key.object())?;
        let due = deadline(began, memory.timeout).min(until);
        let good = |py| {
            token.is_none_or(|token| FLIGHTS.with(py, |m| m.good(key.function, key.hash, token)))
        };
        match Stored::of(value, memory.copy == Some(true)) {
            Ok(stored) => memory.put(&text, &stored, due, good),
            Err(e) => {
                warn::cannot_copy(py, prefix_of(key.object()), value, e)?;
                // What cannot be stored must not leave an older value behind.
                if good(py) {
                    memory.delete(&text)?;
                }
            }
        }
        return Ok(py.None().into_bound(py));
    }
    let Some(timeout) = timeout_of(tier)? else {
        return set(tier, key.object(), value);
    };
    let (due, now) = (deadline(began, timeout).min(until), clock::now());
    if due == deadline(now, timeout) {
        return set(tier, key.object(), value);
    }
    // 0 when its time has come: that takes an older value along.
    let timeout = [("timeout", due.saturating_sub(now) as f64 / 1e3)].into_py_dict(py)?;
    if tier.get_type().is(&home(py)?.presets) {
        let shorter = tier.call_method(intern!(py, "_replace"), (), Some(&timeout))?;
        return set(&shorter, key.object(), value);
    }
    let args = (key.object(), value).into_pyobject(py)?;
    ffi::apply(&tier.getattr(intern!(py, "set"))?, &args, Some(&timeout))
}

/// The timeout of a tier of ours that takes another one with each `set`, in milliseconds.
fn timeout_of(tier: &Bound<PyAny>) -> PyResult<Option<u64>> {
    let py = tier.py();
    if let Some(of) = Ours::exact(tier) {
        return Ok(Some(of.timeout()));
    }
    if !tier.get_type().is(&home(py)?.presets) {
        return Ok(DjangoTier::of(tier)?.map(|m| m.timeout));
    }
    let behind = tier.getattr(intern!(py, "cache"))?;
    if Ours::exact(&behind).is_none() && DjangoTier::of(&behind)?.is_none() {
        return Ok(None);
    }
    preset(&tier.getattr(intern!(py, "timeout"))?)
}

/// When a text key expires in a tier of ours; `NEVER` in any other.
pub fn due<'py>(tier: &Bound<'py, PyAny>, key: &TextKey<'py>) -> PyResult<u64> {
    let Some(native) = NativeTier::of(tier, &mut Vec::new())? else {
        return Ok(NEVER);
    };
    let text = if native.key_prefix.is_empty() {
        key.object().clone()
    } else {
        let full = format!("{}{}", native.key_prefix, key.shown());
        PyString::new(tier.py(), &full).into_any()
    };
    match native.of {
        Ours::Memory(memory) => memory.get().due(&text),
        Ours::Store(store) => store.get().due_here(&text),
        Ours::Redis(redis) => redis.get().due_here(&text),
    }
}

fn set<'py>(
    cache: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    call_method(cache, intern!(cache.py(), "set"), &[key.as_any(), value])
}

pub fn call_method<'py>(
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
pub fn said_more(py: Python, error: PyErr, more: &str) -> PyErr {
    let text = format!("{}: {more}", error.value(py));
    let better = PyErr::from_type(error.get_type(py), text);
    better.set_cause(py, Some(error));
    better
}

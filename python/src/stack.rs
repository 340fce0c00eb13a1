//! Where the values of one function live: the memory tier first, where it is one of ours, then whatever the user gave.

mod text_key;
mod tiers;

pub use text_key::TextKey;
pub use tiers::Tiers;

use crate::call::Hand;
use crate::ffi;
use crate::keys::Keys;
use crate::memory::{Memory, Space};
use crate::state::{self, home};
use crate::tier::NativeTier;
use crate::{redis, store::At};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use quickcache::protocol::machine::ValidFrom;
use quickcache::tier::store::{Guard, Seen};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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

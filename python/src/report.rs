//! What `stats` and `explain` tell, and the clears that take options.

use crate::call::Spread;
use crate::cell::GilCell;
use crate::clock;
use crate::helper::ready;
use crate::memory::Memory;
use crate::part::Part;
use crate::stack::{Native, Stack, Tiers};
use crate::state::{FLIGHTS, add};
use crate::store::Standing;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use quickcache::tier::memory::NEVER;
use std::collections::VecDeque;

/// How many misses of a function are remembered.
const REMEMBERED: usize = 256;

/// Why a call was a miss.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing is remembered of this key.
    New,
    Expired,
    Cleared,
    /// A value was computed, and was not stored: a clear came between, or it could not be stored.
    Refused,
    /// It had been stored, and made way for others.
    Evicted,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Expired => "expired",
            Why::Cleared => "cleared",
            Why::Refused => "refused",
            Why::Evicted => "evicted",
        }
    }
}

/// What happened last to a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Last {
    Filled,
    Refused,
    Cleared,
}

struct Note {
    key: u64,
    why: Option<Why>,
    last: Last,
}

/// The keys of the last misses and clears, by the hashes of their texts.
pub struct Misses(GilCell<VecDeque<Note>>);

impl Default for Misses {
    fn default() -> Self {
        Misses(GilCell::new(VecDeque::new()))
    }
}

impl Misses {
    /// A miss whose value was stored or not; and why it was one, if what is still in the memory tier says so.
    pub fn missed(&self, py: Python, key: u64, known: Option<Why>, stored: bool) {
        self.0.with(py, |notes| {
            let before = notes
                .iter()
                .position(|n| n.key == key)
                .and_then(|i| notes.remove(i));
            let why = known.unwrap_or(match before.map(|n| n.last) {
                None => Why::New,
                Some(Last::Filled) => Why::Evicted,
                Some(Last::Refused) => Why::Refused,
                Some(Last::Cleared) => Why::Cleared,
            });
            let last = if stored { Last::Filled } else { Last::Refused };
            push(
                notes,
                Note {
                    key,
                    why: Some(why),
                    last,
                },
            );
        });
    }

    pub fn cleared(&self, py: Python, key: u64) {
        self.0.with(py, |notes| {
            let before = notes
                .iter()
                .position(|n| n.key == key)
                .and_then(|i| notes.remove(i));
            push(
                notes,
                Note {
                    key,
                    why: before.and_then(|n| n.why),
                    last: Last::Cleared,
                },
            );
        });
    }

    fn all_cleared(&self, py: Python) {
        self.0.with(py, |notes| {
            for note in notes.iter_mut().filter(|n| n.last == Last::Filled) {
                note.last = Last::Cleared;
            }
        });
    }

    fn why(&self, py: Python, key: u64) -> Option<&'static str> {
        self.0.with(py, |notes| {
            notes.iter().find(|n| n.key == key)?.why.map(Why::text)
        })
    }
}

fn push(notes: &mut VecDeque<Note>, note: Note) {
    if notes.len() == REMEMBERED {
        notes.pop_front();
    }
    notes.push_back(note);
}

/// The counters of a function as a dict, for `quickcache.stats`.
#[pyfunction]
fn stats<'py>(helper: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let py = helper.py();
    let out = PyDict::new(py);
    let Some(plan) = crate::helper::plan_of(helper)? else {
        return Ok(out);
    };
    let (p, c) = (plan.get(), &plan.get().counts);
    out.set_item("memory_hits", p.hits.get() + c.slow_hits.get())?;
    out.set_item("store_hits", c.store_hits.get())?;
    out.set_item("redis_hits", c.redis_hits.get())?;
    out.set_item("outer_hits", c.outer_hits.get())?;
    out.set_item("stale_hits", c.stale_hits.get())?;
    out.set_item("misses", c.misses.get())?;
    out.set_item("fills", c.fills.get())?;
    out.set_item("refused_fills", c.refused.get())?;
    out.set_item("executions", c.executions.get())?;
    out.set_item("followers", c.followed.get())?;
    out.set_item("skips", c.skips.get())?;
    out.set_item("clears", c.clears.get())?;
    out.set_item("pending_clears", c.pending.get())?;
    out.set_item("unstored", c.unstored.get())?;
    out.set_item("rejected", c.rejected.get())?;
    out.set_item("compute_seconds", c.compute_nanos.get() as f64 / 1e9)?;
    let (mut entries, mut bytes) = (0, 0);
    if let Some(op) = ready(helper)?
        && let Stack::Native(n) = &op.c.stack
    {
        (entries, bytes) = n.memory.get().weigh_space(py, &n.space);
        if let Some(at) = &n.redis {
            out.set_item("redis_failures", at.redis.get().server.failures())?;
            out.set_item("redis_lag", at.lag(n))?;
        }
    }
    out.set_item("entries", entries)?;
    out.set_item("bytes", bytes)?;
    Ok(out)
}

/// What is known of one key, as a dict, for `quickcache.stats`.
#[pyfunction]
fn explain<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = helper.py();
    let out = PyDict::new(py);
    let Some(op) = ready(helper)? else {
        return Ok(out);
    };
    let values = op.values(Spread::new(args, kwargs)?.call())?;
    let parts = op.key(&values)?;
    let key = op.text_key(&parts)?;
    out.set_item("key", key.object())?;
    let texts = parts
        .parts
        .iter()
        .map(|p| op.c.keys.shown(*p))
        .collect::<PyResult<Vec<_>>>()?;
    out.set_item("parts", PyTuple::new(py, texts)?)?;
    out.set_item("last_miss", op.plan.get().counts.why.why(py, key.hash))?;
    let tiers = match &op.c.stack {
        Stack::Foreign(tiers) => tiers,
        Stack::Native(n) => {
            let in_store = || n.store.as_ref()?.standing(&n.see(&key)?, n.space.stale);
            let in_redis = || n.redis.as_ref()?.standing(py, n, &key);
            let tiers: [(_, &dyn Fn() -> Option<Standing>); 3] = [
                ("memory", &|| in_memory(py, n, &parts.parts)),
                ("store", &in_store),
                ("redis", &in_redis),
            ];
            // The first that is a hit, or else the first that a call may give whose function raises.
            let mut known = None;
            for (tier, standing) in tiers {
                match standing() {
                    Some(standing) if !standing.stale => {
                        known = Some((tier, standing));
                        break;
                    }
                    Some(standing) if known.is_none() => known = Some((tier, standing)),
                    _ => {}
                }
            }
            if let Some((tier, standing)) = known {
                out.set_item("tier", tier)?;
                out.set_item("age", standing.age)?;
                out.set_item("time_left", standing.left)?;
                out.set_item("bytes", standing.bytes)?;
                out.set_item("stale", standing.stale)?;
                return Ok(out);
            }
            &n.rest
        }
    };
    out.set_item("tier", tiers.holder(&key)?)?;
    Ok(out)
}

/// What the memory tier knows of a key.
fn in_memory(py: Python, n: &Native, parts: &[Part]) -> Option<Standing> {
    let (deadline, lifetime, weight) = n.memory.get().standing(py, &n.space, parts)?;
    let (now, fresh_until) = (clock::now(), n.space.fresh_until(deadline));
    let stale = fresh_until <= now;
    let until = if stale { deadline } else { fresh_until };
    let seconds = |millis: u64| millis as f64 / 1e3;
    Some(Standing {
        age: lifetime.map(|lifetime| seconds(now.saturating_sub(deadline - lifetime))),
        stale,
        left: (deadline != NEVER).then(|| seconds(until.saturating_sub(now))),
        bytes: weight as usize,
    })
}

/// Every key of a function; says whether that is certain in every tier that others share.
#[pyfunction]
fn clear_all(helper: &Bound<PyAny>) -> PyResult<bool> {
    let py = helper.py();
    let cannot = |tier: &str| {
        let name = helper
            .getattr("fn")
            .and_then(|f| f.getattr("__name__"))
            .map_or_else(|_| "?".into(), |n| n.to_string());
        PyTypeError::new_err(format!(
            "{name}.clear_all: the tier {tier} cannot clear all keys of a function, because it knows single keys only; \
             clear them one by one, or use a cache whose tiers are all quickcache's own"
        ))
    };
    let Some(op) = ready(helper)? else {
        return Err(cannot("behind this helper"));
    };
    match &op.c.stack {
        Stack::Native(n) => {
            // What is computed now is stored nowhere. Then outer tiers first.
            FLIGHTS.with(py, |m| m.clear_all(n.space.function));
            if let Tiers::Behind(rest) = &n.rest {
                let memories = rest
                    .iter()
                    .map(|t| t.bind(py).cast_exact::<Memory>().cloned());
                let memories: Vec<_> = memories
                    .collect::<Result<_, _>>()
                    .map_err(|_| cannot(&foreign(rest.iter().map(|t| t.bind(py).clone()))))?;
                for m in memories.iter().rev() {
                    let space = m.get().space(py, "", &op.c.keys, None);
                    m.get().clear_space(py, &space);
                }
            }
            let mut told = n.redis.as_ref().is_none_or(|at| at.clear_all(py, n));
            told &= (n.store.as_ref()).is_none_or(|at| at.clear_all(&n.space));
            if !told {
                add(&op.plan.get().counts.pending);
            }
            if n.redis.is_some() {
                // What began while the server was asked.
                FLIGHTS.with(py, |m| m.clear_all(n.space.function));
            }
            n.memory.get().clear_space(py, &n.space);
            op.plan.get().counts.why.all_cleared(py);
            Ok(told)
        }
        Stack::Foreign(Tiers::Tiered(c)) => {
            let tiers: Vec<_> = c
                .bind(py)
                .getattr("caches")?
                .try_iter()?
                .collect::<PyResult<_>>()?;
            Err(cannot(&foreign(tiers.into_iter())))
        }
        Stack::Foreign(Tiers::One(c)) => Err(cannot(&foreign([c.bind(py).clone()].into_iter()))),
        Stack::Foreign(_) => Err(cannot("behind this helper")),
    }
}

/// Clears a key as the method of the helper does: `(True, whether that is certain in every tier that others share)`, or `(False, _)` if
/// the helper is not ours.
#[pyfunction]
fn clear_told(
    helper: &Bound<PyAny>,
    args: &Bound<PyTuple>,
    kwargs: &Bound<PyDict>,
) -> PyResult<(bool, bool)> {
    let Some(op) = ready(helper)? else {
        return Ok((false, true));
    };
    let parts = op.key(&op.values(Spread::new(args, kwargs)?.call())?)?;
    Ok((true, crate::fault::contained(|| op.clear(&parts))?))
}

/// How many seconds after an applied clear no other machine serves what was cleared; `None` if no other machine has it, as there is no Redis.
#[pyfunction]
fn staleness(helper: &Bound<PyAny>) -> PyResult<Option<f64>> {
    let op = ready(helper)?;
    Ok(op.and_then(|op| match &op.c.stack {
        Stack::Native(n) => {
            let staleness = n.redis.as_ref()?.redis.get().server.staleness();
            // Clocks may run apart by one in a hundred.
            Some(staleness.as_secs_f64() * 1.01 + 0.002)
        }
        Stack::Foreign(_) => None,
    }))
}

/// Whether a helper's function has a tier that is asked over the network.
#[pyfunction]
fn asks_network(helper: &Bound<PyAny>) -> PyResult<bool> {
    Ok(staleness(helper)?.is_some())
}

/// The class of the first tier that is no memory of ours.
fn foreign<'py>(mut tiers: impl Iterator<Item = Bound<'py, PyAny>>) -> String {
    tiers
        .find(|t| t.cast_exact::<Memory>().is_err())
        .and_then(|t| t.get_type().qualname().ok())
        .map_or_else(String::new, |q| q.to_string())
}

/// A function that clears the key of these arguments, which is made now.
#[pyfunction]
fn clearer<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyCFunction>>> {
    let Some(op) = ready(helper)? else {
        return Ok(None);
    };
    let parts = op.key(&op.values(Spread::new(args, kwargs)?.call())?)?;
    op.text_key(&parts)?;
    let (helper, kept) = (helper.clone().unbind(), parts.keep());
    let clear = move |args: &Bound<PyTuple>, _: Option<&Bound<PyDict>>| -> PyResult<()> {
        let py = args.py();
        let Some(op) = ready(helper.bind(py))? else {
            return Err(PyRuntimeError::new_err(
                "the helper was changed since the clear was ordered",
            ));
        };
        crate::fault::contained(|| op.clear(&kept.bind(py))).map(|_| ())
    };
    PyCFunction::new_closure(op.py, Some(c"clear"), None, clear).map(Some)
}

/// Keeps what is computed for these arguments from being stored until the function that it gives back is called.
#[pyfunction]
fn hold<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyCFunction>>> {
    let Some(op) = ready(helper)? else {
        return Ok(None);
    };
    let key = op.text_key(&op.key(&op.values(Spread::new(args, kwargs)?.call())?)?)?;
    let py = op.py;
    let held = GilCell::new(Some(FLIGHTS.with(py, |m| m.clear_begin(key.of()))));
    let (text, function, c) = (key.shown().to_owned(), key.function, op.c.clone());
    let release = move |args: &Bound<PyTuple>, _: Option<&Bound<PyDict>>| -> PyResult<()> {
        let py = args.py();
        let key = crate::stack::TextKey::new(py, &text, function);
        // What other processes have computed in this time is void.
        if let Stack::Native(n) = &c.stack {
            if let Some(at) = &n.redis {
                at.clear(py, n, &key);
            }
            if let Some(at) = &n.store {
                at.clear(&n.space, &key);
            }
        }
        if let Some(clearing) = held.with(py, Option::take)
            && FLIGHTS.with(py, |m| m.clear_end(key.of(), clearing)).wake
        {
            crate::flight::wake_store_waiters(py);
        }
        Ok(())
    };
    PyCFunction::new_closure(py, Some(c"release"), None, release).map(Some)
}

pub fn register(m: &Bound<PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(stats, m)?)?;
    m.add_function(wrap_pyfunction!(explain, m)?)?;
    m.add_function(wrap_pyfunction!(clear_all, m)?)?;
    m.add_function(wrap_pyfunction!(clear_told, m)?)?;
    m.add_function(wrap_pyfunction!(staleness, m)?)?;
    m.add_function(wrap_pyfunction!(asks_network, m)?)?;
    m.add_function(wrap_pyfunction!(clearer, m)?)?;
    m.add_function(wrap_pyfunction!(hold, m)?)
}

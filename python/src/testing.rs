//! The switches of `quickcache.testing`: a fake clock, caches that are off, caches that are new. Each holds for the whole process.
//!
//! None costs a hit anything: while one is on, no plan is one that the hit path serves, so every call comes by the slow path,
//! which asks here. When a switch is turned, every plan that has been made is retired.

use crate::cell::GilCell;
use crate::clock;
use crate::plans;
use crate::state::FLIGHTS;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many blocks have turned caches off.
static DISABLED: AtomicU32 = AtomicU32::new(0);

/// Of each block in which caches are new, the innermost last: a function that gives the cache to use for another.
static ISOLATED: GilCell<Vec<Py<PyAny>>> = GilCell::new(Vec::new());

/// How often what memories held became meaningless: a fake clock ended that was ahead of the real one.
static ERA: AtomicU64 = AtomicU64::new(0);

/// Whether functions run through.
pub fn disabled() -> bool {
    DISABLED.load(Relaxed) > 0
}

/// Whether calls must come by the slow path.
pub fn active(py: Python) -> bool {
    disabled() || clock::fake().is_some() || ISOLATED.with(py, |stand_ins| !stand_ins.is_empty())
}

/// Differs for a memory whose entries are to go.
pub fn era() -> u64 {
    ERA.load(Relaxed)
}

/// The cache that a function of `cache` uses now.
pub fn stand_in<'py>(cache: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = cache.py();
    match ISOLATED.with(py, |blocks| blocks.last().map(|f| f.clone_ref(py))) {
        Some(stand_in) => stand_in.into_bound(py).call1((cache,)),
        None => Ok(cache),
    }
}

/// Milliseconds of the clock that deadlines go by.
#[pyfunction]
fn now() -> u64 {
    clock::now()
}

#[pyfunction]
fn has_fake_clock() -> bool {
    clock::fake().is_some()
}

/// Sets the fake clock; `None` ends it.
#[pyfunction]
fn set_fake_clock(py: Python, millis: Option<u64>) {
    let before = clock::fake();
    clock::set(millis);
    if before.is_some() && millis.is_some() {
        return;
    }
    let ahead = before.is_some_and(|fake| fake > clock::now());
    crate::store::end_fake_clock(ahead);
    if ahead {
        // What was stored, and what is on its way, would live too long.
        ERA.fetch_add(1, Relaxed);
        FLIGHTS.with(py, |m| m.clear_everything());
    }
    plans::retire(py);
}

/// One block more, or less, in which caches are off.
#[pyfunction]
fn disable(py: Python, on: bool) {
    if on {
        DISABLED.fetch_add(1, Relaxed);
    } else {
        DISABLED.fetch_sub(1, Relaxed);
    }
    plans::retire(py);
}

/// Begins a block in which each cache is replaced by what `stand_in` gives for it.
#[pyfunction]
fn isolate(py: Python, stand_in: Py<PyAny>) {
    ISOLATED.with(py, |blocks| blocks.push(stand_in));
    plans::retire(py);
}

/// Ends that block.
#[pyfunction]
fn end_isolation(py: Python, stand_in: &Bound<PyAny>) {
    let ended = ISOLATED.with(py, |blocks| {
        let at = blocks.iter().position(|f| f.is(stand_in))?;
        Some(blocks.remove(at))
    });
    plans::retire(py);
    drop(ended);
}

#[pyfunction]
#[pyo3(name = "disabled")]
fn py_disabled() -> bool {
    disabled()
}

pub fn register(m: &Bound<PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(now, m)?)?;
    m.add_function(wrap_pyfunction!(has_fake_clock, m)?)?;
    m.add_function(wrap_pyfunction!(set_fake_clock, m)?)?;
    m.add_function(wrap_pyfunction!(disable, m)?)?;
    m.add_function(wrap_pyfunction!(py_disabled, m)?)?;
    m.add_function(wrap_pyfunction!(isolate, m)?)?;
    m.add_function(wrap_pyfunction!(end_isolation, m)?)
}

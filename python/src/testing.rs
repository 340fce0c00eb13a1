//! The switches of `quickcache.testing`: a fake clock, caches that are off, caches that are new. Each holds for the whole process.
//!
//! None costs a hit anything: while one is on, no plan is one that the hit path serves, so every call comes by the slow path,
//! which asks here. When a switch is turned, every plan that has been made is retired.

use crate::cell::GilCell;
use crate::clock;
use crate::plan::Plan;
use crate::state::FLIGHTS;
use pyo3::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many blocks have turned caches off.
static DISABLED: AtomicU32 = AtomicU32::new(0);

/// Of each block in which caches are new, the innermost last: a function that gives the cache to use for another.
static ISOLATED: GilCell<Vec<Py<PyAny>>> = GilCell::new(Vec::new());

/// How often a switch was turned.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// How often what memories held became meaningless: a fake clock ended that was ahead of the real one.
static ERA: AtomicU64 = AtomicU64::new(0);

/// Where the plans are that have been installed.
static PLANS: GilCell<Option<HashSet<usize>>> = GilCell::new(None);

/// Whether functions run through.
pub fn disabled() -> bool {
    DISABLED.load(Relaxed) > 0
}

/// Whether calls must come by the slow path.
pub fn active(py: Python) -> bool {
    disabled() || clock::fake().is_some() || ISOLATED.with(py, |stand_ins| !stand_ins.is_empty())
}

/// Differs after any switch was turned.
pub fn turns() -> u64 {
    TURNS.load(Relaxed)
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

/// The plan has been installed.
pub fn remember(py: Python, plan: &Plan) {
    let place = std::ptr::from_ref(plan) as usize;
    PLANS.with(py, |plans| plans.get_or_insert_default().insert(place));
}

/// The plan is being dropped.
pub fn forget(py: Python, plan: &Plan) {
    let place = std::ptr::from_ref(plan) as usize;
    PLANS.with(py, |plans| {
        plans.as_mut().is_some_and(|plans| plans.remove(&place))
    });
}

fn turn(py: Python) {
    TURNS.fetch_add(1, Relaxed);
    let all: Vec<usize> = PLANS.with(py, |plans| plans.iter().flatten().copied().collect());
    for place in all {
        // To retire one may run Python code, which may drop another.
        let there = PLANS.with(py, |plans| {
            plans.as_ref().is_some_and(|plans| plans.contains(&place))
        });
        if there {
            // SAFETY: a plan takes itself out before it goes, and plans do not move.
            unsafe { &*(place as *const Plan) }.retire();
        }
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
    if before.is_some_and(|fake| fake > clock::now()) {
        // What was stored, and what is on its way, would live too long.
        ERA.fetch_add(1, Relaxed);
        FLIGHTS.with(py, |m| m.clear_everything());
    }
    turn(py);
}

/// One block more, or less, in which caches are off.
#[pyfunction]
fn disable(py: Python, on: bool) {
    if on {
        DISABLED.fetch_add(1, Relaxed);
    } else {
        DISABLED.fetch_sub(1, Relaxed);
    }
    turn(py);
}

/// Begins a block in which each cache is replaced by what `stand_in` gives for it.
#[pyfunction]
fn isolate(py: Python, stand_in: Py<PyAny>) {
    ISOLATED.with(py, |blocks| blocks.push(stand_in));
    turn(py);
}

/// Ends that block.
#[pyfunction]
fn end_isolation(py: Python, stand_in: &Bound<PyAny>) {
    let ended = ISOLATED.with(py, |blocks| {
        let at = blocks.iter().position(|f| f.is(stand_in))?;
        Some(blocks.remove(at))
    });
    turn(py);
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

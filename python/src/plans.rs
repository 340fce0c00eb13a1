//! Where the plans of all functions are, so that what concerns many of them can retire them at once, and a hit need not ask.

use crate::cell::GilCell;
use crate::plan::Plan;
use pyo3::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The addresses of the plans that have been installed.
static PLANS: GilCell<Option<HashSet<usize>>> = GilCell::new(None);

/// How often all were retired.
static ROUND: AtomicU64 = AtomicU64::new(0);

/// Differs when all plans were retired in between: what was read for one before that must be read anew.
pub fn round() -> u64 {
    ROUND.load(Relaxed)
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

/// Retires every plan.
#[pyfunction]
#[pyo3(name = "retire_plans")]
pub fn retire(py: Python) {
    ROUND.fetch_add(1, Relaxed);
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

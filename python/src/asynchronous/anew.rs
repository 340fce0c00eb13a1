//! Runs of a coroutine function: what `stats` counts of them, and those that store without a flight.

use crate::call::{Hand, Spread};
use crate::cell::GilCell;
use crate::clock;
use crate::fault;
use crate::helper;
use crate::plan::Plan;
use crate::state::{FLIGHTS, add};
use crate::testing;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use quickcache::protocol::machine::Seq;
use std::time::Instant;

/// `with Execution(helper):` around one run of its function, whichever way it ends: what `stats` counts.
#[pyclass(module = "quickcache._native", frozen)]
pub struct Execution {
    plan: Option<Py<Plan>>,
    start: Instant,
}

#[pymethods]
impl Execution {
    #[new]
    fn new(helper: &Bound<PyAny>) -> PyResult<Execution> {
        Ok(Execution {
            plan: helper::plan_of(helper)?.map(Bound::unbind),
            start: Instant::now(),
        })
    }

    fn __enter__(&self) {}

    fn __exit__(
        &self,
        py: Python,
        _kind: &Bound<PyAny>,
        _error: &Bound<PyAny>,
        _traceback: &Bound<PyAny>,
    ) {
        if let Some(p) = &self.plan {
            let counts = &p.bind(py).get().counts;
            add(&counts.executions);
            counts
                .compute_nanos
                .set(counts.compute_nanos.get() + self.start.elapsed().as_nanos() as u64);
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.plan)
    }
}

/// A call that `skip_arg` sends past the cache.
#[pyfunction]
pub fn skipped(helper: &Bound<PyAny>) -> PyResult<()> {
    if let Some(p) = helper::plan_of(helper)? {
        add(&p.get().counts.skips);
    }
    Ok(())
}

/// The moment before an execution that stores without a flight (skip, refresh).
#[pyclass(module = "quickcache._native", frozen)]
pub struct Anew {
    token: Seq,
    began: u64,
    /// What was known and held before the execution.
    hand: GilCell<Option<Hand>>,
}

#[pymethods]
impl Anew {
    #[new]
    fn new(helper: &Bound<PyAny>, args: &Bound<PyTuple>, kwargs: &Bound<PyDict>) -> PyResult<Anew> {
        let py = helper.py();
        let token = FLIGHTS.with(py, |m| m.begin());
        let hand = match helper::ready(helper)? {
            Some(op) => op.see_and_take(Spread::new(args, kwargs)?.call())?,
            None => Hand::default(),
        };
        Ok(Anew {
            token,
            began: clock::now(),
            hand: GilCell::new(Some(hand)),
        })
    }

    /// Stores the value that the function gave, under the key that the arguments have now.
    fn store(
        &self,
        helper: &Bound<PyAny>,
        args: &Bound<PyTuple>,
        kwargs: &Bound<PyDict>,
        value: &Bound<PyAny>,
    ) -> PyResult<()> {
        if testing::disabled() {
            return Ok(());
        }
        if let Some(op) = helper::ready(helper)? {
            let parts = op.key(&op.values(Spread::new(args, kwargs)?.call())?)?;
            let hand = self.hand.with(value.py(), Option::take).unwrap_or_default();
            let store = || op.store(&parts, self.token, hand, self.began, value);
            return fault::contained(store).map(|_| ());
        }
        let key = helper.getattr("get_cache_key")?.call(args, Some(kwargs))?;
        let (tiers, key) = helper::text(helper, &key)?;
        tiers
            .supersede(&key, self.token, self.began, value, || ())
            .map(|_| ())
    }
}

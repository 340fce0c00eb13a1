//! Flights in Python's terms: what they are keyed by, and where followers wait for a leader.
//!
//! Followers wait on a lock of the `threading` module, not on one of ours: it lets signals through, gives the GIL up, and is gevent's
//! where gevent has patched the module. Each has its own, and not an event of that module together: a signal's handler runs in the midst
//! of an event's code, which holds the event's lock there, and would wait for that lock for ever if it follows the same flight.

use crate::ffi;
use crate::once::Once;
use crate::state::FLIGHTS;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTraceback};
use quickcache::protocol::machine::{FlightId, Join, Seq, ValidFrom};
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::time::Duration;

/// What a flight, a clear or a store is for.
#[derive(Clone, PartialEq, Eq)]
pub enum FlightKey {
    /// The text key. All stores and clears, and the flights of functions over the memory tier.
    Text(Arc<str>),
    /// The text key as asked by one decorated function, over caches of the user's: two functions of one text may have
    /// different caches, so they do not wait for each other.
    Of(usize, Arc<str>),
}

pub enum Outcome {
    /// The value; whether followers may have the same object.
    Value(Py<PyAny>, bool),
    /// The same: the last value, since the function raised.
    Stale(Py<PyAny>, bool),
    Raised(PyErr),
    /// Nothing to share: look again.
    Nothing,
}

/// Where a leader leaves its result.
pub struct Cell {
    outcome: UnsafeCell<Option<Arc<Outcome>>>,
    /// From when on the result counts, where clears elsewhere are not seen here.
    valid_from: std::cell::Cell<ValidFrom>,
    /// Of what the function raised, before anyone else raised it: from CPython 3.12 on it grows with each caller that does.
    traceback: UnsafeCell<Option<Py<PyTraceback>>>,
    /// What each follower that blocks waits on.
    waiting: UnsafeCell<Vec<Sleeper>>,
    /// Called at the end: followers that do not block.
    callbacks: UnsafeCell<Vec<Py<PyAny>>>,
    /// The task that runs an asynchronous flight, as `quickcache.aio` keeps it.
    owner: UnsafeCell<Option<Py<PyAny>>>,
}

// SAFETY: touched with the GIL held only; the references into the cells end before any call into Python.
unsafe impl Send for Cell {}
unsafe impl Sync for Cell {}

impl Cell {
    pub fn new() -> Arc<Cell> {
        Arc::new(Cell {
            outcome: UnsafeCell::new(None),
            valid_from: std::cell::Cell::new(ValidFrom::Joined),
            traceback: UnsafeCell::new(None),
            waiting: UnsafeCell::new(Vec::new()),
            callbacks: UnsafeCell::new(Vec::new()),
            owner: UnsafeCell::new(None),
        })
    }

    /// Said before the result is left.
    pub fn counts_from(&self, valid_from: ValidFrom) {
        self.valid_from.set(valid_from);
    }

    /// Whether a call that began then may take the result; else it enters again.
    pub fn is_for(&self, started: Seq) -> bool {
        crate::state::Flights::validate(started, self.valid_from.get()) == Join::Take
    }

    /// Leaves the result and wakes the followers.
    pub fn wake(&self, py: Python, outcome: Outcome) -> PyResult<()> {
        if let Outcome::Raised(e) = &outcome {
            let traceback = e.traceback(py).map(Bound::unbind);
            unsafe { *self.traceback.get() = traceback };
        }
        let (waiting, callbacks) = unsafe {
            *self.outcome.get() = Some(Arc::new(outcome));
            (
                std::mem::take(&mut *self.waiting.get()),
                std::mem::take(&mut *self.callbacks.get()),
            )
        };
        // The reference to the task would be a cycle through the flight.
        drop(unsafe { (*self.owner.get()).take() });
        wake(py, waiting);
        // One loop that is gone must not keep the others waiting.
        for c in callbacks {
            if let Err(e) = ffi::function(c.bind(py), &[]) {
                e.write_unraisable(py, None);
            }
        }
        Ok(())
    }

    /// Has `callback` called at the end; false when that has been.
    pub fn on_wake(&self, callback: Py<PyAny>) -> bool {
        if self.outcome().is_some() {
            return false;
        }
        unsafe { (*self.callbacks.get()).push(callback) };
        true
    }

    pub fn set_owner(&self, owner: Py<PyAny>) {
        unsafe { *self.owner.get() = Some(owner) };
    }

    pub fn owner(&self, py: Python) -> Option<Py<PyAny>> {
        unsafe { (*self.owner.get()).as_ref().map(|o| o.clone_ref(py)) }
    }

    fn outcome(&self) -> Option<Arc<Outcome>> {
        unsafe { (*self.outcome.get()).clone() }
    }

    /// The result for a follower, who raises it with the function's own traceback.
    pub fn taken(&self, py: Python) -> Option<Arc<Outcome>> {
        let outcome = self.outcome()?;
        if let Outcome::Raised(e) = &*outcome {
            let traceback = unsafe { (*self.traceback.get()).as_ref().map(|t| t.clone_ref(py)) };
            e.set_traceback(py, traceback.map(|t| t.into_bound(py)));
        }
        Some(outcome)
    }

    /// Waits for the result; `None` when patience ended first.
    pub fn wait(&self, py: Python, patience: Duration) -> PyResult<Option<Arc<Outcome>>> {
        if let Some(o) = self.taken(py) {
            return Ok(Some(o));
        }
        let own = Sleeper::new(py)?;
        // The leader may have landed while it was made.
        if self.outcome().is_none() {
            unsafe { (*self.waiting.get()).push(own.clone_ref(py)) };
            own.sleep(py, patience)?;
        }
        Ok(self.taken(py))
    }
}

/// A lock that is held until its one waiter is to be woken.
struct Sleeper(Py<PyAny>);

impl Sleeper {
    fn new(py: Python) -> PyResult<Sleeper> {
        static THREADING: Once<Py<PyAny>> = Once::new();
        let module = THREADING.get_or_try_init(py, || {
            PyResult::Ok(ffi::import(py, "threading")?.into_any().unbind())
        })?;
        // Taken from the module each time: gevent may have patched it since.
        let lock = ffi::method(module.bind(py), pyo3::intern!(py, "Lock"), &[])?;
        ffi::method(&lock, pyo3::intern!(py, "acquire"), &[])?;
        Ok(Sleeper(lock.unbind()))
    }

    fn clone_ref(&self, py: Python) -> Sleeper {
        Sleeper(self.0.clone_ref(py))
    }

    fn sleep(&self, py: Python, at_most: Duration) -> PyResult<()> {
        let seconds = at_most.as_secs_f64().into_pyobject(py)?;
        let blocking = PyBool::new(py, true);
        let arguments = [blocking.as_any(), seconds.as_any()];
        ffi::method(self.0.bind(py), pyo3::intern!(py, "acquire"), &arguments).map(|_| ())
    }
}

/// Each once. One that cannot be woken must not keep the others waiting.
fn wake(py: Python, waiting: Vec<Sleeper>) {
    for Sleeper(lock) in waiting {
        let released = ffi::method(lock.bind(py), pyo3::intern!(py, "release"), &[]);
        if let Err(e) = released {
            e.write_unraisable(py, None);
        }
    }
}

/// Waits until `done` says so, which is asked again after each end of a store; false if `patience` ended first.
pub fn wait_for_stores(py: Python, patience: Duration, done: impl Fn() -> bool) -> PyResult<bool> {
    let end = std::time::Instant::now() + patience;
    loop {
        let own = Sleeper::new(py)?;
        STORES_ENDED.with(py, |waiting| waiting.push(own.clone_ref(py)));
        if done() {
            return Ok(true);
        }
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        own.sleep(py, left)?;
    }
}

static STORES_ENDED: crate::cell::GilCell<Vec<Sleeper>> = crate::cell::GilCell::new(Vec::new());

/// Some store ended while somebody may be waiting for that.
pub fn wake_store_waiters(py: Python) {
    wake(py, STORES_ENDED.with(py, std::mem::take));
}

// ---- what runs around a call, on this thread or task: a flight, a store ----

struct Variable(Once<Py<PyAny>>, &'static std::ffi::CStr);

static FLIGHT: Variable = Variable(Once::new(), c"quickcache_flight");
static STORE: Variable = Variable(Once::new(), c"quickcache_store");

impl Variable {
    fn bind<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let make = || {
            // By no import, which opens a file: a call does without one.
            // SAFETY: the name is a C text; the variable is a new reference, or null with the error set.
            let made =
                unsafe { pyo3::ffi::PyContextVar_New(self.1.as_ptr(), std::ptr::null_mut()) };
            // SAFETY: as above.
            unsafe { Bound::from_owned_ptr_or_err(py, made) }.map(Bound::unbind)
        };
        self.0.get_or_try_init(py, make).map(|v| v.bind(py))
    }

    fn get<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let var = self.bind(py)?;
        let mut value = std::ptr::null_mut();
        // SAFETY: `var` is a context variable; a value is a new reference, or null.
        let value = unsafe {
            if pyo3::ffi::PyContextVar_Get(var.as_ptr(), std::ptr::null_mut(), &mut value) < 0 {
                return Err(PyErr::fetch(py));
            }
            Bound::from_owned_ptr_or_opt(py, value)
        };
        Ok(value.filter(|v| !v.is_none()))
    }

    /// Runs `f` with the variable set to `value`.
    fn with<'py, R>(
        &self,
        value: &Bound<'py, PyAny>,
        f: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        let py = value.py();
        let var = self.bind(py)?;
        // SAFETY: as above; the token is a new reference.
        let token = unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                pyo3::ffi::PyContextVar_Set(var.as_ptr(), value.as_ptr()),
            )?
        };
        // However `f` ends.
        let _reset = Reset { var, token };
        f()
    }
}

struct Reset<'a, 'py> {
    var: &'a Bound<'py, PyAny>,
    token: Bound<'py, PyAny>,
}

impl Drop for Reset<'_, '_> {
    fn drop(&mut self) {
        let py = self.token.py();
        // SAFETY: the token is of this variable. It may belong to another context if a greenlet was switched inside; the
        // variable is then left as it is.
        if unsafe { pyo3::ffi::PyContextVar_Reset(self.var.as_ptr(), self.token.as_ptr()) } < 0 {
            drop(PyErr::fetch(py));
        }
    }
}

/// The innermost flight around this call.
pub fn within(py: Python) -> PyResult<Option<FlightId>> {
    let flight = FLIGHT.get(py)?;
    flight
        .map(|v| Ok(FlightId::from_bits(v.extract()?)))
        .transpose()
}

/// Whether this is inside a cache's own `set`: a clear from there waits for no store.
pub fn inside_a_store(py: Python) -> PyResult<bool> {
    STORE.get(py).map(|v| v.is_some())
}

/// Runs `set`, which stores in caches of the user's.
pub fn storing<R>(py: Python, set: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    STORE.with(PyBool::new(py, true).as_any(), set)
}

/// From here on, calls in this context (that of the flight's own task) are made by this flight.
pub fn stay_inside(py: Python, flight: Option<FlightId>) -> PyResult<()> {
    let Some(flight) = flight else { return Ok(()) };
    FLIGHT
        .bind(py)?
        .call_method1("set", (flight.to_bits(),))
        .map(|_| ())
}

/// Runs `f` as the execution of this flight.
pub fn inside<'py, R>(
    py: Python<'py>,
    flight: Option<FlightId>,
    f: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    match flight {
        Some(flight) => FLIGHT.with(flight.to_bits().into_pyobject(py)?.as_any(), f),
        None => f(),
    }
}

/// In the child of a fork no flight, wait or store is left: their threads are not here.
#[pyfunction]
pub fn after_fork_in_child(py: Python) {
    crate::log::after_fork_in_child();
    let left = FLIGHTS.with(py, |m| m.after_fork_in_child());
    drop(left);
    drop(STORES_ENDED.with(py, std::mem::take));
}

//! What the process knows once: the classes as we made them, the logger, the flights of all functions.

use crate::cell::GilCell;
use crate::ffi::{self, PyTypeObject};
use crate::flight::{Cell as FlightCell, FlightKey};
use crate::function;
use crate::once::Once;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction};
use quickcache::protocol::machine::Machine;
use std::cell::Cell;
use std::sync::{Arc, LazyLock};

/// The Python objects that the engine calls back, set when `quickcache_helper` is imported.
pub struct Home {
    pub helper: Py<PyAny>,
    pub tiered: Py<PyAny>,
    pub presets: Py<PyAny>,
    pub callargs: Py<PyAny>,
    pub utc: Py<PyAny>,
    /// Each guarded class with a copy of its namespace.
    pristine: Vec<(Py<PyAny>, Py<PyDict>)>,
}

static HOME: Once<Home> = Once::new();

pub fn home(py: Python<'_>) -> PyResult<&Home> {
    HOME.get(py).ok_or_else(|| {
        pyo3::exceptions::PyRuntimeError::new_err(
            "quickcache.quickcache_helper has not been imported",
        )
    })
}

fn copy_of_namespace(class: &Bound<PyAny>) -> PyResult<Py<PyDict>> {
    let copy = PyDict::new(class.py());
    copy.update(class.getattr("__dict__")?.cast()?)?;
    Ok(copy.unbind())
}

#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn set_pristine(
    py: Python,
    helper: Bound<PyAny>,
    tiered: Bound<PyAny>,
    presets: Bound<PyAny>,
    callargs: Py<PyAny>,
    utc: Py<PyAny>,
) -> PyResult<()> {
    let pristine = [&helper, &tiered, &presets]
        .iter()
        .map(|c| Ok(((*c).clone().unbind(), copy_of_namespace(c)?)))
        .collect::<PyResult<_>>()?;
    let home = Home {
        helper: helper.unbind(),
        tiered: tiered.unbind(),
        presets: presets.unbind(),
        callargs,
        utc,
        pristine,
    };
    // A second import (a test that reloads the package) keeps the first classes: plans of the second ones never match.
    HOME.set(py, home);
    Ok(())
}

/// The helper class of scheme `v1`, with a copy of its namespace; set when `quickcache.v1` is imported.
static V1: Once<(Py<PyAny>, Py<PyDict>)> = Once::new();

#[pyfunction]
pub fn set_pristine_v1(class: Bound<PyAny>) -> PyResult<()> {
    let namespace = copy_of_namespace(&class)?;
    // As above: the first one stays.
    V1.set(class.py(), (class.clone().unbind(), namespace));
    Ok(())
}

/// Whether a helper's keys are of scheme `v1`.
pub fn is_v1(helper: &Bound<PyAny>) -> bool {
    V1.get(helper.py())
        .is_some_and(|(class, _)| helper.get_type().is(class))
}

/// The guarded classes, each as it was made.
fn guarded<'py>(
    py: Python<'py>,
    home: &'py Home,
) -> impl Iterator<Item = &'py (Py<PyAny>, Py<PyDict>)> {
    home.pristine.iter().chain(V1.get(py))
}

/// Whether the helper is exactly ours, with nothing patched on its class or on itself, nor on the classes of caches.
pub fn pristine(helper: &Bound<PyAny>) -> PyResult<bool> {
    let py = helper.py();
    let home = home(py)?;
    if !helper.get_type().is(&home.helper) && !is_v1(helper) {
        return Ok(false);
    }
    for (class, _) in guarded(py, home) {
        if !as_made(class.bind(py))? {
            return Ok(false);
        }
    }
    let own = helper.getattr("__dict__")?;
    let known = [
        "fn",
        "cache",
        "prefix",
        "vary_on",
        "skip_arg",
        "encoding_assert",
        "keys",
        "stale_timeout",
        "_plan",
    ];
    for name in own.cast::<PyDict>()?.keys() {
        if !name.extract::<&str>().is_ok_and(|n| known.contains(&n)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether one of the guarded classes is as we made it.
pub fn as_made(class: &Bound<PyAny>) -> PyResult<bool> {
    let py = class.py();
    let Some((_, was)) = guarded(py, home(py)?).find(|(c, _)| c.is(class)) else {
        return Ok(false);
    };
    let was = was.bind(py);
    let now = class.getattr("__dict__")?;
    // `copy` and `pickle` leave this name in every class whose objects they have seen.
    let copied = now.contains("__slotnames__")? && !was.contains("__slotnames__")?;
    if now.len()? != was.len() + usize::from(copied) {
        return Ok(false);
    }
    for (name, value) in was {
        if !now.get_item(&name).is_ok_and(|v| v.is(&value)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What counts as "a function" for vary_on and skip_arg.
pub fn is_plain_function(o: &Bound<PyAny>) -> bool {
    o.is_instance_of::<PyFunction>() || function::is_function(o.as_ptr())
}

/// The version of a type, asking CPython to give it one if it has none; 0 when it will not.
///
/// # Safety
/// `t` is a live type and the GIL is held.
pub unsafe fn version_of(t: *mut PyTypeObject) -> u32 {
    unsafe {
        // Any look-up through the type's bases makes CPython number the type.
        let found = ffi::PyObject_GetAttrString(t as *mut ffi::PyObject, c"__init__".as_ptr());
        if found.is_null() {
            ffi::PyErr_Clear();
        }
        ffi::Py_XDECREF(found);
        ffi::type_version(t)
    }
}

/// Counters of one function. Moved under the GIL, so plain cells.
#[derive(Default)]
pub struct Counts {
    pub slow_hits: Cell<u64>,
    pub store_hits: Cell<u64>,
    pub redis_hits: Cell<u64>,
    pub outer_hits: Cell<u64>,
    /// Calls whose function raised, and that gave the last value.
    pub stale_hits: Cell<u64>,
    pub misses: Cell<u64>,
    pub fills: Cell<u64>,
    pub refused: Cell<u64>,
    pub executions: Cell<u64>,
    pub followed: Cell<u64>,
    pub compute_nanos: Cell<u64>,
    pub clears: Cell<u64>,
    /// Clears that the store, or the Redis, could not be told of.
    pub pending: Cell<u64>,
    /// Values that the store or the Redis did not take, and those that it gave and that could not be read.
    pub unstored: Cell<u64>,
    pub rejected: Cell<u64>,
    pub skips: Cell<u64>,
    /// Flights of this function that have landed: says whether to look again before leading one.
    pub landings: Cell<u64>,
    pub why: crate::report::Misses,
}

pub fn add(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

pub type Flights = Machine<FlightKey, Arc<FlightCell>>;

/// The flights, clears and stores of this process.
pub static FLIGHTS: LazyLock<GilCell<Flights>> = LazyLock::new(|| GilCell::new(Flights::new()));

static LOGGER: Once<Py<PyAny>> = Once::new();

/// The logger; imports `logging`, which costs as much as all of us.
pub fn logger(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let found = || {
        let module = ffi::import(py, "quickcache.logger")?;
        PyResult::Ok(ffi::attr(&module, pyo3::intern!(py, "logger"))?.unbind())
    };
    Ok(LOGGER.get_or_try_init(py, found)?.bind(py))
}

/// Whether debug messages are wanted; asked on slow paths only. Nobody has asked for any who has not imported `logging`.
pub fn debugging(py: Python) -> bool {
    let wanted = || -> PyResult<bool> {
        if LOGGER.get(py).is_none() {
            // SAFETY: the interpreter's own dictionary of modules, borrowed for one look that runs no code.
            let modules = unsafe { Bound::from_borrowed_ptr(py, ffi::PyImport_GetModuleDict()) };
            if !modules.contains(pyo3::intern!(py, "logging"))? {
                return Ok(false);
            }
        }
        let level = 10_i32.into_pyobject(py)?;
        ffi::method(
            logger(py)?,
            pyo3::intern!(py, "isEnabledFor"),
            &[level.as_any()],
        )?
        .is_truthy()
    };
    wanted().unwrap_or(false)
}

pub fn debug(py: Python, message: &str) -> PyResult<()> {
    let message = message.into_pyobject(py)?;
    ffi::method(logger(py)?, pyo3::intern!(py, "debug"), &[message.as_any()])?;
    Ok(())
}

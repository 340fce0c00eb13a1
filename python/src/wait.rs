//! How a call waits for what another process, or another machine, is about to store.

use crate::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyFunction;
use std::time::Duration;

/// How long a greenlet sleeps before it looks again: nothing wakes it.
const NAP: Duration = Duration::from_millis(5);

/// Has `wait` done for so long at most, while other threads run. Where gevent or eventlet have put a sleep of theirs in the place of
/// Python's, one nap of that instead: what is waited for may be up to another greenlet of this thread.
pub fn wait(py: Python, most: Duration, wait: impl FnOnce(Duration) + Send) -> PyResult<()> {
    match sleep_of_greenlets(py)? {
        Some(sleep) => {
            let nap = most.min(NAP).as_secs_f64().into_pyobject(py)?;
            ffi::function(&sleep, &[nap.as_any()])?;
        }
        None => py.detach(|| wait(most)),
    }
    py.check_signals()
}

/// Taken from the module each time: it may have been patched since. (A sleep that a test has put there is none of theirs.)
fn sleep_of_greenlets(py: Python) -> PyResult<Option<Bound<PyAny>>> {
    let sleep = ffi::import(py, "time")?.getattr(intern!(py, "sleep"))?;
    if !sleep.is_instance_of::<PyFunction>() {
        return Ok(None); // Python's own is none that Python code made
    }
    let module = sleep.getattr(intern!(py, "__module__"))?;
    let module = module.extract::<String>().unwrap_or_default();
    let package = module.split('.').next().unwrap_or_default();
    Ok(matches!(package, "gevent" | "eventlet").then_some(sleep))
}

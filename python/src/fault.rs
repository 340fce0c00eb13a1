//! Faults of this module's own: a panic becomes a `SystemError` of the call that met it, and ends nothing else.
//!
//! The feature `faults`, which no release has, lets the tests provoke one (`panic_at`).

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one use of a cached function. What is half done when it panics is ended by guards (`Lead`, `Ending`, `GilCell::with`).
pub fn contained<T>(run: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(error(&*panic)))
}

pub fn error(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    PySystemError::new_err(format!("quickcache: internal error: {text}"))
}

/// A place that panics once when a test has asked for it.
#[inline(always)]
pub fn point(_py: Python, _name: &str) {
    #[cfg(feature = "faults")]
    provoked::point(_py, _name);
}

#[cfg(feature = "faults")]
pub mod provoked {
    use crate::cell::GilCell;
    use pyo3::prelude::*;

    static NEXT: GilCell<Option<String>> = GilCell::new(None);

    /// The next thread that comes by the place panics.
    #[pyfunction]
    pub fn panic_at(py: Python, place: String) {
        NEXT.with(py, |next| *next = Some(place));
    }

    pub fn point(py: Python, name: &str) {
        NEXT.with(py, |next| {
            let here = next.as_deref() == Some(name);
            assert!(!(here && next.take().is_some()), "provoked at {name}");
        });
    }
}

//! Warnings that are said once: per function, or per function and type.

use crate::cell::GilCell;
use crate::plan::Compiled;
use crate::state::logger;
use pyo3::prelude::*;
use std::collections::HashSet;

static SAID: GilCell<Option<HashSet<String>>> = GilCell::new(None);

fn once(py: Python, message: String) -> PyResult<()> {
    if SAID.with(py, |s| s.get_or_insert_default().insert(message.clone())) {
        logger(py)?.call_method1("warning", (message,))?;
    }
    Ok(())
}

/// The value was given to the caller and not stored.
pub fn cannot_copy(py: Python, c: &Compiled, value: &Bound<PyAny>, error: &PyErr) -> PyResult<()> {
    let class = value.get_type().fully_qualified_name()?;
    once(
        py,
        format!(
            "{}: a value of type {class} cannot be copied ({}), so it is not cached; return another type, or use \
             Memory(copy=False) to share one object among all callers",
            c.name(py)?,
            error.get_type(py).name()?
        ),
    )
}

pub fn slower_than_timeout(py: Python, c: &Compiled) -> PyResult<()> {
    once(
        py,
        format!(
            "{} runs longer than the timeout of its cache, so its value is not stored; raise the timeout",
            c.name(py)?
        ),
    )
}

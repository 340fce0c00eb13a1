//! Warnings that are said once: per function, or per function and type.

use crate::cell::GilCell;
use crate::ffi;
use crate::plan::Compiled;
use crate::state::logger;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::collections::HashSet;

static SAID: GilCell<Option<HashSet<String>>> = GilCell::new(None);

/// `about` is what may be warned about once.
fn once(py: Python, about: String, message: String) -> PyResult<()> {
    if SAID.with(py, |s| s.get_or_insert_default().insert(about)) {
        let message = PyString::new(py, &message);
        ffi::method(
            logger(py)?,
            pyo3::intern!(py, "warning"),
            &[message.as_any()],
        )?;
    }
    Ok(())
}

/// The name of a function, as its prefix has it.
pub fn name_in(prefix: &str) -> &str {
    prefix.rsplit_once('.').map_or(prefix, |(name, _)| name)
}

/// The value was given to the caller and not stored, because of this error. An interrupt is no such error, and comes back.
pub fn cannot_copy(
    py: Python,
    prefix: Option<&str>,
    value: &Bound<PyAny>,
    error: PyErr,
) -> PyResult<()> {
    if !error.is_instance_of::<PyException>(py) {
        return Err(error);
    }
    let class = value.get_type().fully_qualified_name()?;
    once(
        py,
        format!("{} cannot copy {class}", prefix.unwrap_or("?")),
        format!(
            "{}: a value of type {class} cannot be copied ({}), so it is not cached; return another type, or use \
             Memory(copy=False) to share one object among all callers",
            prefix.map_or("a cached function", name_in),
            error.get_type(py).name()?
        ),
    )
}

/// The value was given to the caller and is not in the store, because of this error. An interrupt is no such error, and comes back.
pub fn cannot_encode(py: Python, c: &Compiled, value: &Bound<PyAny>, error: PyErr) -> PyResult<()> {
    if !error.is_instance_of::<PyException>(py) {
        return Err(error);
    }
    let class = value.get_type().fully_qualified_name()?;
    let prefix = c.prefix.bind(py).to_string_lossy();
    once(
        py,
        format!("{prefix} cannot encode {class}"),
        format!(
            "{}: {}, so other processes do not see it",
            c.name(py)?,
            error.value(py)
        ),
    )
}

pub fn slower_than_timeout(py: Python, c: &Compiled) -> PyResult<()> {
    once(
        py,
        format!("{} is slow", c.prefix.bind(py).to_string_lossy()),
        format!(
            "{} runs longer than the timeout of its cache, so its value is not stored; raise the timeout",
            c.name(py)?
        ),
    )
}

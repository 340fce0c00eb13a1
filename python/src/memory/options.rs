//! What `Memory` and `Store` are made with and what their `set` is told, read from Python, with the errors that say what is wrong.

use crate::ffi;
use pyo3::exceptions::{PyAttributeError, PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString};
use quickcache::tier::memory::NEVER;
use std::path::PathBuf;

/// Whose options they are.
pub const MEMORY: usize = 0;
pub const STORE: usize = 1;
pub const REDIS: usize = 2;

const fn class(of: usize) -> &'static str {
    ["Memory", "Store", "Redis"][of]
}

/// A timeout option: seconds, a timedelta, or `None` for no expiry; held in milliseconds.
pub struct Timeout<const OF: usize>(pub u64);

impl<'py, const OF: usize> FromPyObject<'_, 'py> for Timeout<OF> {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Timeout(NEVER));
        }
        let Some(seconds) = seconds(&value)? else {
            return Err(PyTypeError::new_err(format!(
                "{}: timeout must be a number of seconds, a timedelta or None, not {}",
                class(OF),
                value.get_type().name()?
            )));
        };
        if seconds.is_nan() || seconds <= 0.0 {
            return Err(PyValueError::new_err(format!(
                "{}: timeout must be more than 0 seconds, not {}; None means no expiry",
                class(OF),
                value.repr()?
            )));
        }
        Ok(Timeout(millis(seconds)))
    }
}

/// Seconds that are given as a number (an `int`, a `float`, whatever has a `__float__`) or as a timedelta.
pub fn seconds(value: &Bound<PyAny>) -> PyResult<Option<f64>> {
    if value.is_instance_of::<PyBool>() {
        return Ok(None);
    }
    if let Ok(seconds) = value.extract() {
        return Ok(Some(seconds));
    }
    if value.is_instance_of::<PyInt>() {
        // Beyond every float.
        let above = value.gt(0)?;
        return Ok(Some(if above {
            f64::INFINITY
        } else {
            f64::NEG_INFINITY
        }));
    }
    match value.call_method0("total_seconds") {
        Ok(total) => total.extract().map(Some),
        Err(_) => Ok(None),
    }
}

/// At least one millisecond, so that a short timeout is not taken for none.
pub fn millis(seconds: f64) -> u64 {
    let ms = (seconds * 1000.0).ceil();
    if ms >= (1u64 << 52) as f64 {
        NEVER
    } else {
        (ms as u64).max(1)
    }
}

/// A value in an error.
pub fn shown(value: &Bound<PyAny>) -> String {
    value
        .repr()
        .map_or_else(|_| "that".into(), |r| r.to_string())
}

/// A `set` of a value that cannot be pickled; what pickling raised is the cause. An interrupt stays as it is.
pub(super) fn cannot_copy(value: &Bound<PyAny>, error: PyErr) -> PyErr {
    let py = value.py();
    if !error.is_instance_of::<PyException>(py) {
        return error;
    }
    let class = value.get_type().fully_qualified_name();
    let text = format!(
        "Memory.set: a value of type {} cannot be copied ({}); use Memory(copy=False) to share one object among all callers",
        class.map_or_else(|_| "?".into(), |c| c.to_string()),
        error.value(py)
    );
    let better = PyTypeError::new_err(text);
    better.set_cause(py, Some(error));
    better
}

/// A bound: a positive integer, or `None` for no bound.
pub(super) struct AtMost<const BYTES: bool>(pub(super) Option<u64>);

impl<'py, const BYTES: bool> FromPyObject<'_, 'py> for AtMost<BYTES> {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(AtMost(None));
        }
        let name = if BYTES { "max_bytes" } else { "max_entries" };
        if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
            return Err(PyTypeError::new_err(format!(
                "Memory: {name} must be an integer or None, not {}",
                value.get_type().name()?
            )));
        }
        match value.extract::<i64>() {
            Ok(n) if n > 0 => Ok(AtMost(Some(n as u64))),
            // More than fits 64 bits is no bound at all.
            Err(_) if value.gt(0)? => Ok(AtMost(None)),
            _ => Err(PyValueError::new_err(format!(
                "Memory: {name} must be more than 0, not {}; None means no bound",
                value.repr()?
            ))),
        }
    }
}

/// The bound of a store: a positive integer.
pub struct MaxBytes(pub u64);

impl<'py> FromPyObject<'_, 'py> for MaxBytes {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
            return Err(PyTypeError::new_err(format!(
                "Store: max_bytes must be an integer, not {}: its values take that much of the disk",
                value.get_type().name()?
            )));
        }
        match value.extract::<i64>() {
            Ok(n) if n > 0 => Ok(MaxBytes(n as u64)),
            _ => Err(PyValueError::new_err(format!(
                "Store: max_bytes must be more than 0 and less than 2**63, not {}",
                value.repr()?
            ))),
        }
    }
}

/// The folder of a store; `None`: the user's.
pub struct Folder(pub Option<PathBuf>);

impl<'py> FromPyObject<'_, 'py> for Folder {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Folder(None));
        }
        path(&value, "Store: path").map(|folder| Folder(Some(folder)))
    }
}

/// A path, for the option that a message calls `what`.
pub fn path(value: &Bound<PyAny>, what: &str) -> PyResult<PathBuf> {
    let wrong = |type_of: &Bound<PyAny>, fix: &str| -> PyResult<PyErr> {
        Ok(PyTypeError::new_err(format!(
            "{what} must be a str, an os.PathLike of one, or None, not {}{fix}",
            type_of.get_type().name()?
        )))
    };
    let path = if value.is_instance_of::<PyString>() {
        value.to_owned()
    } else {
        match value.call_method0("__fspath__") {
            Ok(path) => path,
            Err(_) if value.is_instance_of::<PyBytes>() => {
                return Err(wrong(value, "; write os.fsdecode(path)")?);
            }
            Err(error) if error.is_instance_of::<PyAttributeError>(value.py()) => {
                return Err(wrong(value, "")?);
            }
            Err(error) => return Err(error),
        }
    };
    if path.is_instance_of::<PyBytes>() {
        return Err(wrong(&path, "; write os.fsdecode(path)")?);
    }
    let found: PathBuf = path.extract()?;
    let bytes = found.as_os_str().as_encoded_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(PyValueError::new_err(format!(
            "{what} {} names no {}; leave it out for {}",
            shown(&path),
            if what.ends_with("file") {
                "file"
            } else {
                "folder"
            },
            match what {
                "Store: path" => "this user's cache folder",
                _ => "the usual one",
            }
        )));
    }
    Ok(found)
}

/// The timeout of one `set`.
pub enum Lifetime<const OF: usize> {
    Own,
    Given(u64),
    /// Zero or less: the entry is over before it begins.
    None,
}

impl<'py, const OF: usize> FromPyObject<'_, 'py> for Lifetime<OF> {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Lifetime::Given(NEVER));
        }
        if value.as_ptr() == unsafe { ffi::Py_Ellipsis() } {
            return Ok(Lifetime::Own);
        }
        let seconds = seconds(&value)?.filter(|seconds| !seconds.is_nan());
        let seconds = seconds.ok_or_else(|| {
            PyTypeError::new_err(format!(
                "{}: timeout must be a number of seconds, a timedelta or None, not {}",
                class(OF),
                shown(&value)
            ))
        })?;
        Ok(if seconds <= 0.0 {
            Lifetime::None
        } else {
            Lifetime::Given(millis(seconds))
        })
    }
}

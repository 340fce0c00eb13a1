//! Values of Python as bytes, for tiers that leave the process: the typed codec where it takes the value, else pickle where that
//! is allowed. The bytes are told in `docs/entry.md`; what is around them is the engine's (`quickcache::entry`).
//!
//! What the typed codec gives back has the types and the values that were given, or it refuses: a subclass, which would come back
//! as its base, is not encodable. Reading runs no code of users, except what setting the fields of a registered dataclass, or having
//! one as a key of a dict or in a set, calls for.

pub mod dataclass;
mod moment;
mod reader;
mod writer;

use crate::ffi;
use crate::value;
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
pub use quickcache::codec::{PICKLE, TYPED};

/// Appends the value, and says in which codec. If it cannot be written, `bytes` is as it was.
///
/// # Errors
/// A `TypeError` that says why: for a warning. What is no `Exception`, such as an interrupt, is raised as it is.
pub fn encode(value: &Bound<PyAny>, allow_pickle: bool, bytes: &mut Vec<u8>) -> PyResult<u8> {
    let start = bytes.len();
    let Err(unfit) = writer::write(value, bytes) else {
        return Ok(TYPED);
    };
    bytes.truncate(start);
    let typed = unfit.why(value.py())?;
    let said = if allow_pickle {
        match pickle(value, bytes) {
            Ok(()) => return Ok(PICKLE),
            Err(error) => format!("{typed}; and pickle: {}", said_by(value.py(), error)?),
        }
    } else {
        typed
    };
    let class = value.get_type().fully_qualified_name()?;
    Err(PyTypeError::new_err(format!(
        "a value of type {class} cannot be stored outside the process: {said}"
    )))
}

/// The value of all of the bytes.
///
/// # Errors
/// An `Exception` if they are no value: it is a miss.
pub fn decode<'py>(
    py: Python<'py>,
    codec: u8,
    bytes: &[u8],
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyAny>> {
    match codec {
        TYPED => reader::read(py, bytes),
        PICKLE if allow_pickle => {
            let loads = value::pickle(py, "loads")?;
            ffi::function(&loads, &[PyBytes::new(py, bytes).as_any()])
        }
        _ => Err(PyValueError::new_err(format!(
            "an entry of codec {codec}, which is not read here"
        ))),
    }
}

fn pickle(value: &Bound<PyAny>, bytes: &mut Vec<u8>) -> PyResult<()> {
    let py = value.py();
    let dumps = value::pickle(py, "dumps")?;
    let pickled = ffi::function(&dumps, &[value, 5_i32.into_pyobject(py)?.as_any()])?;
    bytes.extend_from_slice(pickled.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

/// An exception as one line; raised again if it is no `Exception`.
fn said_by(py: Python, error: PyErr) -> PyResult<String> {
    if !error.is_instance_of::<PyException>(py) {
        return Err(error);
    }
    let class = error.get_type(py).name()?.to_string();
    // Its text is code of users, too.
    Ok(match error.value(py).str() {
        Ok(text) => format!("{class}: {}", text.to_string_lossy()),
        Err(_) => class,
    })
}

/// Why the typed codec does not take a value.
pub enum Unfit<'py> {
    /// It is, or holds, an object of this type.
    Type(Bound<'py, PyAny>),
    Reason(&'static str),
    /// While it was looked at.
    Raised(PyErr),
}

impl From<PyErr> for Unfit<'_> {
    fn from(error: PyErr) -> Self {
        Unfit::Raised(error)
    }
}

impl Unfit<'_> {
    fn why(self, py: Python) -> PyResult<String> {
        match self {
            Unfit::Type(class) => {
                let class = class.cast_into::<PyType>()?;
                let name = class.fully_qualified_name()?;
                let own = class.getattr("__dict__")?;
                Ok(if own.contains("__dataclass_fields__")? {
                    format!("{name} is a dataclass that is not registered: use quickcache.register")
                } else {
                    format!("{name} has no form in the typed codec")
                })
            }
            Unfit::Reason(reason) => Ok(reason.to_owned()),
            Unfit::Raised(error) => said_by(py, error),
        }
    }
}

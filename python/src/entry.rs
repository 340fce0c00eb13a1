//! The codec and whole entries as the tests of Python see them: values that are written and read without a tier.

use crate::codec;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use quickcache::entry::{Entry, Head, Key, Seal, Unwritten};

#[pyfunction]
fn encode<'py>(
    value: &Bound<'py, PyAny>,
    allow_pickle: bool,
) -> PyResult<(u8, Bound<'py, PyBytes>)> {
    let mut bytes = Vec::new();
    let codec = codec::encode(value, allow_pickle, &mut bytes)?;
    Ok((codec, PyBytes::new(value.py(), &bytes)))
}

#[pyfunction]
fn decode<'py>(
    py: Python<'py>,
    codec: u8,
    bytes: &[u8],
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyAny>> {
    codec::decode(py, codec, bytes, allow_pickle)
}

/// What a tier is sealed with: a secret, or the epoch of a store.
#[derive(FromPyObject)]
enum Sealed {
    Keyed(Vec<u8>),
    Plain(u64),
}

impl Sealed {
    fn seal(&self) -> Seal {
        match self {
            Sealed::Keyed(secret) => Seal::keyed(secret),
            Sealed::Plain(epoch) => Seal::plain(*epoch),
        }
    }
}

/// The generation, when it started, and the deadline.
type Times = (u64, u64, u64);

#[pyfunction]
fn write_entry<'py>(
    value: &Bound<'py, PyAny>,
    sealed: Sealed,
    key: Key,
    times: Times,
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let (generation, started, deadline) = times;
    let head = Head {
        generation,
        started,
        deadline,
    };
    let encode = |bytes: &mut Vec<u8>| codec::encode(value, allow_pickle, bytes);
    match sealed.seal().write(&key, head, encode) {
        Ok(bytes) => Ok(PyBytes::new(value.py(), &bytes)),
        Err(Unwritten::Codec(error)) => Err(error),
        Err(other) => Err(PyValueError::new_err(other.to_string())),
    }
}

/// The value, its codec and its times; a `ValueError` of one word if it is a miss.
#[pyfunction]
fn read_entry<'py>(
    py: Python<'py>,
    bytes: &[u8],
    sealed: Sealed,
    key: Key,
    now: u64,
    allow_pickle: bool,
) -> PyResult<(Bound<'py, PyAny>, u8, Times)> {
    let Entry {
        head,
        codec,
        payload,
    } = sealed
        .seal()
        .read(&key, now, bytes)
        .map_err(|why| PyValueError::new_err(format!("{why:?}")))?;
    let value = codec::decode(py, codec, &payload, allow_pickle)?;
    Ok((value, codec, (head.generation, head.started, head.deadline)))
}

pub fn register(m: &Bound<PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(encode, m)?)?;
    m.add_function(wrap_pyfunction!(decode, m)?)?;
    m.add_function(wrap_pyfunction!(write_entry, m)?)?;
    m.add_function(wrap_pyfunction!(read_entry, m)?)
}

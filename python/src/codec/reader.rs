//! Bytes to objects, in the typed codec. Nothing is allocated that is not paid for in bytes.

use super::{dataclass, moment};
use crate::class::{DECIMAL, SAFE_UUID, UUID};
use crate::ffi;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{
    IntoPyDict, PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyTuple,
};
use quickcache::codec::extension as ext;
use quickcache::codec::extension::DEEPEST;
use rmp::Marker;

/// The value of all of the bytes; a `ValueError`, or that of a class that is called, if they are none.
pub fn read<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader {
        py,
        rest: bytes,
        depth: 0,
        items: Vec::new(),
        dicts: 0,
        names: Vec::new(),
    };
    let value = reader.value()?;
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err(malformed())
    }
}

#[cold]
pub fn malformed() -> PyErr {
    PyValueError::new_err("these bytes are no value of the typed codec")
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    rest: &'a [u8],
    depth: u32,
    /// What has been read of sequences that are not complete: none is seen by others before it is.
    items: Vec<Bound<'py, PyAny>>,
    dicts: usize,
    /// Short keys that have been read, by a number made of their bytes.
    names: Vec<Option<(&'a [u8], Bound<'py, PyAny>)>>,
}

const PLACES: usize = 64;

impl<'a, 'py> Reader<'a, 'py> {
    #[inline]
    fn take(&mut self, count: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length of so many bytes.
    #[inline]
    fn length<const N: usize>(&mut self) -> PyResult<usize> {
        let digits = self.chunk::<N>()?;
        Ok(digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }

    #[inline]
    fn marker(&mut self) -> PyResult<Marker> {
        let [first] = self.chunk()?;
        Ok(Marker::from_u8(first))
    }

    fn value(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match self.marker()? {
            Marker::FixStr(length) => self.text(length.into()),
            Marker::Str8 => self.length::<1>().and_then(|n| self.text(n)),
            Marker::Str16 => self.length::<2>().and_then(|n| self.text(n)),
            Marker::Str32 => self.length::<4>().and_then(|n| self.text(n)),
            Marker::FixPos(number) => Ok(int(py, number)),
            Marker::FixNeg(number) => Ok(int(py, number)),
            Marker::U8 => Ok(int(py, u8::from_be_bytes(self.chunk()?))),
            Marker::U16 => Ok(int(py, u16::from_be_bytes(self.chunk()?))),
            Marker::U32 => Ok(int(py, u32::from_be_bytes(self.chunk()?))),
            Marker::U64 => Ok(int(py, u64::from_be_bytes(self.chunk()?))),
            Marker::I8 => Ok(int(py, i8::from_be_bytes(self.chunk()?))),
            Marker::I16 => Ok(int(py, i16::from_be_bytes(self.chunk()?))),
            Marker::I32 => Ok(int(py, i32::from_be_bytes(self.chunk()?))),
            Marker::I64 => Ok(int(py, i64::from_be_bytes(self.chunk()?))),
            Marker::F32 => Ok(float(py, f32::from_be_bytes(self.chunk()?).into())),
            Marker::F64 => Ok(float(py, f64::from_be_bytes(self.chunk()?))),
            Marker::Null => Ok(py.None().into_bound(py)),
            Marker::True => Ok(PyBool::new(py, true).to_owned().into_any()),
            Marker::False => Ok(PyBool::new(py, false).to_owned().into_any()),
            Marker::Bin8 => self.length::<1>().and_then(|n| self.bytes(n)),
            Marker::Bin16 => self.length::<2>().and_then(|n| self.bytes(n)),
            Marker::Bin32 => self.length::<4>().and_then(|n| self.bytes(n)),
            Marker::FixArray(count) => self.list(count.into()),
            Marker::Array16 => self.length::<2>().and_then(|n| self.list(n)),
            Marker::Array32 => self.length::<4>().and_then(|n| self.list(n)),
            Marker::FixMap(count) => self.dict(count.into()),
            Marker::Map16 => self.length::<2>().and_then(|n| self.dict(n)),
            Marker::Map32 => self.length::<4>().and_then(|n| self.dict(n)),
            Marker::FixExt1 => self.extension(1),
            Marker::FixExt2 => self.extension(2),
            Marker::FixExt4 => self.extension(4),
            Marker::FixExt8 => self.extension(8),
            Marker::FixExt16 => self.extension(16),
            Marker::Ext8 => self.length::<1>().and_then(|n| self.extension(n)),
            Marker::Ext16 => self.length::<2>().and_then(|n| self.extension(n)),
            Marker::Ext32 => self.length::<4>().and_then(|n| self.extension(n)),
            Marker::Reserved => Err(malformed()),
        }
    }

    fn text(&mut self, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let utf8 = self.take(length)?;
        // SAFETY: the bytes are there for the length of the call, which checks them.
        unsafe {
            let text = ffi::PyUnicode_FromStringAndSize(utf8.as_ptr().cast(), length as isize);
            Bound::from_owned_ptr_or_err(self.py, text)
        }
    }

    /// The key of a dict. Rows of a table have the same names: each is made once, but for those that share a place.
    fn key(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let Some(Marker::FixStr(length)) = self.rest.first().map(|first| Marker::from_u8(*first))
        else {
            return self.value();
        };
        if self.dicts < 2 {
            return self.value();
        }
        let length = usize::from(length);
        let utf8 = self.rest.get(1..=length).ok_or_else(malformed)?;
        let place = utf8.iter().fold(length, |n, byte| {
            n.wrapping_mul(31).wrapping_add(usize::from(*byte))
        }) % PLACES;
        self.names.resize(PLACES, None);
        if let Some((known, name)) = &self.names[place]
            && *known == utf8
        {
            self.rest = &self.rest[1 + length..];
            return Ok(name.clone());
        }
        let name = self.value()?;
        self.names[place] = Some((utf8, name.clone()));
        Ok(name)
    }

    fn bytes(&mut self, length: usize) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyBytes::new(self.py, self.take(length)?).into_any())
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> PyResult<T>) -> PyResult<T> {
        if self.depth == DEEPEST {
            return Err(malformed());
        }
        self.depth += 1;
        let done = inside(self);
        self.depth -= 1;
        done
    }

    /// So many values, which come to lie from the given place of `items` on. Each takes a byte at least.
    fn read_items(&mut self, count: usize) -> PyResult<usize> {
        if count > self.rest.len() {
            return Err(malformed());
        }
        let from = self.items.len();
        self.items.reserve(count);
        self.deeper(|r| {
            for _ in 0..count {
                let item = r.value()?;
                r.items.push(item);
            }
            Ok(from)
        })
    }

    fn list(&mut self, count: usize) -> PyResult<Bound<'py, PyAny>> {
        let from = self.read_items(count)?;
        Ok(PyList::new(self.py, self.items.drain(from..))?.into_any())
    }

    fn dict(&mut self, count: usize) -> PyResult<Bound<'py, PyAny>> {
        if count > self.rest.len() / 2 {
            return Err(malformed());
        }
        self.dicts += 1;
        let dict = PyDict::new(self.py);
        self.deeper(|r| {
            for _ in 0..count {
                let (key, value) = (r.key()?, r.value()?);
                dict.set_item(key, value)?;
            }
            Ok(())
        })?;
        Ok(dict.into_any())
    }

    fn extension(&mut self, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let [kind] = self.chunk()?;
        let body = self.take(length)?;
        match kind as i8 {
            ext::TUPLE => self.sequence(body, |items| Ok(PyTuple::new(py, items)?.into_any())),
            ext::SET => self.sequence(body, |items| Ok(PySet::new(py, items)?.into_any())),
            ext::FROZENSET => {
                self.sequence(body, |items| Ok(PyFrozenSet::new(py, items)?.into_any()))
            }
            ext::INT => {
                let signed = [("signed", true)].into_py_dict(py)?;
                let bytes = PyBytes::new(py, body);
                py.get_type::<PyInt>()
                    .call_method("from_bytes", (bytes, "big"), Some(&signed))
            }
            ext::DATETIME | ext::DATE | ext::TIME | ext::TIMEDELTA => {
                moment::read(py, kind as i8, body)
            }
            ext::DECIMAL => {
                let text = std::str::from_utf8(body).map_err(|_| malformed())?;
                DECIMAL.imported(py)?.call1((text,))
            }
            ext::UUID => uuid(py, body),
            ext::DATACLASS => self.dataclass(body),
            _ => Err(malformed()),
        }
    }

    /// The array that is all of the body.
    fn sequence(
        &mut self,
        body: &'a [u8],
        make: impl FnOnce(std::vec::Drain<'_, Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let behind = std::mem::replace(&mut self.rest, body);
        let count = match self.marker()? {
            Marker::FixArray(count) => count.into(),
            Marker::Array16 => self.length::<2>()?,
            Marker::Array32 => self.length::<4>()?,
            _ => return Err(malformed()),
        };
        let from = self.read_items(count)?;
        if !self.rest.is_empty() {
            return Err(malformed());
        }
        self.rest = behind;
        make(self.items.drain(from..))
    }

    fn dataclass(&mut self, body: &'a [u8]) -> PyResult<Bound<'py, PyAny>> {
        let Some((class, fields)) = dataclass::of_head(self.py, body) else {
            return Err(malformed());
        };
        let behind = std::mem::replace(&mut self.rest, fields);
        let from = self.items.len();
        self.deeper(|r| {
            for name in class.names() {
                r.rest = r.rest.strip_prefix(name).ok_or_else(malformed)?;
                let value = r.value()?;
                r.items.push(value);
            }
            Ok(())
        })?;
        if !self.rest.is_empty() {
            return Err(malformed());
        }
        self.rest = behind;
        class.make(self.py, self.items.drain(from..))
    }
}

#[inline]
fn int<'py>(
    py: Python<'py>,
    number: impl IntoPyObject<
        'py,
        Target = PyInt,
        Output = Bound<'py, PyInt>,
        Error = std::convert::Infallible,
    >,
) -> Bound<'py, PyAny> {
    match number.into_pyobject(py) {
        Ok(int) => int.into_any(),
        Err(never) => match never {},
    }
}

#[inline]
fn float(py: Python<'_>, number: f64) -> Bound<'_, PyAny> {
    PyFloat::new(py, number).into_any()
}

fn uuid<'py>(py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (number, safe) = match body.split_first_chunk() {
        Some((number, [])) => (u128::from_be_bytes(*number), None),
        Some((number, [safe])) => (u128::from_be_bytes(*number), Some(*safe as i8)),
        _ => return Err(malformed()),
    };
    let fields = [("int", number)].into_py_dict(py)?;
    if let Some(safe) = safe {
        fields.set_item("is_safe", SAFE_UUID.imported(py)?.call1((safe,))?)?;
    }
    UUID.imported(py)?.call((), Some(&fields))
}

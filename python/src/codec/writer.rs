//! Objects to bytes, in the typed codec.

use super::{Unfit, dataclass, moment};
use crate::class::{DECIMAL, SAFE_UUID, UUID};
use crate::ffi;
use crate::text::utf8;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
};
use quickcache::codec::extension::{DATACLASS, DECIMAL as DECIMAL_EXT, DEEPEST};
use quickcache::codec::extension::{FROZENSET, INT, SET, TUPLE, UUID as UUID_EXT};
use quickcache::entry::LARGEST;
use rmp::{Marker, encode};

pub type Written<'py> = Result<(), Unfit<'py>>;

/// Appends the value; what it has appended is no value if it fails.
pub fn write<'py>(value: &Bound<'py, PyAny>, bytes: &mut Vec<u8>) -> Written<'py> {
    let end = bytes.len() + LARGEST;
    let mut writer = Writer {
        bytes,
        end,
        depth: 0,
    };
    writer.value(value)
}

pub struct Writer<'b> {
    pub bytes: &'b mut Vec<u8>,
    /// It may not grow beyond: an object that is in a value many times is written many times.
    end: usize,
    depth: u32,
}

// A Vec takes every write: the results of `rmp` say nothing.
impl<'b> Writer<'b> {
    fn value<'py>(&mut self, value: &Bound<'py, PyAny>) -> Written<'py> {
        if self.bytes.len() > self.end {
            return Err(TOO_LARGE);
        }
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.text(text);
        }
        if let Ok(int) = value.cast_exact::<PyInt>() {
            return self.int(int);
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.dict(dict);
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            let count = list.len();
            self.items(count, list.iter())?;
            return if list.len() == count {
                Ok(())
            } else {
                Err(CHANGED)
            };
        }
        if let Ok(float) = value.cast_exact::<PyFloat>() {
            let _ = encode::write_f64(self.bytes, float.value());
            return Ok(());
        }
        if value.is_none() {
            self.bytes.push(Marker::Null.to_u8());
            return Ok(());
        }
        if let Ok(bool) = value.cast_exact::<PyBool>() {
            let _ = encode::write_bool(self.bytes, bool.is_true());
            return Ok(());
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            return self.extension(TUPLE, |w| w.items(tuple.len(), tuple.iter()));
        }
        self.rare(value)
    }

    fn rare<'py>(&mut self, value: &Bound<'py, PyAny>) -> Written<'py> {
        let py = value.py();
        if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            let bytes = bytes.as_bytes();
            self.room(bytes.len())?;
            let _ = encode::write_bin(self.bytes, bytes);
            return Ok(());
        }
        if value.is_exact_instance_of::<PySet>() {
            return self.extension(SET, |w| w.set(value));
        }
        if value.is_exact_instance_of::<PyFrozenSet>() {
            return self.extension(FROZENSET, |w| w.set(value));
        }
        if let Some((kind, body)) = moment::body(value)? {
            return self.short(kind, &body);
        }
        if DECIMAL.is_type_of(value)? {
            return self.short(DECIMAL_EXT, value.str()?.to_str()?.as_bytes());
        }
        if UUID.is_type_of(value)? {
            let number = value.getattr(intern!(py, "int"))?.extract::<u128>()?;
            let safe = value.getattr(intern!(py, "is_safe"))?;
            let unknown = SAFE_UUID.imported(py)?.getattr(intern!(py, "unknown"))?;
            let mut body = number.to_be_bytes().to_vec();
            if !safe.is(&unknown) {
                let safe = safe.getattr(intern!(py, "value"))?.extract::<i8>()?;
                body.push(safe as u8);
            }
            return self.short(UUID_EXT, &body);
        }
        match dataclass::of(value) {
            Some(class) => self.extension(DATACLASS, |w| {
                w.bytes.extend_from_slice(&class.head);
                w.deeper(|w| class.each_field(value, |value| w.field(value)))
            }),
            None => Err(Unfit::Type(value.get_type().into_any())),
        }
    }

    fn field<'py>(&mut self, field: dataclass::Given<'_, 'py>) -> Written<'py> {
        self.bytes.extend_from_slice(field.name);
        self.value(&field.value)
    }

    fn room<'py>(&self, length: usize) -> Written<'py> {
        if length > self.end.saturating_sub(self.bytes.len()) {
            return Err(TOO_LARGE);
        }
        Ok(())
    }

    fn text<'py>(&mut self, text: &Bound<'py, PyString>) -> Written<'py> {
        // SAFETY: an exact str that is alive, with the GIL held.
        let Ok(text) = (unsafe { utf8(text.as_ptr()) }) else {
            return Err(Unfit::Reason("it holds a str with a lone surrogate"));
        };
        self.room(text.len())?;
        let _ = encode::write_str(self.bytes, text);
        Ok(())
    }

    fn int<'py>(&mut self, int: &Bound<'py, PyInt>) -> Written<'py> {
        // SAFETY: an exact int that is alive, with the GIL held.
        if let Some(number) = unsafe { ffi::int_value(int.as_ptr()) } {
            let _ = encode::write_sint(self.bytes, number);
            return Ok(());
        }
        if let Ok(number) = int.extract::<u64>() {
            let _ = encode::write_uint(self.bytes, number);
            return Ok(());
        }
        let py = int.py();
        let bits = int.call_method0(intern!(py, "bit_length"))?;
        // With the sign.
        let length = bits.extract::<usize>()? / 8 + 1;
        self.room(length)?;
        let signed = pyo3::types::IntoPyDict::into_py_dict([("signed", true)], py)?;
        let bytes = int.call_method(intern!(py, "to_bytes"), (length, "big"), Some(&signed))?;
        let bytes = bytes.cast::<PyBytes>().map_err(PyErr::from)?;
        self.short(INT, bytes.as_bytes())
    }

    fn items<'py>(
        &mut self,
        count: usize,
        mut items: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> Written<'py> {
        self.room(count)?;
        let _ = encode::write_array_len(self.bytes, count as u32);
        self.deeper(|w| {
            let mut left = count;
            items.try_for_each(|item| {
                left = left.checked_sub(1).ok_or(CHANGED)?;
                w.value(&item)
            })?;
            if left == 0 { Ok(()) } else { Err(CHANGED) }
        })
    }

    fn set<'py>(&mut self, set: &Bound<'py, PyAny>) -> Written<'py> {
        let items = set.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        self.items(items.len(), items.into_iter())
    }

    fn dict<'py>(&mut self, dict: &Bound<'py, PyDict>) -> Written<'py> {
        let py = dict.py();
        let count = dict.len();
        self.room(2 * count)?;
        let _ = encode::write_map_len(self.bytes, count as u32);
        self.deeper(|w| {
            let (mut place, mut left) = (0, count);
            let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: the dict is alive, and what is lent is held before anything can change the dict.
            while unsafe { ffi::PyDict_Next(dict.as_ptr(), &mut place, &mut key, &mut value) } != 0
            {
                let (key, value) = unsafe {
                    (
                        Bound::from_borrowed_ptr(py, key),
                        Bound::from_borrowed_ptr(py, value),
                    )
                };
                left = left.checked_sub(1).ok_or(CHANGED)?;
                w.value(&key)?;
                w.value(&value)?;
            }
            if left == 0 { Ok(()) } else { Err(CHANGED) }
        })
    }

    fn deeper<'py>(&mut self, inside: impl FnOnce(&mut Self) -> Written<'py>) -> Written<'py> {
        if self.depth == DEEPEST {
            return Err(Unfit::Reason(
                "it is nested more than 64 deep, or holds itself",
            ));
        }
        self.depth += 1;
        let done = inside(self);
        self.depth -= 1;
        done
    }

    fn short<'py>(&mut self, kind: i8, body: &[u8]) -> Written<'py> {
        self.room(body.len())?;
        let _ = encode::write_ext_meta(self.bytes, body.len() as u32, kind);
        self.bytes.extend_from_slice(body);
        Ok(())
    }

    /// With a length of four bytes, which is known only behind the body.
    fn extension<'py>(
        &mut self,
        kind: i8,
        body: impl FnOnce(&mut Self) -> Written<'py>,
    ) -> Written<'py> {
        let at = self.bytes.len();
        self.bytes
            .extend_from_slice(&[Marker::Ext32.to_u8(), 0, 0, 0, 0, kind as u8]);
        body(self)?;
        let length = self.bytes.len() - at - 6;
        self.bytes[at + 1..at + 5].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(())
    }
}

const TOO_LARGE: Unfit<'static> = Unfit::Reason("it takes more than 64 MiB");
/// By a property of a dataclass in it.
const CHANGED: Unfit<'static> = Unfit::Reason("it changed while it was written");

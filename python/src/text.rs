//! Key values to key text, scheme `seed`, from Python objects.
//!
//! The text of plain values is made in Rust, from typed parts. Every other value is asked as the replaced library asks
//! it, by `isinstance` in the same order and by the same methods, so that subclasses, proxies and their overridden methods count.

use crate::class::UUID;
use crate::ffi::{self, PyObject};
use crate::once::Once;
use crate::part::{Part, Tag};
use crate::state::home;
use pyo3::exceptions::{PyRecursionError, PyTypeError, PyUnicodeDecodeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple};
use quickcache::key::seed;
use std::cell::Cell;

/// The part of a value that is not plain, and the object that it points to. `warn` is called for bytes that are not UTF-8, as
/// `warn(False, message)`.
pub fn part<'py>(
    v: &Bound<'py, PyAny>,
    warn: &Bound<'py, PyAny>,
) -> PyResult<(Part, Option<Bound<'py, PyAny>>)> {
    let mut text = String::new();
    let same_as = serialize(v, warn, &mut text)?;
    let (tag, object) = match same_as {
        Some(s) => (Tag::Str, s.into_any()),
        None => {
            if let Some(part) = number(&text) {
                return Ok((part, None));
            }
            (Tag::Text, PyString::new(v.py(), &text).into_any())
        }
    };
    let bits = object.as_ptr() as u64;
    Ok((Part { tag, bits }, Some(object)))
}

/// A text such as `n1`, from a subclass of int, is the same key as a plain 1.
fn number(text: &str) -> Option<Part> {
    let digits = text.strip_prefix('n')?;
    if let Ok(i) = digits.parse::<i64>()
        && i.to_string() == digits
    {
        return Some(Part {
            tag: Tag::Int,
            bits: i as u64,
        });
    }
    let f = digits.parse::<f64>().ok()?;
    let mut again = String::new();
    seed::write_float(&mut again, f);
    (again == text).then(|| Part::float(f))
}

/// The text key of these parts.
pub fn key(prefix: &str, parts: &[Part]) -> PyResult<String> {
    let mut key = seed::begin(prefix, 40 * parts.len());
    let start = key.len();
    for (i, p) in parts.iter().enumerate() {
        if i > 0 {
            key.push(',');
        }
        write_part(&mut key, *p)?;
    }
    seed::close_args_at(&mut key, start);
    Ok(key)
}

pub fn write_part(out: &mut String, p: Part) -> PyResult<()> {
    match p.tag {
        Tag::None => seed::write_none(out),
        Tag::Bool => seed::write_bool(out, p.bits != 0),
        Tag::Int => seed::write_int(out, p.bits as i64),
        Tag::Float => seed::write_float(out, f64::from_bits(p.bits)),
        // SAFETY: the part's object is alive.
        Tag::Str => seed::write_str(out, unsafe { utf8(p.bits as *mut PyObject) }?),
        Tag::Text => out.push_str(unsafe { utf8(p.bits as *mut PyObject) }?),
        Tag::Many | Tag::Empty => unreachable!("of whole keys only"),
    }
    Ok(())
}

/// The UTF-8 of an exact str; UnicodeEncodeError for a lone surrogate.
///
/// # Safety
/// `o` is an exact str that outlives the result, and the GIL is held.
pub unsafe fn utf8<'a>(o: *mut PyObject) -> PyResult<&'a str> {
    unsafe {
        let mut n = 0;
        let p = ffi::PyUnicode_AsUTF8AndSize(o, &mut n);
        if p.is_null() {
            return Err(PyErr::fetch(Python::assume_attached()));
        }
        Ok(std::str::from_utf8_unchecked(std::slice::from_raw_parts(
            p as *const u8,
            n as usize,
        )))
    }
}

/// Appends the serialisation of any value; for one that is text, returns the text instead and appends nothing.
fn serialize<'py>(
    v: &Bound<'py, PyAny>,
    warn: &Bound<'py, PyAny>,
    out: &mut String,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = v.py();
    let types = types(py)?;
    if isinstance::<PyString>(v)? {
        let bytes = v.call_method1(intern!(py, "encode"), (intern!(py, "utf-8"),))?;
        return as_text(&bytes, out);
    }
    if isinstance::<PyBytes>(v)? {
        return match v.call_method1(intern!(py, "decode"), (intern!(py, "utf-8"),)) {
            Ok(text) => {
                let bytes = text.call_method1(intern!(py, "encode"), (intern!(py, "utf-8"),))?;
                as_text(&bytes, out)
            }
            Err(e) if e.is_instance_of::<PyUnicodeDecodeError>(py) => {
                warn.call1((false, "Non-utf8 encoded string used as cache vary on"))?;
                let raw = PyBytes::new(py, &v.extract::<Vec<u8>>()?);
                seed::write_bytes(out, raw.as_bytes());
                Ok(None)
            }
            Err(e) => Err(e),
        };
    }
    if isinstance::<PyInt>(v)? || isinstance::<PyFloat>(v)? {
        // A bool has no subclasses, and is a plain part; what is left here says what it is by str().
        if v.is_instance(types.bool.bind(py))? {
            out.push('b');
            out.push_str(py.get_type::<PyInt>().call1((v,))?.str()?.to_str()?);
        } else {
            out.push('n');
            out.push_str(v.str()?.to_str()?);
        }
        return Ok(None);
    }
    if isinstance::<PyList>(v)? || isinstance::<PyTuple>(v)? {
        let joined = joined(v, warn)?;
        seed::close_list(out, &joined, 'L');
        return Ok(None);
    }
    if isinstance::<PyDict>(v)? {
        let mut items = pieces(&v.call_method0(intern!(py, "items"))?, warn)?;
        seed::close_sorted(out, &mut items, 'D');
        return Ok(None);
    }
    if isinstance::<PySet>(v)? {
        let mut items = pieces(v, warn)?;
        seed::close_sorted(out, &mut items, 'S');
        return Ok(None);
    }
    if let Some(uuid) = UUID.get(py)?
        && v.is_instance(uuid)?
    {
        out.push('U');
        out.push_str(format(v)?.to_str()?);
        return Ok(None);
    }
    if v.is_instance(types.datetime.bind(py))? {
        let when = if v.getattr(intern!(py, "tzinfo"))?.is_truthy()? {
            v.call_method1(intern!(py, "astimezone"), (&home(py)?.utc,))?
        } else {
            v.clone()
        };
        out.push_str("DT");
        out.push_str(format(&when.call_method0(intern!(py, "isoformat"))?)?.to_str()?);
        return Ok(None);
    }
    if v.is_none() {
        out.push('N');
        return Ok(None);
    }
    Err(PyValueError::new_err(format!(
        "Bad type \"{}\": {}",
        format(v.get_type().as_any())?.to_str()?,
        format(v)?.to_str()?
    )))
}

/// `isinstance(v, T)`, `__class__` of proxies included.
fn isinstance<T: pyo3::PyTypeInfo>(v: &Bound<PyAny>) -> PyResult<bool> {
    v.is_instance(v.py().get_type::<T>().as_any())
}

/// `'{}'.format(value)`.
fn format<'py>(v: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: a null format specification means an empty one.
    let text = unsafe {
        Bound::from_owned_ptr_or_err(
            v.py(),
            ffi::PyObject_Format(v.as_ptr(), std::ptr::null_mut()),
        )?
    };
    Ok(text.cast_into::<PyString>()?)
}

/// Text by its bytes: the text itself where they are UTF-8, else their hash.
fn as_text<'py>(
    bytes: &Bound<'py, PyAny>,
    out: &mut String,
) -> PyResult<Option<Bound<'py, PyString>>> {
    if bytes.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "Strings must be encoded before hashing",
        ));
    }
    let raw: Vec<u8> = pyo3::buffer::PyBuffer::<u8>::get(bytes)?.to_vec(bytes.py())?;
    match std::str::from_utf8(&raw) {
        Ok(text) => Ok(Some(PyString::new(bytes.py(), text))),
        Err(_) => {
            seed::write_bytes(out, &raw);
            Ok(None)
        }
    }
}

fn pieces(items: &Bound<PyAny>, warn: &Bound<PyAny>) -> PyResult<Vec<String>> {
    let _depth = Depth::enter(items.py())?;
    items.try_iter()?.map(|item| piece(&item?, warn)).collect()
}

fn joined(items: &Bound<PyAny>, warn: &Bound<PyAny>) -> PyResult<String> {
    Ok(pieces(items, warn)?.join(","))
}

/// The serialisation of one value inside a container.
fn piece(v: &Bound<PyAny>, warn: &Bound<PyAny>) -> PyResult<String> {
    // SAFETY: `v` is alive and the GIL is held.
    if let Some(p) = unsafe { Part::of(v.as_ptr()) } {
        let mut out = String::new();
        write_part(&mut out, p)?;
        return Ok(out);
    }
    let mut out = String::new();
    if let Some(text) = serialize(v, warn, &mut out)? {
        seed::write_str(&mut out, text.to_str()?);
    }
    Ok(out)
}

/// A self-referencing container ends in RecursionError, as in Python. CPython's own count allows more levels than our
/// stack has room for, from 3.12 on.
pub struct Depth;

const DEEPEST: u32 = 400;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

impl Depth {
    pub fn enter(py: Python) -> PyResult<Depth> {
        // SAFETY: the GIL is held; left again by `drop`.
        if unsafe { ffi::Py_EnterRecursiveCall(c" while making a cache key".as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        DEPTH.set(DEPTH.get() + 1);
        let depth = Depth;
        if DEPTH.get() > DEEPEST {
            return Err(PyRecursionError::new_err(
                "maximum recursion depth exceeded while making a cache key",
            ));
        }
        Ok(depth)
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        // SAFETY: entered by `enter`.
        unsafe { ffi::Py_LeaveRecursiveCall() }
        DEPTH.set(DEPTH.get() - 1);
    }
}

struct Types {
    bool: Py<PyAny>,
    datetime: Py<PyAny>,
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    static TYPES: Once<Types> = Once::new();
    TYPES.get_or_try_init(py, || {
        let get = |module: &str, name: &str| {
            PyResult::Ok(ffi::import(py, module)?.getattr(name)?.unbind())
        };
        Ok(Types {
            bool: get("builtins", "bool")?,
            datetime: get("datetime", "datetime")?,
        })
    })
}

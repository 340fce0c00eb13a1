//! Key values to the bytes of scheme `v1` (`docs/keys.md`), from Python objects.
//!
//! A value counts as what it is made of: one of a subclass of `str`, `int`, `dict` and so on as that type, by its contents and
//! not by what its methods say. Members of an Enum and dataclasses come before all those, since they may be subclasses of any.
//! What a key is made of never appears in a message.

use crate::class::{DATE, DATETIME, DECIMAL, ENUM, TIME, TIMEDELTA, UUID};
use crate::ffi::{self, PyObject};
use crate::part::{Part, Tag};
use crate::text::{Depth, utf8};
use pyo3::exceptions::{PyUnicodeEncodeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{
    PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};
use quickcache::key::{BigInt, Date, DateTime, Time, v1};

/// Why a value has no key.
pub enum Fault {
    /// No object of this class is a key value.
    NoForm(String),
    /// A lone surrogate.
    NoText,
    /// What Python code raised.
    Raised(PyErr),
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Fault {
        Fault::Raised(error)
    }
}

impl Fault {
    /// The error of `function`; `source` says where `value` came from.
    pub fn error(self, value: &Bound<PyAny>, function: &str, source: &str) -> PyErr {
        let fault = match self {
            Fault::Raised(error) => return error,
            Fault::NoText => {
                "is or holds text with a lone surrogate, which has no UTF-8 form; vary on \
                 text.encode('utf-8', 'surrogatepass') instead, by a vary_on function"
                    .to_owned()
            }
            Fault::NoForm(class) => {
                let verb = if class == class_of(value) {
                    "is of"
                } else {
                    "holds a value of"
                };
                format!(
                    "{verb} type {class}, which is no key value; vary on plain values of it, such as an id, by a dotted path or \
                     a vary_on function"
                )
            }
        };
        PyValueError::new_err(format!("{function}: {source} {fault}"))
    }
}

fn class_of(value: &Bound<PyAny>) -> String {
    let name = value.get_type().fully_qualified_name();
    name.map_or_else(|_| "?".into(), |name| name.to_string())
}

type Encoded = Result<(), Fault>;

/// The part of a value that is not plain, and the object that it points to.
pub fn part<'py>(v: &Bound<'py, PyAny>) -> Result<(Part, Option<Bound<'py, PyAny>>), Fault> {
    if !is_named(v)?
        && let Some(plain) = exact(v)?
        // SAFETY: `plain` is alive and the GIL is held.
        && let Some(part) = unsafe { Part::of(plain.as_ptr()) }
    {
        return Ok((part, Some(plain)));
    }
    let mut encoded = Vec::new();
    value(&mut encoded, v)?;
    let object = latin1(v.py(), &encoded)?;
    let bits = object.as_ptr() as u64;
    Ok((
        Part {
            tag: Tag::Text,
            bits,
        },
        Some(object),
    ))
}

/// Bytes as text of one character each: a part points to text.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the kind says that each character is one byte.
    unsafe {
        let kind = ffi::PyUnicode_1BYTE_KIND as _;
        let text = ffi::PyUnicode_FromKindAndData(kind, bytes.as_ptr().cast(), bytes.len() as _);
        Bound::from_owned_ptr_or_err(py, text)
    }
}

/// Appends a part that `Part::of` or `part` made.
pub fn write_part(out: &mut Vec<u8>, part: Part) -> PyResult<()> {
    match part.tag {
        Tag::None => v1::write_none(out),
        Tag::Bool => v1::write_bool(out, part.bits != 0),
        Tag::Int => v1::write_int(out, part.bits as i64),
        Tag::Float => v1::write_float(out, f64::from_bits(part.bits)),
        // SAFETY: the part's object is alive.
        Tag::Str => v1::write_str(out, unsafe { utf8(part.bits as *mut PyObject) }?),
        Tag::Text => {
            // SAFETY: the GIL is held, and the part's object is alive: an exact `str`, made by `latin1`.
            let encoded = unsafe {
                let py = Python::assume_attached();
                Bound::from_borrowed_ptr(py, part.bits as *mut PyObject).cast_into_unchecked()
            };
            let encoded: Bound<PyString> = encoded;
            match unsafe { encoded.data() }? {
                PyStringData::Ucs1(bytes) => out.extend_from_slice(bytes),
                _ => unreachable!("made of bytes"),
            }
        }
        Tag::Many | Tag::Empty => unreachable!("of whole keys only"),
    }
    Ok(())
}

/// Why text has no UTF-8.
fn no_utf8(py: Python, error: PyErr) -> Fault {
    if error.is_instance_of::<PyUnicodeEncodeError>(py) {
        Fault::NoText
    } else {
        Fault::Raised(error)
    }
}

/// Appends any value.
fn value(out: &mut Vec<u8>, v: &Bound<PyAny>) -> Encoded {
    // SAFETY: `v` is alive and the GIL is held.
    let plain = |v: &Bound<PyAny>| unsafe { Part::of(v.as_ptr()) };
    if let Some(part) = plain(v) {
        return write_part(out, part).map_err(|error| no_utf8(v.py(), error));
    }
    if named(out, v)? {
        return Ok(());
    }
    if let Some(exact) = exact(v)? {
        match plain(&exact) {
            Some(part) => write_part(out, part)?,
            None => v1::write_big_int(out, &big_int(&exact)?),
        }
        return Ok(());
    }
    if v.is_instance_of::<PyBytes>() {
        // SAFETY: `bytes`, or a subclass.
        let bytes = unsafe { v.cast_unchecked::<PyBytes>() };
        v1::write_bytes(out, bytes.as_bytes());
        return Ok(());
    }
    if holds(out, v)? || standard(out, v)? {
        return Ok(());
    }
    Err(Fault::NoForm(class_of(v)))
}

/// The exact `str`, `int` or `float` that one of a subclass stands for; an `int` that is too large for a part, too.
fn exact<'py>(v: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>, Fault> {
    let py = v.py();
    if v.is_instance_of::<PyString>() {
        // SAFETY: `str`, or a subclass; `v` outlives the text.
        let text = unsafe { utf8(v.as_ptr()) }.map_err(|error| no_utf8(py, error))?;
        return Ok(Some(PyString::new(py, text).into_any()));
    }
    if v.is_exact_instance_of::<PyInt>() {
        return Ok(Some(v.clone()));
    }
    if v.is_instance_of::<PyInt>() {
        let int = py.get_type::<PyInt>();
        return Ok(Some(int.call_method1(intern!(py, "__int__"), (v,))?));
    }
    if v.is_instance_of::<PyFloat>() {
        // SAFETY: `float`, or a subclass.
        let number = unsafe { ffi::PyFloat_AS_DOUBLE(v.as_ptr()) };
        return Ok(Some(PyFloat::new(py, number).into_any()));
    }
    Ok(None)
}

/// An exact `int` as decimal text, of any length: where `str` of it refuses, `Decimal` does not.
fn big_int(v: &Bound<PyAny>) -> Result<BigInt<'static>, Fault> {
    let text = v.str().or_else(|_| {
        let decimal = ffi::import(v.py(), "decimal")?.getattr("Decimal")?;
        decimal.call1((v,))?.str()
    })?;
    let text = text.to_str()?.to_owned();
    BigInt::new(text)
        .ok_or_else(|| PyValueError::new_err("an int is not written in decimal digits").into())
}

fn is_named(v: &Bound<PyAny>) -> PyResult<bool> {
    Ok(!is_builtin(v) && (is_dataclass(v) || ENUM.of(v)?.is_some()))
}

/// Of one of the commonest types itself, and so of none that has a name.
fn is_builtin(v: &Bound<PyAny>) -> bool {
    v.is_exact_instance_of::<PyTuple>()
        || v.is_exact_instance_of::<PyList>()
        || v.is_exact_instance_of::<PyDict>()
        || v.is_exact_instance_of::<PyBytes>()
        || v.is_exact_instance_of::<PySet>()
        || v.is_exact_instance_of::<PyFrozenSet>()
        || v.is_exact_instance_of::<PyInt>()
}

/// Whether a dataclass is a value of another type as well.
fn is_value(v: &Bound<PyAny>) -> PyResult<bool> {
    Ok(v.is_instance_of::<PyString>()
        || v.is_instance_of::<PyInt>()
        || v.is_instance_of::<PyFloat>()
        || v.is_instance_of::<PyBytes>()
        || v.is_instance_of::<PyList>()
        || v.is_instance_of::<PyTuple>()
        || v.is_instance_of::<PyDict>()
        || v.is_instance_of::<PySet>()
        || v.is_instance_of::<PyFrozenSet>()
        || standard(&mut Vec::new(), v)?)
}

/// Asked of the class only: an object may make up attributes. Runs no Python code.
fn is_dataclass(v: &Bound<PyAny>) -> bool {
    let name = intern!(v.py(), "__dataclass_fields__");
    // SAFETY: the GIL is held, and the class of a live object is alive.
    unsafe { !ffi::_PyType_Lookup(v.get_type().as_ptr().cast(), name.as_ptr()).is_null() }
}

/// Appends a member of an Enum or a dataclass; false, and nothing is appended, for anything else.
fn named(out: &mut Vec<u8>, v: &Bound<PyAny>) -> Result<bool, Fault> {
    let py = v.py();
    if is_builtin(v) {
        return Ok(false);
    }
    let class = v.get_type();
    if ENUM.of(v)?.is_some() {
        member(out, v, &class)?;
        return Ok(true);
    }
    if !is_dataclass(v) {
        return Ok(false);
    }
    // Its fields would be told without the text, say, that it is too.
    if is_value(v)? {
        return Err(Fault::NoForm(class_of(v)));
    }
    let _depth = Depth::enter(py)?;
    let fields = ffi::import(py, "dataclasses")?.call_method1(intern!(py, "fields"), (v,))?;
    let fields = fields
        .try_iter()?
        .map(|field| v.getattr(field?.getattr(intern!(py, "name"))?.cast::<PyString>()?))
        .collect::<PyResult<Vec<_>>>()?;
    v1::open_named(out, class.name()?.to_str()?, "", fields.len());
    fields.iter().try_for_each(|field| value(out, field))?;
    Ok(true)
}

/// A member by its name. A combination of flags has no name that all versions of Python agree on: it is its number.
fn member(out: &mut Vec<u8>, v: &Bound<PyAny>, class: &Bound<PyType>) -> Encoded {
    let py = v.py();
    let type_name = class.name()?;
    let name = v.getattr(intern!(py, "_name_"))?;
    if class
        .getattr(intern!(py, "_member_map_"))?
        .contains(&name)?
    {
        v1::open_named(
            out,
            type_name.to_str()?,
            name.cast::<PyString>().map_err(PyErr::from)?.to_str()?,
            0,
        );
        return Ok(());
    }
    let _depth = Depth::enter(py)?;
    v1::open_named(out, type_name.to_str()?, "", 1);
    value(out, &v.getattr(intern!(py, "_value_"))?)
}

/// Appends a container, as it is at one moment; false, and nothing is appended, for anything else.
fn holds(out: &mut Vec<u8>, v: &Bound<PyAny>) -> Result<bool, Fault> {
    if let Ok(list) = v.cast::<PyList>() {
        let items = list.to_tuple();
        v1::open_list(out, items.len());
        each(out, &items)?;
    } else if let Ok(items) = v.cast::<PyTuple>() {
        v1::open_tuple(out, items.len());
        each(out, items)?;
    } else if let Ok(dict) = v.cast::<PyDict>() {
        let mut entries = encoded(&dict.items().to_tuple(), |out, item| {
            each(out, item.cast::<PyTuple>().map_err(PyErr::from)?)
        })?;
        v1::write_dict(out, &mut entries);
    } else if v.is_instance_of::<PySet>() {
        v1::write_set(out, &mut encoded(&elements(v)?, value)?);
    } else if v.is_instance_of::<PyFrozenSet>() {
        v1::write_frozenset(out, &mut encoded(&elements(v)?, value)?);
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn each(out: &mut Vec<u8>, items: &Bound<PyTuple>) -> Encoded {
    let _depth = Depth::enter(items.py())?;
    items.iter().try_for_each(|item| value(out, &item))
}

/// The elements of a set or frozenset.
fn elements<'py>(set: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    // An exact one first: a subclass may iterate over anything.
    let exact = set.py().get_type::<PyFrozenSet>().call1((set,))?;
    exact
        .try_iter()?
        .collect::<PyResult<Vec<_>>>()
        .and_then(|all| PyTuple::new(set.py(), all))
}

/// The encodings of items, each by itself.
fn encoded(
    items: &Bound<PyTuple>,
    write: impl Fn(&mut Vec<u8>, &Bound<PyAny>) -> Encoded,
) -> Result<Vec<Vec<u8>>, Fault> {
    let _depth = Depth::enter(items.py())?;
    let one = |item: Bound<PyAny>| {
        let mut out = Vec::new();
        write(&mut out, &item)?;
        Ok(out)
    };
    items.iter().map(one).collect()
}

/// Appends a value of a class of the standard library; false, and nothing is appended, for anything else.
fn standard(out: &mut Vec<u8>, v: &Bound<PyAny>) -> PyResult<bool> {
    let py = v.py();
    if UUID.of(v)?.is_some() {
        v1::write_uuid(out, &v.getattr(intern!(py, "bytes"))?.extract()?);
    } else if DATETIME.of(v)?.is_some() {
        // A datetime is a date, too.
        v1::write_datetime(out, moment(v)?);
    } else if DATE.of(v)?.is_some() {
        v1::write_date(out, Date::from_days(days(v)?));
    } else if TIME.of(v)?.is_some() {
        let time = Time::from_nanos(nanos_of_day(v)?);
        let offset = offset(v)?;
        v1::write_time(out, offset.map_or(time, |micros| time.at_offset(micros)));
    } else if TIMEDELTA.of(v)?.is_some() {
        v1::write_timedelta(
            out,
            1000 * micros(v)? + i128::from(extra(v, "nanoseconds")?),
        );
    } else if let Some(decimal) = DECIMAL.of(v)? {
        let text = decimal.call_method1(intern!(py, "__str__"), (v,))?;
        // The context of the thread may want a small e.
        v1::write_decimal(out, &text.cast::<PyString>()?.to_str()?.replace('e', "E"));
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn moment(v: &Bound<PyAny>) -> PyResult<DateTime> {
    const DAY: i128 = 86_400_000_000_000;
    let nanos = i128::from(days(v)?) * DAY + i128::from(nanos_of_day(v)?);
    let local = DateTime::from_local_nanos(nanos);
    Ok(offset(v)?.map_or(local, |micros| local.at_offset(micros)))
}

/// Days after 1970-01-01.
fn days(v: &Bound<PyAny>) -> PyResult<i64> {
    const EPOCH: i64 = 719_163;
    Ok(v.call_method0(intern!(v.py(), "toordinal"))?
        .extract::<i64>()?
        - EPOCH)
}

fn nanos_of_day(v: &Bound<PyAny>) -> PyResult<u64> {
    let field = |name: &str| v.getattr(name)?.extract::<u64>();
    let seconds = (field("hour")? * 60 + field("minute")?) * 60 + field("second")?;
    Ok((seconds * 1_000_000 + field("microsecond")?) * 1000 + extra(v, "nanosecond")?)
}

/// Nanoseconds beyond the last whole microsecond, which subclasses elsewhere (pandas) know.
fn extra(v: &Bound<PyAny>, name: &str) -> PyResult<u64> {
    v.getattr_opt(name)?.map_or(Ok(0), |nanos| nanos.extract())
}

/// Microseconds ahead of UTC; `None`: it has no time zone, or one that does not say.
fn offset(v: &Bound<PyAny>) -> PyResult<Option<i64>> {
    let offset = v.call_method0(intern!(v.py(), "utcoffset"))?;
    if offset.is_none() {
        return Ok(None);
    }
    // Less than a day.
    Ok(Some(micros(&offset)? as i64))
}

/// A timedelta in microseconds.
fn micros(v: &Bound<PyAny>) -> PyResult<i128> {
    let field = |name: &str| v.getattr(name)?.extract::<i64>().map(i128::from);
    Ok((field("days")? * 86_400 + field("seconds")?) * 1_000_000 + field("microseconds")?)
}

//! The dataclasses that are registered as values of the typed codec, and how their objects are taken apart and made.

use super::Unfit;
use crate::cell::GilCell;
use crate::class::{CACHED_PROPERTY, ENUM};
use crate::ffi;
use crate::tier::said_more;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString, PyType};
use rmp::{Marker, encode};
use std::collections::HashMap;
use std::sync::Arc;

pub struct Dataclass {
    class: Py<PyType>,
    name: String,
    /// Its name, and how many fields it has, as they are written.
    pub head: Vec<u8>,
    fields: Vec<Field>,
    /// What an object may have in its `__dict__` besides: results of its cached properties, which are not stored.
    known: Py<PySet>,
}

struct Field {
    name: Py<PyString>,
    /// As it is written.
    written: Vec<u8>,
}

/// One field of an object.
pub struct Given<'a, 'py> {
    pub name: &'a [u8],
    pub value: Bound<'py, PyAny>,
}

#[derive(Default)]
struct Registry {
    /// By the address of the class, which it keeps alive.
    by_class: HashMap<usize, Arc<Dataclass>>,
    by_name: HashMap<String, Arc<Dataclass>>,
}

static REGISTRY: GilCell<Option<Registry>> = GilCell::new(None);

/// The class of an object, and of no subclass, if it is registered.
pub fn of(value: &Bound<PyAny>) -> Option<Arc<Dataclass>> {
    let class = value.get_type_ptr() as usize;
    REGISTRY.with(value.py(), |r| r.as_ref()?.by_class.get(&class).cloned())
}

/// The class that a body begins with, and the rest of the body.
pub fn of_head<'a>(py: Python, body: &'a [u8]) -> Option<(Arc<Dataclass>, &'a [u8])> {
    let (length, text) = match (Marker::from_u8(*body.first()?), body) {
        (Marker::FixStr(length), [_, text @ ..]) => (usize::from(length), text),
        (Marker::Str8, [_, length, text @ ..]) => (usize::from(*length), text),
        (Marker::Str16, [_, high, low, text @ ..]) => {
            (usize::from(u16::from_be_bytes([*high, *low])), text)
        }
        _ => return None,
    };
    let name = std::str::from_utf8(text.get(..length)?).ok()?;
    let class = REGISTRY.with(py, |r| r.as_ref()?.by_name.get(name).cloned())?;
    // Of another number of fields, of another form: another class.
    let fields = body.strip_prefix(&class.head[..])?;
    Some((class, fields))
}

impl Dataclass {
    /// The names of the fields, as they are written.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|field| &*field.written)
    }

    /// The fields of an object, in the order of the class.
    pub fn each_field<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        mut each: impl FnMut(Given<'_, 'py>) -> Result<(), Unfit<'py>>,
    ) -> Result<(), Unfit<'py>> {
        let py = object.py();
        if let Some(own) = object.getattr_opt(intern!(py, "__dict__"))? {
            let own = own.cast_into::<PyDict>().map_err(PyErr::from)?;
            let known = self.known.bind(py);
            for name in own.keys() {
                if !known.contains(name)? {
                    return Err(Unfit::Reason(
                        "it holds a dataclass with attributes that are no fields",
                    ));
                }
            }
        }
        self.fields.iter().try_for_each(|field| {
            each(Given {
                name: &field.written,
                value: object.getattr(field.name.bind(py))?,
            })
        })
    }

    /// An object with these fields. As copying and pickling do, this leaves out `__init__` and what it calls; and fields are set
    /// past `__setattr__`, which refuses that on a frozen class.
    pub fn make<'py>(
        &self,
        py: Python<'py>,
        values: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let object = new_object(self.class.bind(py))?;
        for (field, value) in self.fields.iter().zip(values) {
            // SAFETY: all three are alive, and the GIL is held.
            let set = unsafe {
                ffi::PyObject_GenericSetAttr(object.as_ptr(), field.name.as_ptr(), value.as_ptr())
            };
            if set != 0 {
                return Err(PyErr::fetch(py));
            }
        }
        Ok(object)
    }
}

/// `object.__new__(class)`.
fn new_object<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    py.get_type::<PyAny>()
        .call_method1(intern!(py, "__new__"), (class,))
}

/// Lets objects of a dataclass be stored outside the process without pickle: register(cls, name=None), or @register above
/// @dataclass. It returns the class.
///
/// Use it for the dataclasses that your cached functions return. Each field must itself be of a type that can be stored. An object
/// comes back with its fields set one by one, as copying does: __init__, __post_init__, __setattr__ and __setstate__ are not called.
/// Entries name the class by its module and qualified name, or by `name`: give one to move the class elsewhere and keep them, or to
/// share them with another program. With other fields, or in another order, stored values are misses.
///
/// TypeError if it is not a dataclass, or its objects would not come back as they were: an Enum, an abstract class, a subclass of a
/// built-in type, a slot that is no field. ValueError if another class has the name.
#[pyfunction]
#[pyo3(signature = (cls, /, name = None))]
pub fn register<'py>(
    py: Python<'py>,
    cls: Bound<'py, PyAny>,
    name: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = dataclass_of(&cls)?;
    let own_name = class.fully_qualified_name()?.to_string();
    let name = match name {
        None => own_name.clone(),
        Some(name) => name_in_entries(&name, &own_name)?,
    };
    let registered = Arc::new(described(&class, &own_name, name)?);
    let name = &registered.name;
    let taken = REGISTRY.with(py, |r| r.as_ref()?.by_name.get(name).cloned());
    if let Some(taken) = taken {
        let other = taken.class.bind(py);
        let other_name = other.fully_qualified_name()?.to_string();
        // A class of a module that was loaded anew takes the place of the old one.
        if !other.is(&class) && other_name != own_name {
            return Err(PyValueError::new_err(format!(
                "register({own_name}): the name {name} is that of {other_name} already; give another: register(cls, name=...)"
            )));
        }
    }
    let replaced = REGISTRY.with(py, |r| {
        let registry = r.get_or_insert_default();
        let address = class.as_ptr() as usize;
        let by_class = registry.by_class.insert(address, registered.clone());
        if let Some(before) = &by_class {
            registry.by_name.remove(&before.name);
        }
        let by_name = registry
            .by_name
            .insert(registered.name.clone(), registered.clone());
        if let Some(before) = &by_name {
            registry.by_class.remove(&(before.class.as_ptr() as usize));
        }
        (by_class, by_name)
    });
    drop(replaced); // The end of a class runs code.
    Ok(cls)
}

fn dataclass_of<'py>(cls: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyType>> {
    let py = cls.py();
    let class = cls.cast::<PyType>().ok();
    let own = class
        .map(|class| class.getattr(intern!(py, "__dict__")))
        .transpose()?;
    match (class, own) {
        (Some(class), Some(own)) if own.contains(intern!(py, "__dataclass_fields__"))? => {
            Ok(class.clone())
        }
        _ => Err(PyTypeError::new_err(format!(
            "register: {} is not a dataclass; decorate it with @dataclass first, and each subclass too",
            cls.repr()?.to_string_lossy()
        ))),
    }
}

fn name_in_entries(name: &Bound<PyAny>, class: &str) -> PyResult<String> {
    let wrong = |what: String| {
        PyTypeError::new_err(format!(
            "register({class}, name={what}): a name is text of 1 to 255 bytes"
        ))
    };
    let given = name
        .cast::<PyString>()
        .ok()
        .and_then(|name| name.to_str().ok());
    match given {
        Some(text) if (1..256).contains(&text.len()) => Ok(text.to_owned()),
        _ => Err(wrong(name.repr()?.to_string_lossy().into_owned())),
    }
}

/// # Errors
/// If an object of the class would not come back as it was.
fn described(class: &Bound<PyType>, own_name: &str, name: String) -> PyResult<Dataclass> {
    let py = class.py();
    let unfit = |why: &str| PyTypeError::new_err(format!("register({own_name}): {why}"));
    if let Some(enums) = ENUM.get(py)?
        && class.is_subclass(enums)?
    {
        return Err(unfit(
            "members of an Enum are single objects; return their values instead",
        ));
    }
    if let Err(error) = new_object(class) {
        let why = "its objects cannot be made by object.__new__; it must not be abstract, nor a subclass of a built-in type";
        return Err(said_more(
            py,
            error,
            &format!("register({own_name}): {why}"),
        ));
    }
    let names = ffi::import(py, "dataclasses")?
        .call_method1("fields", (class,))?
        .try_iter()?
        .map(|field| {
            field?
                .getattr("name")?
                .cast_into::<PyString>()
                .map_err(PyErr::from)
        })
        .collect::<PyResult<Vec<_>>>()?;
    let known = PySet::new(py, &names)?;
    for slot in ffi::import(py, "copyreg")?
        .call_method1("_slotnames", (class,))?
        .try_iter()?
    {
        let slot = slot?;
        if !known.contains(&slot)? {
            return Err(unfit(&format!(
                "its slot {slot} is no field; make it one, or leave it out"
            )));
        }
    }
    if let Some(cached_property) = CACHED_PROPERTY.get(py)? {
        for base in class.mro() {
            let own = base.getattr("__dict__")?.call_method0("items")?;
            for item in own.try_iter()? {
                let (name, value) = item?.extract::<(Bound<PyAny>, Bound<PyAny>)>()?;
                if value.get_type().is(cached_property) {
                    known.add(name)?;
                }
            }
        }
    }
    // A Vec takes every write.
    let mut head = Vec::new();
    let _ = encode::write_str(&mut head, &name);
    let _ = encode::write_map_len(&mut head, names.len() as u32);
    let fields = names
        .into_iter()
        .map(|name| {
            let mut written = Vec::new();
            let _ = encode::write_str(&mut written, name.to_str()?);
            let name = name.unbind();
            Ok(Field { name, written })
        })
        .collect::<PyResult<_>>()?;
    Ok(Dataclass {
        class: class.clone().unbind(),
        name,
        head,
        fields,
        known: known.unbind(),
    })
}

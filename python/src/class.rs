//! Classes of the standard library, for whoever meets an object of one: importing them would cost those who use none.

use crate::ffi::{self, PyTypeObject};
use crate::once::Once;
use pyo3::prelude::*;

/// A class that nobody has an object of who has not imported its module.
pub struct Class {
    module: &'static str,
    name: &'static str,
    found: Once<Py<PyAny>>,
}

pub static ENUM: Class = Class::new("enum", "Enum");
pub static UUID: Class = Class::new("uuid", "UUID");
pub static SAFE_UUID: Class = Class::new("uuid", "SafeUUID");
pub static DECIMAL: Class = Class::new("decimal", "Decimal");
pub static DATETIME: Class = Class::new("datetime", "datetime");
pub static DATE: Class = Class::new("datetime", "date");
pub static TIME: Class = Class::new("datetime", "time");
pub static TIMEDELTA: Class = Class::new("datetime", "timedelta");
pub static ZONE: Class = Class::new("zoneinfo", "ZoneInfo");
pub static CACHED_PROPERTY: Class = Class::new("functools", "cached_property");

impl Class {
    const fn new(module: &'static str, name: &'static str) -> Class {
        Class {
            module,
            name,
            found: Once::new(),
        }
    }

    /// The class; `None` as long as its module has not been imported.
    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<Option<&Bound<'py, PyAny>>> {
        if self.found.get(py).is_none() {
            let modules = ffi::import(py, "sys")?.getattr("modules")?;
            let Ok(module) = modules.get_item(self.module) else {
                return Ok(None);
            };
            // A module that is being imported may not have it yet.
            let Some(class) = module.getattr_opt(self.name)? else {
                return Ok(None);
            };
            self.found.set(py, class.unbind());
        }
        Ok(self.found.get(py).map(|class| class.bind(py)))
    }

    /// The class, if this is an object of it or of a subclass: by its type, whatever its `__class__` says.
    pub fn of<'py>(&self, v: &Bound<'py, PyAny>) -> PyResult<Option<&Bound<'py, PyAny>>> {
        let Some(class) = self.get(v.py())? else {
            return Ok(None);
        };
        // SAFETY: what `found` holds is a class; the GIL is held. Runs no Python code.
        let is =
            unsafe { ffi::PyObject_TypeCheck(v.as_ptr(), class.as_ptr() as *mut PyTypeObject) };
        Ok((is != 0).then_some(class))
    }

    /// The class, whose module is imported for it.
    pub fn imported<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let class = self.found.get_or_try_init(py, || {
            PyResult::Ok(ffi::import(py, self.module)?.getattr(self.name)?.unbind())
        })?;
        Ok(class.bind(py))
    }

    /// Whether this is the type of an object, and not of a subclass.
    pub fn is_type_of(&self, value: &Bound<PyAny>) -> PyResult<bool> {
        let class = self.get(value.py())?;
        Ok(class.is_some_and(|class| value.get_type().is(class)))
    }
}

//! Classes of the standard library that a program need not have imported. Nobody has an object of one who has not.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

pub struct Class {
    module: &'static str,
    name: &'static str,
    class: PyOnceLock<Py<PyAny>>,
}

pub static DECIMAL: Class = Class::new("decimal", "Decimal");
pub static UUID: Class = Class::new("uuid", "UUID");
pub static SAFE_UUID: Class = Class::new("uuid", "SafeUUID");
pub static ZONE: Class = Class::new("zoneinfo", "ZoneInfo");
pub static ENUM: Class = Class::new("enum", "Enum");
pub static CACHED_PROPERTY: Class = Class::new("functools", "cached_property");

impl Class {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Class {
            module,
            name,
            class: PyOnceLock::new(),
        }
    }

    /// If its module has been imported.
    pub fn loaded<'py>(&self, py: Python<'py>) -> PyResult<Option<&Bound<'py, PyAny>>> {
        if self.class.get(py).is_none() {
            let modules = py.import("sys")?.getattr("modules")?;
            let Ok(module) = modules.get_item(self.module) else {
                return Ok(None);
            };
            let _ = self.class.set(py, module.getattr(self.name)?.unbind());
        }
        Ok(self.class.get(py).map(|class| class.bind(py)))
    }

    pub fn imported<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let class = self.class.get_or_try_init(py, || {
            PyResult::Ok(py.import(self.module)?.getattr(self.name)?.unbind())
        })?;
        Ok(class.bind(py))
    }

    /// Whether this is the type of an object, and not of a subclass.
    pub fn is_type_of(&self, value: &Bound<PyAny>) -> PyResult<bool> {
        let class = self.loaded(value.py())?;
        Ok(class.is_some_and(|class| value.get_type().is(class)))
    }
}

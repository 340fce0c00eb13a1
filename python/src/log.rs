//! What the engine logs goes to Python's logger `quickcache`.

use crate::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

struct ToPython;

impl ::log::Log for ToPython {
    fn enabled(&self, metadata: &::log::Metadata) -> bool {
        metadata.level() <= ::log::Level::Warn
    }

    fn log(&self, record: &::log::Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        // Not while the interpreter ends: a thread of the engine may be the last to say something.
        Python::try_attach(|py| {
            if let Err(error) = warn(py, &message) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn flush(&self) {}
}

/// By calls that stop a thread whose interpreter ends meanwhile: to import `logging` takes long, and handlers write to files.
fn warn(py: Python, message: &str) -> PyResult<()> {
    let module = ffi::import(py, "quickcache.logger")?;
    let message = PyString::new(py, message);
    ffi::method(&module, intern!(py, "_warn"), &[&message]).map(|_| ())
}

/// The engine is linked into this module alone, so nobody else can have set its logger but an import before this one.
pub fn install() {
    if ::log::set_logger(&ToPython).is_ok() {
        ::log::set_max_level(::log::LevelFilter::Warn);
    }
}

//! What the engine logs goes to Python's logger `quickcache`.

use crate::state::logger;
use pyo3::prelude::*;

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
            let said = logger(py).and_then(|logger| logger.call_method1("warning", (message,)));
            if let Err(error) = said {
                error.write_unraisable(py, None);
            }
        });
    }

    fn flush(&self) {}
}

/// The engine is linked into this module alone, so nobody else can have set its logger but an import before this one.
pub fn install() {
    if ::log::set_logger(&ToPython).is_ok() {
        ::log::set_max_level(::log::LevelFilter::Warn);
    }
}

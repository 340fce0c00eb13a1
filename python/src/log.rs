//! What the engine logs goes to Python's logger `quickcache`.

use crate::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
        let Some(_saying) = Saying::begin() else {
            return;
        };
        Python::try_attach(|py| {
            if let Err(error) = warn(py, &message) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn flush(&self) {}
}

/// How many threads say something, and whether the interpreter is about to end.
static SAYING: AtomicUsize = AtomicUsize::new(0);
const ENDING: usize = 1 << (usize::BITS - 1);

/// How long the end waits for them: a handler may hang.
const LONGEST: Duration = Duration::from_secs(1);

struct Saying;

impl Saying {
    /// Not any more when the interpreter is about to end: CPython 3.11 was seen to pull the ground from under a thread of the engine that
    /// was importing `logging` then.
    fn begin() -> Option<Saying> {
        let before = SAYING.fetch_add(1, Ordering::SeqCst);
        let saying = Saying;
        (before & ENDING == 0).then_some(saying)
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        // In a child that was forked by what it said it is counted no more.
        let _none = SAYING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |saying| {
            (saying & !ENDING != 0).then(|| saying - 1)
        });
    }
}

/// For `atexit`: waits until what is being said has been said, and lets nobody begin.
#[pyfunction]
pub fn at_exit(py: Python) {
    SAYING.fetch_or(ENDING, Ordering::SeqCst);
    let end = Instant::now() + LONGEST;
    py.detach(|| {
        while SAYING.load(Ordering::SeqCst) != ENDING && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// In the child of a fork those who were saying something are not there.
pub fn after_fork_in_child() {
    SAYING.store(0, Ordering::SeqCst);
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

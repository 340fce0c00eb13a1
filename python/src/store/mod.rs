//! `Store`, the machine's store as Python has it: a tier of cached functions (`at`), and an ordinary cache for whoever has a text key.

mod at;
mod cache;

pub use at::{At, Found, Standing, function_name, store_key};

use crate::clock;
use crate::memory::Memory;
use crate::once::Once;
use pyo3::prelude::*;
use quickcache::tier::store::{Shared, Unstored};
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// A cache in a folder that all processes of this machine and user share, with no server.
///
/// Put it behind a `Memory`: `TieredCache([Memory(timeout=10), Store(timeout=300)])`. A clear in one process is seen by all of them at
/// once, their memory tiers included. `path` is a folder on a local file system, made with mode 0700; by default it is this user's
/// cache folder (`~/.cache/quickcache`). `timeout` is in seconds, or a timedelta (`None`: no expiry). `max_bytes` bounds its values; where
/// processes disagree the last one to start is right. Values are stored typed, else pickled.
///
/// What goes wrong with its files is never raised: it is logged once, counted in `stats()`, and mended as soon as it can be. As long as
/// the folder cannot be used its functions run uncached.
#[pyclass(frozen, module = "quickcache", immutable_type, weakref)]
pub struct Store {
    pub(crate) shared: &'static Shared,
    /// Milliseconds; `NEVER` for no expiry.
    pub(crate) timeout: u64,
    /// Not 0: keys of its own beside those of the store, for a test that wants it new.
    pub(crate) beside: u64,
    /// Values that could not be read or written.
    rejected: Cell<u64>,
    unstored: Cell<u64>,
    /// The memory tier of functions that have no other: it holds nothing.
    nothing: Once<Py<Memory>>,
}

// SAFETY: the cells are touched with the GIL held only.
unsafe impl Sync for Store {}

/// Milliseconds of the clock that all processes of the machine have in common.
fn now() -> u64 {
    clock::fake().unwrap_or_else(quickcache::clock::boot)
}

/// The stores in which something was stored under a fake clock.
static FAKED: Mutex<Vec<&'static Shared>> = Mutex::new(Vec::new());

/// Something is stored, by what time it may be now. (Beside the store, in an isolated block, nobody finds it afterwards.)
fn stored(shared: &'static Shared, beside: u64) {
    if beside == 0 && clock::fake().is_some() {
        let mut faked = FAKED.lock().unwrap_or_else(PoisonError::into_inner);
        if !faked.iter().any(|known| std::ptr::eq(*known, shared)) {
            faked.push(shared);
        }
    }
}

/// A fake clock has ended. If it was `ahead`, what was stored by it would live too long: those stores are emptied.
pub fn end_fake_clock(ahead: bool) {
    let faked = std::mem::take(&mut *FAKED.lock().unwrap_or_else(PoisonError::into_inner));
    for shared in faked {
        if ahead && let Some(opened) = shared.open() {
            opened.clear_everything();
        }
    }
}

impl Store {
    fn reject(&self) {
        self.rejected.set(self.rejected.get() + 1);
    }

    fn unstored(&self, why: &Unstored) {
        self.unstored.set(self.unstored.get() + 1);
        self.shared.unstored(why);
    }

    /// A memory tier that holds nothing.
    pub fn nothing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Memory>> {
        let nothing = self
            .nothing
            .get_or_try_init(py, || Py::new(py, Memory::of_nothing()))?;
        Ok(nothing.bind(py).clone())
    }
}

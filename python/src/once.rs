//! What is made once, by code that may run any other code: an import, for one.

use pyo3::Python;
use pyo3::sync::PyOnceLock;

/// A value that is made when it is first asked for. Nothing is held while it is made: an import runs Python code, which may come to ask
/// for the same value (a signal's handler, a finalizer, an import hook), let other threads in, or fork. What is made first stays.
pub struct Once<T>(PyOnceLock<T>);

impl<T> Once<T> {
    pub const fn new() -> Self {
        Once(PyOnceLock::new())
    }

    #[inline]
    pub fn get(&self, py: Python<'_>) -> Option<&T> {
        self.0.get(py)
    }

    #[inline]
    pub fn get_or_try_init<E>(
        &self,
        py: Python<'_>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        if let Some(made) = self.get(py) {
            return Ok(made);
        }
        self.set(py, make()?);
        Ok(self.get(py).expect("it was set, by us or before"))
    }

    /// Unless there is one.
    pub fn set(&self, py: Python<'_>, value: T) {
        // Dropped when this returns: that may run code, too.
        let _another = self.0.set(py, value);
    }
}

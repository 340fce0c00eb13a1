//! `Memory` as Python sees it: an ordinary cache.

use super::options::{AtMost, Lifetime, MEMORY, Timeout, cannot_copy, shown};
use super::{Inner, Memory, Space, Stored, deadline, served, text_key};
use crate::clock;
use crate::{ffi, value};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use pyo3::{PyTraverseError, PyVisit};
use quickcache::tier::memory::{Limits, NEVER};
use std::sync::Arc;

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(
        signature = (timeout=Timeout(300_000), *, max_entries=AtMost(Some(10_000)), max_bytes=AtMost(Some(64 << 20)), copy=None, **unknown),
        text_signature = "(timeout=300, *, max_entries=10000, max_bytes=67108864, copy=None)"
    )]
    fn py_new(
        timeout: Timeout<MEMORY>,
        max_entries: AtMost<false>,
        max_bytes: AtMost<true>,
        copy: Option<Bound<PyAny>>,
        unknown: Option<Bound<PyDict>>,
    ) -> PyResult<Memory> {
        if let Some((option, _)) = unknown.and_then(|u| u.iter().next()) {
            return Err(PyTypeError::new_err(format!(
                "Memory() got an unexpected keyword argument {}: its options are timeout, max_entries, max_bytes and copy",
                shown(&option)
            )));
        }
        let copy = match copy {
            None => None,
            Some(c) => Some(c.cast::<PyBool>().map(|b| b.is_true()).map_err(|_| {
                PyTypeError::new_err(format!(
                    "Memory: copy must be True, False or None, not {}",
                    shown(&c)
                ))
            })?),
        };
        let limits = Limits {
            entries: max_entries.0.map_or(usize::MAX, |n| n as usize),
            bytes: max_bytes.0.unwrap_or(u64::MAX),
        };
        Ok(Memory::with_limits(limits, timeout.0, copy))
    }

    /// An empty one with the same options.
    #[pyo3(name = "_like")]
    fn like(&self, py: Python) -> Memory {
        let limits = self.state.with(py, |m| m.table.limits());
        Memory::with_limits(limits, self.timeout, self.copy)
    }

    /// The value of `key`, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        match self.look_text(py, &text_key("Memory", key)?)? {
            Some((object, encoded)) => served(object, encoded).map(Some),
            None => Ok(default),
        }
    }

    /// Stores a value for `timeout` seconds (`None`: no expiry; not given: this cache's own timeout; 0 or less: not at all).
    #[pyo3(signature = (key, value, timeout=Lifetime::Own), text_signature = "($self, key, value, timeout=...)")]
    fn set(
        &self,
        key: &Bound<PyAny>,
        value: &Bound<PyAny>,
        timeout: Lifetime<MEMORY>,
    ) -> PyResult<()> {
        let py = key.py();
        let key = text_key("Memory", key)?;
        let timeout = match timeout {
            Lifetime::Own => self.timeout,
            Lifetime::Given(ms) => ms,
            Lifetime::None => {
                self.remove_text(py, &key);
                return Ok(());
            }
        };
        let stored =
            Stored::of(value, self.copy == Some(true)).map_err(|e| cannot_copy(value, e))?;
        self.put(&key, &stored, deadline(clock::now(), timeout), |_| true);
        Ok(())
    }

    /// Removes `key`; says whether it was there.
    pub fn delete(&self, key: &Bound<PyAny>) -> PyResult<bool> {
        Ok(self.remove_text(key.py(), &text_key("Memory", key)?))
    }

    /// Gives `key` another timeout, as `set` takes it; says whether it was there.
    #[pyo3(signature = (key, timeout=Lifetime::Own), text_signature = "($self, key, timeout=...)")]
    fn touch(&self, key: &Bound<PyAny>, timeout: Lifetime<MEMORY>) -> PyResult<bool> {
        let py = key.py();
        let key = text_key("Memory", key)?;
        let Some((object, encoded)) = self.look_text(py, &key)? else {
            return Ok(false);
        };
        match timeout {
            Lifetime::None => {
                self.remove_text(py, &key);
            }
            Lifetime::Own | Lifetime::Given(_) => {
                let ms = if let Lifetime::Given(ms) = timeout {
                    ms
                } else {
                    self.timeout
                };
                let weight = value::weigh(object.as_ptr()).min(u32::MAX as u64) as u32;
                self.insert_text(
                    py,
                    &key,
                    &Stored {
                        object,
                        encoded,
                        weight,
                    },
                    deadline(clock::now(), ms),
                );
            }
        }
        Ok(true)
    }

    /// Seconds until `key` expires; `None` when it never does, 0.0 when it is not there.
    fn time_left(&self, key: &Bound<PyAny>) -> PyResult<Option<f64>> {
        let now = clock::now();
        Ok(match self.due(key)? {
            NEVER => None,
            due => Some(due.saturating_sub(now) as f64 / 1e3),
        })
    }

    fn __contains__(&self, key: &Bound<PyAny>) -> PyResult<bool> {
        Ok(self
            .look_text(key.py(), &text_key("Memory", key)?)?
            .is_some())
    }

    /// How many entries there are, those that have expired and were not yet freed included.
    fn __len__(&self, py: Python) -> usize {
        self.settle(py);
        self.state.with(py, |m| m.table.len())
    }

    /// Removes every entry of every function, at once.
    pub fn clear(&self, py: Python) {
        let spaces: Vec<Arc<Space>> = self
            .state
            .with(py, |m| m.spaces.values().cloned().collect());
        for space in &spaces {
            self.clear_space(py, space);
        }
        let mut out = Vec::new();
        self.state.with(py, |m| m.table.drain(&mut out));
    }

    /// Frees expired entries now, all of them; says how many.
    fn sweep(&self, py: Python) -> usize {
        let mut out = Vec::new();
        self.state.with(py, |m| {
            let Inner { table, live, .. } = m;
            let all = table.slots();
            table.sweep(clock::now(), all, |e| !live.contains(&e.space()), &mut out)
        })
    }

    /// Evicts entries until at most `count` are left: those that have expired first, then those that were least asked for.
    fn shrink(&self, py: Python, count: &Bound<PyAny>) -> PyResult<()> {
        let count: usize = count.extract().map_err(|_| {
            PyValueError::new_err(format!(
                "Memory.shrink: count must be an integer, 0 or more, not {}",
                shown(count)
            ))
        })?;
        let mut out = Vec::new();
        self.state
            .with(py, |m| m.table.shrink(count, clock::now(), &mut out));
        Ok(())
    }

    /// Bytes that the entries weigh, as `max_bytes` counts them.
    #[getter]
    fn bytes(&self, py: Python) -> u64 {
        self.settle(py);
        self.state.with(py, |m| m.table.bytes())
    }

    /// Seconds, or `None` for no expiry.
    #[getter(timeout)]
    fn py_timeout(&self) -> Option<f64> {
        (self.timeout != NEVER).then_some(self.timeout as f64 / 1000.0)
    }

    fn __repr__(&self, py: Python) -> String {
        let (entries, bytes) = self.state.with(py, |m| (m.table.len(), m.table.bytes()));
        match self.py_timeout() {
            Some(t) => format!("<quickcache.Memory timeout={t}s entries={entries} bytes={bytes}>"),
            None => format!("<quickcache.Memory timeout=None entries={entries} bytes={bytes}>"),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector runs with the GIL held, and never inside a closure of `with`: none allocates Python objects.
        let inner = unsafe { self.state.peek() };
        for (e, _) in inner.table.iter() {
            if unsafe { ffi::PyObject_IS_GC(e.value) } != 0 {
                // SAFETY: `Py` is a non-null pointer and nothing else; the reference ends before the entry.
                visit.call(unsafe { &*(&raw const e.value as *const Py<PyAny>) })?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        // SAFETY: called by the collector, with the GIL held.
        let py = unsafe { Python::assume_attached() };
        let mut out = Vec::new();
        self.state.with(py, |m| m.table.drain(&mut out));
    }
}

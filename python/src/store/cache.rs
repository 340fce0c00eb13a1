//! `Store` as Python sees it: an ordinary cache.

use super::{Found, Store};
use crate::codec;
use crate::memory::options::{self, Folder, Lifetime, MaxBytes, STORE, Timeout};
use crate::memory::text_key;
use crate::wait::wait;
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use quickcache::entry::{Entry, Head, Unwritten};
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::{
    Lease, Opened, Place, Shared, Spot, Stamp, StoreKey, Turn, USUAL_BYTES, Waiting, random,
};
use std::cell::Cell;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long a change waits for another one of its key by a process that is stopped.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long it sleeps if it cannot be told when that ends.
const PAUSE: Duration = Duration::from_micros(50);

/// How often a change is tried again that others came between.
const TRIES: u32 = 1000;

/// What `Store` is called with.
type NewArgs<'py> = ((PathBuf, Option<f64>), Bound<'py, PyDict>);

/// One key of an open store.
struct At {
    opened: &'static Opened,
    spot: Spot,
    function: u32,
    /// It is no function's: nobody computes a value of it, so that a change need not make void what is on its way. (A new generation
    /// would cost other keys of the slot their values.)
    plain: bool,
}

impl Store {
    /// `None` if it cannot be opened.
    fn at(&self, key: &Bound<PyString>) -> PyResult<Option<At>> {
        let text = key.to_str()?;
        Ok(self
            .shared
            .open()
            .map(|opened| self.at_opened(opened, text)))
    }

    /// The same, to take away what is there: that is made up for when it can be opened.
    fn at_to_clear(&self, key: &Bound<PyString>) -> PyResult<Option<At>> {
        let text = key.to_str()?;
        let opened = self.shared.open_to_clear();
        Ok(opened.map(|opened| self.at_opened(opened, text)))
    }

    fn at_opened(&self, opened: &'static Opened, text: &str) -> At {
        let spot = opened.spot(StoreKey::of_text(text).beside(self.beside));
        // A key of scheme v1 does not say of which function it is; what is stored there does.
        let nobodys = opened.function(b"");
        let function = match StoreKey::function_of_text(text) {
            b"" => opened.function_of(&spot).unwrap_or(nobodys),
            name if self.beside == 0 => opened.function(name),
            name => opened.function(&[name, &self.beside.to_le_bytes()].concat()),
        };
        At {
            opened,
            spot,
            function,
            plain: function == nobodys,
        }
    }

    /// Holds a key for a change: between its new generation and its new value others would find nothing there. Whoever is
    /// killed meanwhile holds nobody up, whoever is stopped not for long.
    fn hold(&self, py: Python, at: &At) -> PyResult<Option<Lease>> {
        let since = Instant::now();
        let mut waiting = None::<Waiting>;
        loop {
            let over = since.elapsed() >= PATIENCE;
            if let Some(lease) = waiting.take().and_then(|last| last.take_over(over)) {
                return Ok(Some(lease));
            }
            match at.opened.claim_change(at.spot.key()) {
                Some(Turn::Lead(Some(lease))) => return Ok(Some(lease)),
                Some(Turn::Lead(None)) if !over => wait(py, PAUSE, thread::sleep)?,
                Some(Turn::Lead(None)) | None => return Ok(None),
                Some(Turn::Wait(next)) => {
                    let left = PATIENCE.saturating_sub(since.elapsed());
                    wait(py, left, |most| next.wait(most))?;
                    waiting = Some(next);
                }
            }
        }
    }

    /// The value, and when it expires; what is not there is looked for again while nobody changes it.
    fn read_settled<'py>(&self, py: Python<'py>, at: &At) -> PyResult<Option<Found<'py>>> {
        if let Some(found) = self.read(py, at)? {
            return Ok(Some(found));
        }
        let _held = self.hold(py, at)?;
        self.read(py, at)
    }

    /// The value at the present generation, and when it expires.
    fn read<'py>(&self, py: Python<'py>, at: &At) -> PyResult<Option<Found<'py>>> {
        Ok(self.read_in_place(py, at)?.map(|(found, _)| found))
    }

    /// The same, and where it is.
    fn read_in_place<'py>(
        &self,
        py: Python<'py>,
        at: &At,
    ) -> PyResult<Option<(Found<'py>, Place)>> {
        let mut raised = None;
        let read = |entry: &Entry<'_>| match codec::decode(py, entry.codec, &entry.payload, true) {
            Ok(value) => Some((value, entry.head.deadline)),
            Err(error) => {
                raised = Some(error);
                None
            }
        };
        let stamp = at.opened.stamp(at.function, &at.spot);
        let found = at
            .opened
            .get_in_place(at.function, &at.spot, stamp, super::now(), read);
        match raised {
            Some(error) if !error.is_instance_of::<PyException>(py) => return Err(error),
            _ => {}
        }
        Ok(found.unwrap_or_else(|_| {
            self.reject();
            None
        }))
    }

    /// Stores a value in place of what is there, unless the key has changed since `stamp`, or since it was read at `over`: says whether it
    /// is stored. A clear in between makes it void.
    fn replace(
        &self,
        at: &At,
        (stamp, over): (Stamp, Option<&Place>),
        value: &Bound<PyAny>,
        due: u64,
    ) -> PyResult<bool> {
        let stamp = if at.plain {
            stamp
        } else if let Some(stamp) = at.opened.supersede(stamp) {
            stamp
        } else {
            return Ok(false);
        };
        let head = Head {
            generation: stamp.sum,
            started: super::now(),
            deadline: due,
        };
        let encode = |bytes: &mut Vec<u8>| codec::encode(value, true, bytes);
        let key = at.spot.key().bytes();
        let entry = match at.opened.seal().write(key, head, encode) {
            Ok(entry) => entry,
            Err(why) => {
                at.opened.clear(&at.spot);
                return Err(match why {
                    Unwritten::Codec(error) => error,
                    other => PyValueError::new_err(format!("Store.set: {other}")),
                });
            }
        };
        super::stored(self.shared, self.beside);
        let stored = match over {
            // Whoever holds the key may have been stopped for so long that others have taken their turns.
            Some(over) if at.plain => at.opened.put_in_place(over, &entry),
            _ => at.opened.put(at.function, &at.spot, &entry).map(|()| true),
        };
        Ok(stored.unwrap_or_else(|why| {
            self.unstored(&why);
            // What cannot be stored must not leave an older value behind.
            at.opened.clear(&at.spot);
            true
        }))
    }

    /// When a key expires on the clock of the memory tier; 0 if it is not there.
    pub fn due_here(&self, key: &Bound<PyAny>) -> PyResult<u64> {
        let Some(at) = self.at(&text_key("Store", key)?)? else {
            return Ok(0);
        };
        Ok(match self.read_settled(key.py(), &at)? {
            None => 0,
            Some((_, NEVER)) => NEVER,
            Some((_, due)) => crate::clock::now() + due.saturating_sub(super::now()),
        })
    }

    fn due(&self, timeout: &Lifetime<STORE>) -> Option<u64> {
        let ms = match timeout {
            Lifetime::Own => self.timeout,
            Lifetime::Given(ms) => *ms,
            Lifetime::None => return None,
        };
        Some(if ms == NEVER {
            NEVER
        } else {
            super::now().saturating_add(ms)
        })
    }
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(
        signature = (path=Folder(None), timeout=Timeout(300_000), *, max_bytes=MaxBytes(USUAL_BYTES), **unknown),
        text_signature = "(path=None, timeout=300, *, max_bytes=268435456)"
    )]
    fn py_new(
        path: Folder,
        timeout: Timeout<STORE>,
        max_bytes: MaxBytes,
        unknown: Option<Bound<PyDict>>,
    ) -> PyResult<Store> {
        if let Some((option, _)) = unknown.and_then(|u| u.iter().next()) {
            return Err(PyTypeError::new_err(format!(
                "Store() got an unexpected keyword argument {}: its options are path, timeout and max_bytes",
                options::shown(&option)
            )));
        }
        let shared = Shared::of(path.0.as_deref(), max_bytes.0);
        Ok(Store::over(shared, timeout.0, 0))
    }

    /// One with the same options in which nothing is, for a test.
    #[pyo3(name = "_like")]
    fn like(&self) -> PyResult<Store> {
        let beside = random()? | 1;
        Ok(Store::over(self.shared, self.timeout, beside))
    }

    /// The value of `key`, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(at) = self.at(&text_key("Store", key)?)? else {
            return Ok(default);
        };
        Ok(self
            .read_settled(key.py(), &at)?
            .map(|(value, _)| value)
            .or(default))
    }

    /// Stores a value for `timeout` seconds (`None`: no expiry; not given: this cache's own timeout; 0 or less: not at all).
    ///
    /// A value that neither the typed codec nor pickle takes raises a `TypeError`; one that is larger than the store takes is logged,
    /// counted and not stored.
    #[pyo3(signature = (key, value, timeout=Lifetime::Own), text_signature = "($self, key, value, timeout=...)")]
    fn set(
        &self,
        key: &Bound<PyAny>,
        value: &Bound<PyAny>,
        timeout: Lifetime<STORE>,
    ) -> PyResult<()> {
        let Some(at) = self.at_to_clear(&text_key("Store", key)?)? else {
            return Ok(());
        };
        let Some(due) = self.due(&timeout) else {
            at.opened.clear(&at.spot);
            return Ok(());
        };
        let _held = self.hold(key.py(), &at)?;
        for _ in 0..TRIES {
            let stamp = at.opened.stamp(at.function, &at.spot);
            if self.replace(&at, (stamp, None), value, due)? {
                return Ok(());
            }
        }
        // Others change it all the time: whatever one of them has stored was stored after this began.
        Ok(())
    }

    /// Stores a value unless there is one; says whether it did. Of several processes one does.
    #[pyo3(signature = (key, value, timeout=Lifetime::Own), text_signature = "($self, key, value, timeout=...)")]
    fn add(
        &self,
        key: &Bound<PyAny>,
        value: &Bound<PyAny>,
        timeout: Lifetime<STORE>,
    ) -> PyResult<bool> {
        let Some(at) = self.at(&text_key("Store", key)?)? else {
            return Ok(false);
        };
        let _held = self.hold(key.py(), &at)?;
        for _ in 0..TRIES {
            let stamp = at.opened.stamp(at.function, &at.spot);
            if self.read(key.py(), &at)?.is_some() {
                return Ok(false);
            }
            let Some(due) = self.due(&timeout) else {
                return Ok(true);
            };
            if self.replace(&at, (stamp, None), value, due)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds `delta` to the number under `key` and gives the sum, which lives as long as the number would have; of several processes
    /// none loses what another adds.
    ///
    /// Raises a `ValueError` if there is none.
    #[pyo3(signature = (key, delta=None))]
    fn incr<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        delta: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let missing = || PyValueError::new_err(format!("Key '{key}' not found"));
        let at = self.at(&text_key("Store", key)?)?.ok_or_else(missing)?;
        let delta = delta.map_or_else(|| 1_i32.into_pyobject(py).map(|n| n.into_any()), Ok)?;
        let _held = self.hold(py, &at)?;
        for _ in 0..TRIES {
            let stamp = at.opened.stamp(at.function, &at.spot);
            let ((value, due), place) = self.read_in_place(py, &at)?.ok_or_else(missing)?;
            let sum = value.add(&delta)?;
            if self.replace(&at, (stamp, Some(&place)), &sum, due)? {
                return Ok(sum);
            }
        }
        Err(PyValueError::new_err(format!(
            "Key '{key}' is changed by others all the time"
        )))
    }

    /// Removes `key`, in every process; says whether it was there.
    pub fn delete(&self, key: &Bound<PyAny>) -> PyResult<bool> {
        let Some(at) = self.at_to_clear(&text_key("Store", key)?)? else {
            return Ok(false);
        };
        let was = self.read_settled(key.py(), &at)?.is_some();
        at.opened.clear(&at.spot);
        Ok(was)
    }

    /// Gives `key` another timeout, as `set` takes it; says whether it was there.
    #[pyo3(signature = (key, timeout=Lifetime::Own), text_signature = "($self, key, timeout=...)")]
    fn touch(&self, key: &Bound<PyAny>, timeout: Lifetime<STORE>) -> PyResult<bool> {
        let Some(at) = self.at(&text_key("Store", key)?)? else {
            return Ok(false);
        };
        let _held = self.hold(key.py(), &at)?;
        for _ in 0..TRIES {
            let stamp = at.opened.stamp(at.function, &at.spot);
            let Some(((value, _), place)) = self.read_in_place(key.py(), &at)? else {
                return Ok(false);
            };
            let Some(due) = self.due(&timeout) else {
                at.opened.clear(&at.spot);
                return Ok(true);
            };
            if self.replace(&at, (stamp, Some(&place)), &value, due)? {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Seconds until `key` expires; `None` when it never does, 0.0 when it is not there.
    fn time_left(&self, key: &Bound<PyAny>) -> PyResult<Option<f64>> {
        let Some(at) = self.at(&text_key("Store", key)?)? else {
            return Ok(Some(0.0));
        };
        Ok(match self.read_settled(key.py(), &at)? {
            None => Some(0.0),
            Some((_, NEVER)) => None,
            Some((_, due)) => Some(due.saturating_sub(super::now()) as f64 / 1e3),
        })
    }

    fn __contains__(&self, key: &Bound<PyAny>) -> PyResult<bool> {
        match self.at(&text_key("Store", key)?)? {
            Some(at) => Ok(self.read_settled(key.py(), &at)?.is_some()),
            None => Ok(false),
        }
    }

    /// Removes everything that is in the store, of every function and process, at once.
    pub fn clear(&self) {
        if let Some(opened) = self.shared.open_to_clear() {
            opened.clear_everything();
        }
    }

    /// What is known of it: `path`, `open`, `max_bytes`, `entries` (those that expired or were cleared and not yet written over
    /// included) and, since this process began, `failures` of its files, values that were `unstored` (too large, or the disk was full)
    /// and `rejected` (damaged, or without a form outside the process).
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let opened = self.shared.open();
        let (entries, bytes) = opened.map_or((0, 0), Opened::standing);
        let stats = PyDict::new(py);
        stats.set_item("path", self.shared.path())?;
        stats.set_item("open", opened.is_some())?;
        stats.set_item("max_bytes", bytes)?;
        stats.set_item("entries", entries)?;
        stats.set_item("failures", self.shared.failures())?;
        stats.set_item("unstored", self.unstored.get())?;
        stats.set_item("rejected", self.rejected.get())?;
        Ok(stats)
    }

    /// Its folder.
    #[getter]
    fn path(&self) -> PathBuf {
        self.shared.path().to_owned()
    }

    /// Seconds, or `None` for no expiry.
    #[getter(timeout)]
    fn py_timeout(&self) -> Option<f64> {
        (self.timeout != NEVER).then_some(self.timeout as f64 / 1000.0)
    }

    /// A copy, and one in another process, is another store of the same folder: what is in it is shared.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArgs<'py>> {
        let options = PyDict::new(py);
        options.set_item("max_bytes", self.shared.max_bytes())?;
        Ok(((self.path(), self.py_timeout()), options))
    }

    fn __repr__(&self) -> String {
        let timeout = self
            .py_timeout()
            .map_or_else(|| "None".into(), |t| format!("{t}s"));
        format!(
            "<quickcache.Store {} timeout={timeout}>",
            self.shared.path().display()
        )
    }
}

impl Store {
    fn over(shared: &'static Shared, timeout: u64, beside: u64) -> Store {
        Store {
            shared,
            timeout,
            beside,
            rejected: Cell::new(0),
            unstored: Cell::new(0),
            nothing: crate::once::Once::new(),
        }
    }
}

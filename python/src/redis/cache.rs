//! `Redis` as Python sees it: an ordinary cache.
//!
//! A key of scheme `seed` says of which function it is, so that `cache.get(f.get_cache_key(x))` sees what `f` has stored. A key of scheme
//! `v1` does not: what is set under one is another value than the function's. A delete is everybody's.

use super::ask::{Answer, Job, Met};
use super::options::{Given, NewArgs};
use super::{Redis, life, now as clock_now};
use crate::memory::options::{Lifetime, REDIS, Timeout};
use crate::memory::{deadline, text_key};
use crate::wait::wait;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use quickcache::protocol::blocking::now;
use quickcache::tier::memory::NEVER;
use quickcache::tier::redis::{AtRedis, Hit, InPlace, Out};
use quickcache::tier::store::{StoreKey, random};
use std::thread;
use std::time::{Duration, Instant};

/// How often a change is tried again that others came between.
const TRIES: u32 = 1000;

/// How long `add` waits for another one that has the right to store the key.
const PATIENCE: Duration = Duration::from_millis(500);

/// One key.
struct At {
    at: AtRedis,
    key: StoreKey,
    met: Met,
    /// A function may have its value in the memory of any machine.
    tell: bool,
}

/// A value, when it expires (by the clock of deadlines), and where it was.
struct Found<'py> {
    value: Bound<'py, PyAny>,
    due: u64,
    hit: Hit,
}

impl Redis {
    fn at(&self, key: &Bound<PyString>) -> PyResult<At> {
        let text = key.to_str()?;
        let name = StoreKey::function_of_text(text);
        let beside = self.beside.to_le_bytes();
        let at = match self.beside {
            0 => AtRedis::new(self.server, name),
            _ => AtRedis::new(self.server, &[name, &beside].concat()),
        };
        Ok(At {
            met: at.meeting(self.table()),
            at,
            key: StoreKey::of_text(text).beside(self.beside),
            tell: !name.is_empty(),
        })
    }

    fn read<'py>(&self, py: Python<'py>, at: &At) -> PyResult<Option<Found<'py>>> {
        self.read_with(py, at, true)
    }

    /// With what is left of its life, if that is asked.
    fn read_with<'py>(&self, py: Python<'py>, at: &At, life: bool) -> PyResult<Option<Found<'py>>> {
        // What is there may be what was to be deleted.
        if at.at.is_pending(at.met, &at.key) {
            return Ok(None);
        }
        match Job::Look(life).ask(py, &at.at, &at.key) {
            Ok(Answer::Found(hit)) => self.found(py, at, hit),
            _ => Ok(None),
        }
    }

    fn found<'py>(&self, py: Python<'py>, at: &At, hit: Hit) -> PyResult<Option<Found<'py>>> {
        let Ok((value, due)) = self.decode(py, &at.key, clock_now(), hit.entry())? else {
            self.reject();
            return Ok(None);
        };
        // The clock of the machine that wrote it may only shorten its life.
        let by_server = hit.left.map_or(NEVER, |left| {
            clock_now().saturating_add(u64::try_from(left.as_millis()).unwrap_or(NEVER))
        });
        let due = if due == NEVER {
            NEVER
        } else {
            due.min(by_server)
        };
        Ok(Some(Found { value, due, hit }))
    }

    /// The entry of a value that lives for so many milliseconds.
    fn entry(&self, at: &At, value: &Bound<PyAny>, left: u64) -> PyResult<Vec<u8>> {
        self.encode(value, &at.key, 0, left).inspect_err(|_| {
            self.unstored.set(self.unstored.get() + 1);
            // What cannot be stored must not leave an older value behind.
            let _ = Job::Delete(at.met).ask(value.py(), &at.at, &at.key);
        })
    }

    fn put(&self, py: Python, at: &At, entry: &[u8], left: u64) -> Result<(), Out> {
        let stored = py.detach(|| now(at.at.put(&InPlace, &at.key, entry, life(left), at.tell)));
        if stored.is_err() {
            self.unstored.set(self.unstored.get() + 1);
            // As above, if it can be reached at all.
            let _ = Job::Delete(at.met).ask(py, &at.at, &at.key);
        }
        stored
    }

    /// Puts a value in place of what was read, which keeps its life unless `left` says another one: whether nothing has come between.
    fn swap(
        &self,
        at: &At,
        found: &Found,
        value: &Bound<PyAny>,
        left: Option<u64>,
    ) -> PyResult<bool> {
        let left = left.unwrap_or_else(|| match found.due {
            NEVER => NEVER,
            due => due.saturating_sub(clock_now()),
        });
        let entry = self.entry(at, value, left)?;
        let hit = &found.hit;
        let swapped = value.py().detach(|| {
            now(at
                .at
                .swap(&InPlace, &at.key, hit, &entry, life(left), at.tell))
        });
        // Out of reach: it is as if it were gone.
        Ok(swapped.unwrap_or(true))
    }

    /// Milliseconds; `None` if it is over before it begins.
    fn left(&self, timeout: &Lifetime<REDIS>) -> Option<u64> {
        match timeout {
            Lifetime::Own => Some(self.timeout),
            Lifetime::Given(ms) => Some(*ms),
            Lifetime::None => None,
        }
    }

    /// When a key expires on the clock of the memory tier; 0 if it is not there.
    pub fn due_here(&self, key: &Bound<PyAny>) -> PyResult<u64> {
        let at = self.at(&text_key("Redis", key)?)?;
        Ok(match self.read(key.py(), &at)? {
            None => 0,
            Some(Found { due: NEVER, .. }) => NEVER,
            Some(found) => deadline(crate::clock::now(), found.due.saturating_sub(clock_now())),
        })
    }
}

#[pymethods]
impl Redis {
    #[new]
    #[pyo3(
        signature = (url=None, timeout=Timeout(300_000), **options),
        text_signature = "(url='redis://localhost:6379/0', timeout=300, *, namespace='qc', budget=0.1, staleness=0.25, connections=8, \
                          folder=None, ca_file=None, client_cert=None, primary=None, sentinel_password=None, cluster=False, secret=None, \
                          serve_while_unreachable=False)"
    )]
    fn py_new(
        url: Option<Bound<PyAny>>,
        timeout: Timeout<REDIS>,
        options: Option<Bound<PyDict>>,
    ) -> PyResult<Redis> {
        Ok(Redis::over(Given::of(url, options)?, timeout.0, 0))
    }

    /// One with the same options in which nothing is, for a test.
    #[pyo3(name = "_like")]
    fn like(&self) -> PyResult<Redis> {
        let beside = random()? | 1;
        Ok(Redis::over(self.given.clone(), self.timeout, beside))
    }

    /// The value of `key`, or `default`; that also if the server cannot be reached.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let at = self.at(&text_key("Redis", key)?)?;
        let found = self.read_with(key.py(), &at, false)?;
        Ok(found.map(|found| found.value).or(default))
    }

    /// Stores a value for `timeout` seconds (`None`: 30 days; not given: this cache's own timeout; 0 or less: not at all).
    ///
    /// A value that has no typed form, and is not pickled either, raises a `TypeError`. While the server cannot be reached nothing is stored.
    #[pyo3(signature = (key, value, timeout=Lifetime::Own), text_signature = "($self, key, value, timeout=...)")]
    fn set(
        &self,
        key: &Bound<PyAny>,
        value: &Bound<PyAny>,
        timeout: Lifetime<REDIS>,
    ) -> PyResult<()> {
        let at = self.at(&text_key("Redis", key)?)?;
        match self.left(&timeout) {
            None => {
                let _ = Job::Delete(at.met).ask(key.py(), &at.at, &at.key);
            }
            Some(left) => {
                let entry = self.entry(&at, value, left)?;
                let _ = self.put(key.py(), &at, &entry, left);
            }
        }
        Ok(())
    }

    /// Stores a value unless there is one; says whether it did. Of several processes one does.
    #[pyo3(signature = (key, value, timeout=Lifetime::Own), text_signature = "($self, key, value, timeout=...)")]
    fn add(
        &self,
        key: &Bound<PyAny>,
        value: &Bound<PyAny>,
        timeout: Lifetime<REDIS>,
    ) -> PyResult<bool> {
        let py = key.py();
        let at = self.at(&text_key("Redis", key)?)?;
        let since = Instant::now();
        let mut job = Job::Turn(false);
        let held = loop {
            match job.ask(py, &at.at, &at.key) {
                Ok(Answer::Found(hit)) => {
                    let era = hit.era;
                    if self.found(py, &at, hit)?.is_some() {
                        return Ok(false);
                    }
                    job = Job::Replace(era);
                }
                Ok(Answer::Lead(held)) => break held,
                // Another one is about to store it, or a function to compute it; if that takes long, it is not there.
                Ok(Answer::Wait) if since.elapsed() >= PATIENCE => job = Job::Take,
                Ok(Answer::Wait) => {
                    wait(py, Duration::from_millis(1), thread::sleep)?;
                    job = Job::Turn(false);
                }
                Ok(_) | Err(_) => return Ok(false),
            }
        };
        let Some(left) = self.left(&timeout) else {
            let _ = Job::Release(held).ask(py, &at.at, &at.key);
            return Ok(true);
        };
        let fill = Job::Fill {
            entry: self.entry(&at, value, left)?,
            held,
            life: life(left),
            tell_all: at.tell.then_some(None),
        };
        Ok(matches!(
            fill.ask(py, &at.at, &at.key),
            Ok(Answer::Stood(true))
        ))
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
        let at = self.at(&text_key("Redis", key)?)?;
        let delta = delta.map_or_else(|| 1_i32.into_pyobject(py).map(|n| n.into_any()), Ok)?;
        for _ in 0..TRIES {
            let Some(found) = self.read(py, &at)? else {
                return Err(PyValueError::new_err(format!("Key '{key}' not found")));
            };
            let sum = found.value.add(&delta)?;
            if self.swap(&at, &found, &sum, None)? {
                return Ok(sum);
            }
        }
        Err(PyValueError::new_err(format!(
            "Key '{key}' is changed by others all the time"
        )))
    }

    /// Removes `key`, on every machine; says whether it was there.
    pub fn delete(&self, key: &Bound<PyAny>) -> PyResult<bool> {
        let at = self.at(&text_key("Redis", key)?)?;
        let was = self.read(key.py(), &at)?.is_some();
        let cleared = Job::Delete(at.met).ask(key.py(), &at.at, &at.key);
        Ok(was && cleared.is_ok())
    }

    /// Gives `key` another timeout, as `set` takes it; says whether it was there.
    #[pyo3(signature = (key, timeout=Lifetime::Own), text_signature = "($self, key, timeout=...)")]
    fn touch(&self, key: &Bound<PyAny>, timeout: Lifetime<REDIS>) -> PyResult<bool> {
        let at = self.at(&text_key("Redis", key)?)?;
        for _ in 0..TRIES {
            let Some(found) = self.read(key.py(), &at)? else {
                return Ok(false);
            };
            let Some(left) = self.left(&timeout) else {
                let _ = Job::Delete(at.met).ask(key.py(), &at.at, &at.key);
                return Ok(true);
            };
            if self.swap(&at, &found, &found.value, Some(left))? {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Seconds until `key` expires; `None` when it never does, 0.0 when it is not there.
    fn time_left(&self, key: &Bound<PyAny>) -> PyResult<Option<f64>> {
        let at = self.at(&text_key("Redis", key)?)?;
        Ok(match self.read(key.py(), &at)? {
            None => Some(0.0),
            Some(Found { due: NEVER, .. }) => None,
            Some(found) => Some(found.due.saturating_sub(clock_now()) as f64 / 1e3),
        })
    }

    fn __contains__(&self, key: &Bound<PyAny>) -> PyResult<bool> {
        let at = self.at(&text_key("Redis", key)?)?;
        Ok(self.read(key.py(), &at)?.is_some())
    }

    /// Removes everything under the namespace, of every function and machine. It looks at every key of the server's database.
    pub fn clear(&self, py: Python) {
        let _ = py.detach(|| self.server.empty(self.server.meeting(self.table())));
    }

    /// What is known of it: `server`, `reachable` (as far as is known) and, since this process began, `failures` of operations, values
    /// that were `unstored` (without a form outside the process, or while it could not be reached) and `rejected` (damaged, forged or
    /// of another codec) by this object.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        stats.set_item("server", format!("{:?}", self.server))?;
        stats.set_item("reachable", !self.server.is_away())?;
        stats.set_item("failures", self.server.failures())?;
        stats.set_item("unstored", self.unstored.get())?;
        stats.set_item("rejected", self.rejected.get())?;
        Ok(stats)
    }

    /// Seconds, or `None` for no expiry.
    #[getter(timeout)]
    fn py_timeout(&self) -> Option<f64> {
        (self.timeout != NEVER).then_some(self.timeout as f64 / 1000.0)
    }

    /// Seconds for which the memory of another machine may still serve what was cleared.
    #[getter]
    fn staleness(&self) -> f64 {
        self.server.staleness().as_secs_f64()
    }

    /// A copy, and one in another process, is the same server: what is in it is shared.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArgs<'py>> {
        self.given.new_args(py, self.py_timeout())
    }

    fn __repr__(&self) -> String {
        let timeout = self
            .py_timeout()
            .map_or_else(|| "None".into(), |t| format!("{t}s"));
        format!("<quickcache.Redis {:?} timeout={timeout}>", self.server)
    }
}

//! A function at the machine's store: generations, leases and values, with the values as Python has them.

use super::Store;
use crate::call::patience;
use crate::codec;
use crate::keys::Keys;
use crate::memory::deadline;
use crate::plan::Compiled;
use crate::stack::TextKey;
use crate::state::{Counts, add};
use crate::value::is_ellipsis;
use crate::wait::wait;
use crate::{clock, warn};
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use quickcache::entry::{Entry, Head, Rejected, Unwritten};
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::{AtStore, Next, Patience, Proven, Seen, Shared, StoreKey, Waiting};

/// The store behind the memory tier of one function; or its table of generations alone, for a Redis behind it.
pub struct At {
    /// Where values are kept.
    pub store: Option<Py<Store>>,
    at: AtStore,
    /// What the tier puts before a text key.
    key_prefix: Box<str>,
    /// See `Store::beside`.
    beside: u64,
    /// Milliseconds.
    pub timeout: u64,
}

/// What `explain` tells of an entry: seconds, and the bytes of its value.
pub struct Standing {
    pub age: Option<f64>,
    /// Its time is over: it is kept for calls whose function raises, for as long as is left.
    pub stale: bool,
    pub left: Option<f64>,
    pub bytes: usize,
}

/// A value of the store, and when it is too old (by the clock of the memory tier, or of the store where that asks itself).
pub type Found<'py> = (Bound<'py, PyAny>, u64);

impl At {
    /// `proven`: by what is behind it.
    pub fn new(
        store: &Bound<Store>,
        timeout: u64,
        key_prefix: &str,
        keys: &Keys,
        proven: Option<Proven>,
    ) -> At {
        let own = store.get();
        let at = At::table(own.shared, (key_prefix, own.beside), keys, proven);
        At {
            store: Some(store.clone().unbind()),
            timeout,
            ..at
        }
    }

    /// A table without values.
    pub fn table(
        shared: &'static Shared,
        (key_prefix, beside): (&str, u64),
        keys: &Keys,
        proven: Option<Proven>,
    ) -> At {
        At {
            store: None,
            at: AtStore::new(shared, &function_name(keys, key_prefix, beside), proven),
            key_prefix: key_prefix.into(),
            beside,
            timeout: NEVER,
        }
    }

    pub fn shared(&self) -> &'static Shared {
        self.at.shared()
    }

    /// Whether it can be opened now.
    pub fn is_open(&self) -> bool {
        self.at.bound().is_some()
    }

    /// Whether a look at a key takes time: it is to be opened, or the disk to be read.
    pub fn takes_time(&self, key: &TextKey) -> bool {
        let waits = || Some(!self.at.bound()?.is_near(self.store_key(key)));
        self.at.shared().takes_time() || waits().unwrap_or(false)
    }

    /// Does what takes time.
    pub fn fetch(&self, py: Python, key: &TextKey) {
        let (key, now) = (self.store_key(key), super::now());
        py.detach(|| {
            if let Some(bound) = self.at.bound() {
                bound.fetch(key, now);
            }
        });
    }

    fn store_key(&self, key: &TextKey) -> StoreKey {
        store_key(&self.key_prefix, key.shown(), self.beside)
    }

    /// The function at the store as it is open now. The space's hits go by the same table from here on.
    fn bound(
        &self,
        space: &crate::memory::Space,
    ) -> Option<&'static quickcache::tier::store::Bound> {
        self.at.bound().inspect(|bound| watch(space, bound))
    }

    /// The same, for a clear: one that finds no store is made up for when there is one.
    fn bound_to_clear(
        &self,
        space: &crate::memory::Space,
    ) -> Option<&'static quickcache::tier::store::Bound> {
        (self.at.bound_to_clear()).inspect(|bound| watch(space, bound))
    }

    /// The generation of a key, read now; `None` if the store cannot be opened.
    pub fn see(&self, space: &crate::memory::Space, key: &TextKey) -> Option<Seen> {
        Some(self.bound(space)?.see(self.store_key(key)))
    }

    /// Clears a key in every process; says whether the store could be reached.
    pub fn clear(&self, space: &crate::memory::Space, key: &TextKey) -> bool {
        let bound = self.bound_to_clear(space);
        if let Some(bound) = bound {
            bound.clear(self.store_key(key));
        }
        bound.is_some()
    }

    /// Clears every key of the function in every process; says whether the store could be reached.
    pub fn clear_all(&self, space: &crate::memory::Space) -> bool {
        let bound = self.bound_to_clear(space);
        if let Some(bound) = bound {
            bound.clear_all();
        }
        bound.is_some()
    }

    /// The value of a key at the generation that was seen. What cannot be read is a miss; an interrupt comes out.
    pub fn get<'py>(
        &self,
        py: Python<'py>,
        seen: &Seen,
        counts: &Counts,
    ) -> PyResult<Option<Found<'py>>> {
        let now = super::now();
        let found = self.read(py, seen, counts, now)?;
        Ok(found.map(|(value, due)| {
            let left = if due == NEVER { NEVER } else { due - now };
            (value, deadline(clock::now(), left))
        }))
    }

    /// The same of one that has been too old for `stale` milliseconds at most.
    pub fn get_stale<'py>(
        &self,
        py: Python<'py>,
        seen: &Seen,
        counts: &Counts,
        stale: u64,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let then = super::now().saturating_sub(stale);
        let found = self.read(py, seen, counts, then)?;
        Ok(found.map(|(value, _)| value))
    }

    /// A value that was good at some moment, and until when it is.
    fn read<'py>(
        &self,
        py: Python<'py>,
        seen: &Seen,
        counts: &Counts,
        moment: u64,
    ) -> PyResult<Option<Found<'py>>> {
        let mut interrupt = None;
        let read = |entry: &Entry<'_>| match codec::decode(py, entry.codec, &entry.payload, true) {
            Ok(value) => Some((value, entry.head.deadline)),
            Err(error) => {
                if !error.is_instance_of::<PyException>(py) {
                    interrupt = Some(error);
                }
                None
            }
        };
        let found = seen.get(moment, read);
        if let Some(interrupt) = interrupt {
            return Err(interrupt);
        }
        let found = found.unwrap_or_else(|why| {
            if matches!(why, Rejected::Damaged | Rejected::OtherCodec) {
                add(&counts.rejected);
            }
            None
        });
        // To a call it says "nothing is stored" (drop-in.md R2).
        Ok(found.filter(|(value, _)| !is_ellipsis(value)))
    }

    /// What is known of the entry at the generation that was seen, one that has been too old for `late` milliseconds at most: nothing is
    /// decoded.
    pub fn standing(&self, seen: &Seen, late: u64) -> Option<Standing> {
        let now = super::now();
        let read = |entry: &Entry<'_>| {
            let Head {
                started, deadline, ..
            } = entry.head;
            let stale = deadline <= now;
            let until = deadline.saturating_add(if stale { late } else { 0 });
            Some(Standing {
                age: Some(now.saturating_sub(started) as f64 / 1e3),
                stale,
                left: (deadline != NEVER).then(|| until.saturating_sub(now) as f64 / 1e3),
                bytes: entry.payload.len(),
            })
        };
        seen.get(now.saturating_sub(late), read).ok().flatten()
    }

    /// The value, or the right to run the function. Lets other threads run while it waits for another process.
    pub fn turn<'py>(
        &self,
        py: Python<'py>,
        seen: &mut Seen,
        counts: &Counts,
    ) -> PyResult<Option<Found<'py>>> {
        let (mut patience, mut waiting) = (Patience::new(patience(counts)), None);
        loop {
            match self.step(py, seen, counts, waiting.as_ref(), patience.is_over())? {
                Next::Found(found) => return Ok(Some(found)),
                Next::Run => return Ok(None),
                Next::Wait(next) => {
                    wait(py, patience.left(), |most| next.wait(most))?;
                    waiting = Some(next);
                }
            }
        }
    }

    /// One step of that.
    pub fn step<'py>(
        &self,
        py: Python<'py>,
        seen: &mut Seen,
        counts: &Counts,
        waiting: Option<&Waiting>,
        patience_is_over: bool,
    ) -> PyResult<Next<Found<'py>>> {
        let mut raised = None;
        let next = seen.turn(waiting, patience_is_over, |seen| {
            match self.get(py, seen, counts) {
                Ok(found) => found,
                Err(error) => {
                    raised = Some(error);
                    None
                }
            }
        });
        match raised {
            Some(error) => Err(error),
            None => Ok(next),
        }
    }

    /// The entry of a value whose execution began at `began`, made for what was seen; `None` if it has none, with one warning, or
    /// is too old by now.
    pub fn entry(
        &self,
        (c, counts): (&Compiled, &Counts),
        seen: &Seen,
        value: &Bound<PyAny>,
        (began, until): (u64, u64),
    ) -> PyResult<Option<Vec<u8>>> {
        let py = value.py();
        if self.store.is_none() {
            return Ok(None);
        }
        let (here, now) = (clock::now(), super::now());
        let due = deadline(began, self.timeout).min(until);
        if began > here {
            // By a fake clock that has ended meanwhile.
            return Ok(None);
        }
        if due <= here {
            if until > here {
                warn::slower_than_timeout(py, c)?;
            }
            return Ok(None);
        }
        let head = Head {
            generation: seen.generation(),
            started: now.saturating_sub(here.saturating_sub(began)),
            deadline: if due == NEVER {
                NEVER
            } else {
                now + (due - here)
            },
        };
        let encode = |bytes: &mut Vec<u8>| codec::encode(value, true, bytes);
        match seen.opened().seal().write(seen.key().bytes(), head, encode) {
            Ok(entry) => Ok(Some(entry)),
            Err(why) => {
                add(&counts.unstored);
                let error = match why {
                    Unwritten::Codec(error) => error,
                    other => PyValueError::new_err(other.to_string()),
                };
                warn::cannot_encode(py, c, value, error).map(|()| None)
            }
        }
    }

    /// As `put`, by another thread: on asyncio, whose loop may not wait for a disk.
    pub fn put_later(&self, seen: &mut Seen, entry: Vec<u8>) {
        seen.put_later(self.at.shared(), entry);
    }

    /// Stores an entry that was made for what was seen.
    pub fn put(&self, seen: &Seen, entry: &[u8], counts: &Counts) {
        let Some(store) = &self.store else {
            return;
        };
        super::stored(self.at.shared(), self.beside);
        if let Err(why) = seen.put(entry) {
            add(&counts.unstored);
            store.get().unstored(&why);
        }
    }
}

/// Hits of a space go by the table that its function is bound to, and by the proof of the tier behind that, if one of the functions that
/// share the space has one.
fn watch(space: &crate::memory::Space, bound: &quickcache::tier::store::Bound) {
    let watched = bound.watched();
    let before = space.watch.get();
    space.watch.set(Some(
        before.map_or(watched, |before| watched.proven_as(before)),
    ));
}

/// What names a function in a table and on a server.
pub fn function_name(keys: &Keys, key_prefix: &str, beside: u64) -> Vec<u8> {
    let mut name = match keys {
        // In the words of `StoreKey::function_of_text`.
        Keys::Seed(prefix) => format!("{key_prefix}quickcache.{prefix}").into_bytes(),
        Keys::V1(function) => [&function.id()[..], key_prefix.as_bytes()].concat(),
    };
    if beside != 0 {
        name.extend_from_slice(&beside.to_le_bytes());
    }
    name
}

/// A key there; `key_prefix` is what the tier puts before its text.
pub fn store_key(key_prefix: &str, text: &str, beside: u64) -> StoreKey {
    let key = match key_prefix {
        "" => StoreKey::of_text(text),
        _ => StoreKey::of_text(&format!("{key_prefix}{text}")),
    };
    key.beside(beside)
}

//! `Memory`, the memory tier: one table for all functions that use it, and an ordinary cache for whoever has a text key.
//!
//! A function's entries are found by typed parts (`part.rs`), an entry that was set by text by that text. Both are one cache:
//! `memory.get(f.get_cache_key(x))` sees f's entry. The text of a typed entry is derived when it is asked for; the first
//! such question about a space makes an index of it.

use crate::cell::GilCell;
use crate::clock;
use crate::ffi::{self, PyObject};
use crate::part::{self, Part, Tag, hash_parts};
use crate::state::FLIGHTS;
use crate::value::is_ellipsis;
use crate::{flight::FlightKey, testing, text, value};
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use pyo3::{PyTraverseError, PyVisit};
use quickcache::protocol::machine::KeyOf;
use quickcache::tier::memory::{Inserted, Limits, NEVER, Table};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

/// One entry of the table: 24 bytes, what a hit reads.
pub struct Entry {
    pub value: *mut PyObject,
    pub bits: u64,
    pub label: Label,
}

/// Whose an entry is and of what kind, in one word, so that a hit compares it at once.
///
/// ```text
/// space 32 | encoded 8 | tag 8
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(u64);

impl Label {
    const ENCODED: u64 = 1 << 8;

    #[inline(always)]
    pub const fn new(space: u32, tag: Tag, encoded: bool) -> Label {
        Label((space as u64) << 16 | (encoded as u64) << 8 | tag as u64)
    }

    fn tag(self) -> Tag {
        part::tag(self.0 as u8)
    }
}

impl Entry {
    /// Takes references of its own to the value and to what the parts point to.
    ///
    /// # Safety
    /// The parts and the value are alive, and the GIL is held.
    unsafe fn new(value: *mut PyObject, encoded: bool, space: u32, parts: &[Part]) -> Entry {
        unsafe {
            let (tag, bits) = part::own(parts);
            ffi::Py_INCREF(value);
            Entry {
                value,
                bits,
                label: Label::new(space, tag, encoded),
            }
        }
    }

    /// The id of its space at the time it was filled; an entry of an id that is no more is dead.
    pub fn space(&self) -> u32 {
        (self.label.0 >> 16) as u32
    }

    /// The value is the pickle of what callers get.
    pub fn encoded(&self) -> bool {
        self.label.0 & Label::ENCODED != 0
    }

    /// Whether this is the entry of these parts in a space.
    ///
    /// # Safety
    /// As for `part::is`.
    #[inline(always)]
    pub unsafe fn has_key(&self, space: u32, parts: &[Part]) -> bool {
        let label = Label::new(space, part::tag_of(parts), self.encoded());
        self.label == label && unsafe { part::is(self.bits, parts) }
    }

    /// # Safety
    /// As for `part::with_parts`, of its key.
    unsafe fn with_parts<R>(&self, f: impl FnOnce(&[Part]) -> R) -> R {
        unsafe { part::with_parts(self.label.tag(), self.bits, f) }
    }
}

// SAFETY: moved and dropped with the GIL held only.
unsafe impl Send for Entry {}
unsafe impl Sync for Entry {}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: made by `Entry::new`; every owner drops entries under the GIL and outside the table.
        unsafe {
            part::release(self.label.tag(), self.bits);
            ffi::Py_DECREF(self.value);
        }
    }
}

/// The keys of one prefix in one memory tier. Functions of equal text share it.
pub struct Space {
    /// Changes with each `clear_all`.
    pub id: Cell<u32>,
    pub seed: Cell<u64>,
    /// The number under which the protocol knows it; never changes.
    pub function: u32,
    /// The text keys of this space begin so: up to and with the slash.
    pub text: Box<str>,
    /// How much of `text` the tier has put before the function's own key, which is what flights are known by.
    own_from: usize,
    /// Of each text key, by its hash, the hash of the typed key. Made when first asked for.
    index: GilCell<Option<HashMap<u64, Vec<u64>>>>,
}

// SAFETY: as for everything here, the GIL.
unsafe impl Send for Space {}
unsafe impl Sync for Space {}

/// The space of entries that were set by text.
const BY_TEXT: u32 = 0;

pub struct Inner {
    table: Table<Entry>,
    spaces: HashMap<Box<str>, Arc<Space>>,
    live: HashSet<u32>,
    next: u32,
    seed: u64,
    /// Some text that looks like a key of a function was set by text.
    texts: bool,
}

impl Inner {
    #[inline(always)]
    pub fn find(&self, hash: u64, eq: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        self.table.get(hash, clock::passed, eq)
    }

    /// The entries as the hit path asks for them.
    #[inline(always)]
    pub fn table(&self) -> &Table<Entry> {
        &self.table
    }

    /// Where the one entry of a space without parts is; any number, if there is none.
    pub fn slot_of_nothing(&self, space: &Space) -> u32 {
        let id = space.id.get();
        // SAFETY: there are no parts.
        let hash = unsafe { hash_parts(space.seed.get(), &[]) };
        let slot = self.table.slot_of(hash, |e| unsafe { e.has_key(id, &[]) });
        slot.unwrap_or(u32::MAX)
    }
}

/// A bounded cache in the memory of this process, with a timeout.
///
/// `timeout` is in seconds (`None`: no expiry). When `max_entries` or `max_bytes` is reached, entries that are seldom
/// asked for make way. `copy=True` gives each caller a copy of its own, `copy=False` the stored object itself; by default
/// a copy is made only where another tier would make one too. Immutable values are never copied.
#[pyclass(frozen, module = "quickcache", immutable_type, weakref)]
pub struct Memory {
    state: GilCell<Inner>,
    /// Milliseconds; `NEVER` for no expiry.
    pub timeout: u64,
    pub copy: Option<bool>,
    /// The one that its entries are of; see `testing`.
    era: Cell<u64>,
}

// SAFETY: the cell is touched with the GIL held only.
unsafe impl Sync for Memory {}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

pub fn hash_text(text: &str) -> u64 {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new).hash_one(text)
}

/// Numbers for the protocol, one per space.
fn next_function() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A timeout option: seconds, a timedelta, or `None` for no expiry; held in milliseconds.
pub struct Timeout(pub u64);

impl<'py> FromPyObject<'_, 'py> for Timeout {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Timeout(NEVER));
        }
        let number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
        let seconds: f64 = if number && !value.is_instance_of::<PyBool>() {
            match value.extract() {
                Ok(seconds) => seconds,
                // An integer beyond every float.
                Err(_) if value.gt(0)? => f64::INFINITY,
                Err(_) => f64::NEG_INFINITY,
            }
        } else if let Ok(total) = value.call_method0("total_seconds") {
            total.extract()?
        } else {
            return Err(PyTypeError::new_err(format!(
                "Memory: timeout must be a number of seconds, a timedelta or None, not {}",
                value.get_type().name()?
            )));
        };
        if seconds.is_nan() || seconds <= 0.0 {
            return Err(PyValueError::new_err(format!(
                "Memory: timeout must be more than 0 seconds, not {}; None means no expiry",
                value.repr()?
            )));
        }
        Ok(Timeout(millis(seconds)))
    }
}

/// At least one millisecond, so that a short timeout is not taken for none.
pub fn millis(seconds: f64) -> u64 {
    let ms = (seconds * 1000.0).ceil();
    if ms >= (1u64 << 52) as f64 {
        NEVER
    } else {
        (ms as u64).max(1)
    }
}

/// A value in an error.
fn shown(value: &Bound<PyAny>) -> String {
    value
        .repr()
        .map_or_else(|_| "that".into(), |r| r.to_string())
}

/// A `set` of a value that cannot be pickled; what pickling raised is the cause. An interrupt stays as it is.
fn cannot_copy(value: &Bound<PyAny>, error: PyErr) -> PyErr {
    let py = value.py();
    if !error.is_instance_of::<PyException>(py) {
        return error;
    }
    let class = value.get_type().fully_qualified_name();
    let text = format!(
        "Memory.set: a value of type {} cannot be copied ({}); use Memory(copy=False) to share one object among all callers",
        class.map_or_else(|_| "?".into(), |c| c.to_string()),
        error.value(py)
    );
    let better = PyTypeError::new_err(text);
    better.set_cause(py, Some(error));
    better
}

/// A bound: a positive integer, or `None` for no bound.
struct AtMost<const BYTES: bool>(Option<u64>);

impl<'py, const BYTES: bool> FromPyObject<'_, 'py> for AtMost<BYTES> {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(AtMost(None));
        }
        let name = if BYTES { "max_bytes" } else { "max_entries" };
        if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
            return Err(PyTypeError::new_err(format!(
                "Memory: {name} must be an integer or None, not {}",
                value.get_type().name()?
            )));
        }
        match value.extract::<i64>() {
            Ok(n) if n > 0 => Ok(AtMost(Some(n as u64))),
            // More than fits 64 bits is no bound at all.
            Err(_) if value.gt(0)? => Ok(AtMost(None)),
            _ => Err(PyValueError::new_err(format!(
                "Memory: {name} must be more than 0, not {}; None means no bound",
                value.repr()?
            ))),
        }
    }
}

/// What is to be stored of one value.
pub struct Stored<'py> {
    pub object: Bound<'py, PyAny>,
    pub encoded: bool,
    pub weight: u32,
}

impl<'py> Stored<'py> {
    /// Of a value that callers may share, or not. May run Python code: a value that is not shared is pickled.
    pub fn of(value: &Bound<'py, PyAny>, copy: bool) -> PyResult<Stored<'py>> {
        // `Ellipsis` counts as encoded, so that the hit path leaves it to the slow one.
        let nothing = is_ellipsis(value);
        let encoded = nothing || copy && !value::immutable(value);
        let object = if encoded && !nothing {
            value::encode(value)?
        } else {
            value.clone()
        };
        let weight = value::weigh(object.as_ptr()).min(u32::MAX as u64) as u32;
        Ok(Stored {
            object,
            encoded,
            weight,
        })
    }
}

/// What a caller gets of a stored value.
pub fn served<'py>(object: Bound<'py, PyAny>, encoded: bool) -> PyResult<Bound<'py, PyAny>> {
    if encoded && !is_ellipsis(&object) {
        value::decode(&object)
    } else {
        Ok(object)
    }
}

impl Memory {
    fn with_limits(limits: Limits, timeout: u64, copy: Option<bool>) -> Memory {
        Memory {
            state: GilCell::new(Inner {
                table: Table::new(limits),
                spaces: HashMap::new(),
                live: HashSet::from([BY_TEXT]),
                next: BY_TEXT,
                seed: random(),
                texts: false,
            }),
            timeout,
            copy,
            era: Cell::new(testing::era()),
        }
    }

    /// Lets entries of another era go. Asked before any is looked at or stored.
    pub fn settle(&self, py: Python) {
        if self.era.replace(testing::era()) != testing::era() {
            self.clear(py);
        }
    }

    pub fn inner(&self) -> *const Inner {
        // SAFETY: only the address is used; the hit path keeps the rules of `peek`.
        unsafe { self.state.peek() }
    }

    /// The space whose text keys begin with `text`, of which `own_from` bytes are the tier's; made when it is not there yet.
    pub fn space(&self, py: Python, text: &str, own_from: usize) -> Arc<Space> {
        self.state.with(py, |m| {
            if let Some(space) = m.spaces.get(text) {
                return space.clone();
            }
            m.next += 1;
            let space = Arc::new(Space {
                id: Cell::new(m.next),
                seed: Cell::new(random()),
                function: next_function(),
                text: text.into(),
                own_from,
                index: GilCell::new(None),
            });
            m.live.insert(m.next);
            m.spaces.insert(text.into(), space.clone());
            space
        })
    }

    /// The stored object of a typed key, and whether it is encoded. Counts as a visit.
    pub fn look<'py>(
        &self,
        py: Python<'py>,
        space: &Space,
        parts: &[Part],
    ) -> Option<(Bound<'py, PyAny>, bool)> {
        self.settle(py);
        let id = space.id.get();
        // SAFETY: the parts are alive; comparing them runs no Python code.
        unsafe {
            let hash = hash_parts(space.seed.get(), parts);
            self.state.with(py, |m| {
                let e = m.find(hash, |e| e.has_key(id, parts))?;
                Some((Bound::from_borrowed_ptr(py, e.value), e.encoded()))
            })
        }
    }

    /// Moves an entry that was set by text to where calls look for it.
    pub fn adopt(&self, py: Python, space: &Space, parts: &[Part], text: &Bound<PyString>) -> bool {
        if !self.state.with(py, |m| m.texts) {
            return false;
        }
        let key = [Part {
            tag: Tag::Str,
            bits: text.as_ptr() as u64,
        }];
        let mut out = Vec::new();
        let adopted = self.state.with(py, |m| unsafe {
            let hash = hash_parts(m.seed, &key);
            let eq = |e: &Entry| e.has_key(BY_TEXT, &key);
            let now = clock::now();
            let standing = m.table.standing(hash, eq).filter(|s| s.deadline > now)?;
            let old = m.table.remove(hash, eq)?;
            let entry = Entry::new(old.value, old.encoded(), space.id.get(), parts);
            let hash = hash_parts(space.seed.get(), parts);
            out.push(old);
            let id = space.id.get();
            let same = |e: &Entry| e.has_key(id, parts);
            m.table.insert(
                hash,
                entry,
                standing.weight,
                standing.deadline,
                now,
                same,
                &mut out,
            );
            Some(())
        });
        if adopted.is_some() {
            self.note_text(py, space, parts);
        }
        adopted.is_some()
    }

    /// Keeps the index of a space whole, if it has one.
    fn note_text(&self, py: Python, space: &Space, parts: &[Part]) {
        if space.index.with(py, |i| i.is_none()) {
            return;
        }
        let Ok(args) = text::args(parts) else { return };
        let typed = unsafe { hash_parts(space.seed.get(), parts) };
        let entries = self.state.with(py, |m| m.table.len());
        space.index.with(py, |i| {
            // It keeps what the table let go: past twice the table's size it is made anew, when it is asked again.
            if i.as_ref()
                .is_some_and(|index| index.len() > 2 * entries + 64)
            {
                *i = None;
                return;
            }
            let list = i
                .as_mut()
                .expect("asked above")
                .entry(hash_text(&args))
                .or_default();
            if !list.contains(&typed) {
                list.push(typed);
            }
        });
    }

    /// Stores the value of a typed key under the id its execution began with. Runs no Python code before the table is whole.
    pub fn fill(
        &self,
        py: Python,
        space: &Space,
        id: u32,
        parts: &[Part],
        stored: &Stored,
        deadline: u64,
    ) -> Inserted {
        self.settle(py);
        let mut out = Vec::new();
        // SAFETY: the parts are alive; the entry takes its own references.
        let done = unsafe {
            let hash = hash_parts(space.seed.get(), parts);
            let entry = Entry::new(stored.object.as_ptr(), stored.encoded, id, parts);
            let same = |e: &Entry| e.has_key(id, parts);
            self.state.with(py, |m| {
                let now = clock::now();
                let Inner { table, live, .. } = m;
                table.sweep(now, 1, |e| !live.contains(&e.space()), &mut out);
                table.insert(hash, entry, stored.weight, deadline, now, same, &mut out)
            })
        };
        drop(out);
        self.note_text(py, space, parts);
        done
    }

    /// Removes a typed key.
    pub fn remove(&self, py: Python, space: &Space, parts: &[Part]) -> bool {
        let id = space.id.get();
        let gone = unsafe {
            let hash = hash_parts(space.seed.get(), parts);
            self.state
                .with(py, |m| m.table.remove(hash, |e| e.has_key(id, parts)))
        };
        gone.is_some()
    }

    /// What an entry is worth: deadline, lifetime, weight; for `explain`.
    pub fn standing(
        &self,
        py: Python,
        space: &Space,
        parts: &[Part],
    ) -> Option<(u64, Option<u64>, u32)> {
        self.settle(py);
        let id = space.id.get();
        unsafe {
            let hash = hash_parts(space.seed.get(), parts);
            self.state.with(py, |m| {
                let s = m.table.standing(hash, |e| e.has_key(id, parts))?;
                (s.deadline > clock::now()).then_some((s.deadline, s.lifetime, s.weight))
            })
        }
    }

    /// How many entries a space has, and what they weigh. Looks at the whole table.
    pub fn weigh_space(&self, py: Python, space: &Space) -> (u64, u64) {
        self.settle(py);
        let (id, now) = (space.id.get(), clock::now());
        self.state.with(py, |m| {
            let own = m
                .table
                .iter()
                .filter(|(e, s)| e.space() == id && s.deadline > now);
            own.fold((0, 0), |(n, bytes), (_, s)| {
                (
                    n + 1,
                    bytes + s.weight as u64 + Table::<Entry>::OVERHEAD as u64,
                )
            })
        })
    }

    /// Whether an entry of this key is there and has expired.
    pub fn expired(&self, py: Python, space: &Space, parts: &[Part]) -> bool {
        let id = space.id.get();
        // SAFETY: the parts are alive.
        let hash = unsafe { hash_parts(space.seed.get(), parts) };
        self.state.with(py, |m| {
            let s = m.table.standing(hash, |e| unsafe { e.has_key(id, parts) });
            s.is_some_and(|s| s.deadline <= clock::now())
        })
    }

    /// Every entry of a space is dead at once; the sweep frees them.
    pub fn clear_space(&self, py: Python, space: &Space) {
        FLIGHTS.with(py, |flights| flights.clear_all(space.function));
        self.state.with(py, |m| {
            m.live.remove(&space.id.get());
            m.next += 1;
            m.live.insert(m.next);
            space.id.set(m.next);
            space.seed.set(random());
        });
        space.index.with(py, |i| *i = None);
        let mut out = Vec::new();
        self.state.with(py, |m| {
            if !m.texts {
                return;
            }
            let prefix = &*space.text;
            m.table.retain(
                |e| e.space() != BY_TEXT || !unsafe { text_of(e) }.starts_with(prefix),
                &mut out,
            );
        });
    }

    // ---- by text ----

    fn by_text(text: &Bound<PyString>) -> [Part; 1] {
        [Part {
            tag: Tag::Str,
            bits: text.as_ptr() as u64,
        }]
    }

    /// The space that a text key belongs to, and the rest of the text.
    fn space_of<'t>(&self, py: Python, text: &'t str) -> Option<(Arc<Space>, &'t str)> {
        self.state.with(py, |m| {
            text.match_indices('/').find_map(|(i, _)| {
                let space = m.spaces.get(&text[..=i])?;
                Some((space.clone(), &text[i + 1..]))
            })
        })
    }

    /// The typed hash of the entry whose text key this is, if there is one.
    fn typed(&self, py: Python, space: &Space, args: &str) -> Option<u64> {
        if space.index.with(py, |i| i.is_none()) {
            let mut index: HashMap<u64, Vec<u64>> = HashMap::new();
            let id = space.id.get();
            let seed = space.seed.get();
            self.state.with(py, |m| {
                for (e, _) in m.table.iter().filter(|(e, _)| e.space() == id) {
                    unsafe {
                        e.with_parts(|parts| {
                            if let Ok(args) = text::args(parts) {
                                index
                                    .entry(hash_text(&args))
                                    .or_default()
                                    .push(hash_parts(seed, parts));
                            }
                        })
                    }
                }
            });
            space.index.with(py, |i| *i = Some(index));
        }
        let candidates = space
            .index
            .with(py, |i| i.as_ref()?.get(&hash_text(args)).cloned())?;
        let live: Vec<u64> = self.state.with(py, |m| {
            candidates
                .iter()
                .copied()
                .filter(|h| {
                    m.table
                        .peek(*h, clock::passed, |e| is_typed(e, space, args))
                        .is_some()
                })
                .collect()
        });
        if live.len() < candidates.len() {
            space.index.with(py, |i| {
                let Some(index) = i.as_mut() else { return };
                if live.is_empty() {
                    index.remove(&hash_text(args))
                } else {
                    index.insert(hash_text(args), live.clone())
                };
            });
        }
        live.first().copied()
    }

    /// The stored object under a text key, whoever stored it.
    fn look_text<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        self.settle(py);
        let parts = Self::by_text(key);
        let found = unsafe {
            let hash = hash_parts(self.seed(py), &parts);
            self.state.with(py, |m| {
                let e = m.find(hash, |e| e.has_key(BY_TEXT, &parts))?;
                Some((Bound::from_borrowed_ptr(py, e.value), e.encoded()))
            })
        };
        if found.is_some() {
            return Ok(found);
        }
        let Ok(text) = key.to_str() else {
            return Ok(None);
        };
        let Some((space, args)) = self.space_of(py, text) else {
            return Ok(None);
        };
        let Some(hash) = self.typed(py, &space, args) else {
            return Ok(None);
        };
        Ok(self.state.with(py, |m| {
            let e = m.find(hash, |e| is_typed(e, &space, args))?;
            Some((
                unsafe { Bound::from_borrowed_ptr(py, e.value) },
                e.encoded(),
            ))
        }))
    }

    /// Stores a value by text that is gone at `deadline`, as long as it is `good`; one whose deadline has come takes an older
    /// one along.
    pub fn put<'py>(
        &self,
        key: &Bound<'py, PyString>,
        stored: &Stored<'py>,
        deadline: u64,
        good: impl Fn(Python<'py>) -> bool,
    ) {
        let py = key.py();
        if good(py) {
            // What is freed here may run Python code, and a clear in it.
            self.remove_text(py, key);
        }
        if good(py) {
            self.insert_text(py, key, stored, deadline);
        }
    }

    /// When a text key expires: `NEVER` if it does not, 0 if it is not there.
    pub fn due(&self, key: &Bound<PyAny>) -> PyResult<u64> {
        let py = key.py();
        self.settle(py);
        let key = text_key(key)?;
        let parts = Self::by_text(&key);
        let now = clock::now();
        let by_text = self.state.with(py, |m| unsafe {
            m.table
                .standing(hash_parts(m.seed, &parts), |e| e.has_key(BY_TEXT, &parts))
        });
        let standing = by_text.filter(|s| s.deadline > now).or_else(|| {
            let (space, args) = self.space_of(py, key.to_str().ok()?)?;
            let hash = self.typed(py, &space, args)?;
            self.state.with(py, |m| {
                m.table.standing(hash, |e| is_typed(e, &space, args))
            })
        });
        Ok(standing.map_or(0, |s| s.deadline))
    }

    fn seed(&self, py: Python) -> u64 {
        self.state.with(py, |m| m.seed)
    }

    /// Removes a text key, whoever stored it.
    fn remove_text(&self, py: Python, key: &Bound<PyString>) -> bool {
        let parts = Self::by_text(key);
        let gone = unsafe {
            let hash = hash_parts(self.seed(py), &parts);
            self.state
                .with(py, |m| m.table.remove(hash, |e| e.has_key(BY_TEXT, &parts)))
        };
        let typed = key.to_str().ok().and_then(|text| {
            let (space, args) = self.space_of(py, text)?;
            let hash = self.typed(py, &space, args);
            let gone = hash.and_then(|h| {
                self.state
                    .with(py, |m| m.table.remove(h, |e| is_typed(e, &space, args)))
            });
            // A call of the function that runs now must not put back what was removed.
            let key: Arc<str> = text[space.own_from..].into();
            let flight = FlightKey::Text(key.clone());
            FLIGHTS.with(py, |f| {
                f.clear(KeyOf {
                    function: space.function,
                    hash: hash_text(&key),
                    key: &flight,
                })
            });
            gone
        });
        gone.is_some() || typed.is_some()
    }

    fn insert_text(
        &self,
        py: Python,
        key: &Bound<PyString>,
        stored: &Stored,
        deadline: u64,
    ) -> Inserted {
        self.settle(py);
        self.remove_text(py, key);
        let parts = Self::by_text(key);
        let looks_typed = key.to_str().is_ok_and(|t| t.contains("quickcache."));
        let mut out = Vec::new();
        unsafe {
            let hash = hash_parts(self.seed(py), &parts);
            let entry = Entry::new(stored.object.as_ptr(), stored.encoded, BY_TEXT, &parts);
            self.state.with(py, |m| {
                m.texts |= looks_typed;
                let now = clock::now();
                let same = |e: &Entry| e.has_key(BY_TEXT, &parts);
                m.table
                    .insert(hash, entry, stored.weight, deadline, now, same, &mut out)
            })
        }
    }
}

/// `now` and a lifetime, where one may be endless.
pub fn deadline(now: u64, timeout: u64) -> u64 {
    if timeout == NEVER {
        NEVER
    } else {
        now.saturating_add(timeout.max(1))
    }
}

fn is_typed(e: &Entry, space: &Space, args: &str) -> bool {
    // SAFETY: an entry in the table owns its key.
    e.space() == space.id.get()
        && unsafe { e.with_parts(|parts| text::args(parts).is_ok_and(|t| t == args)) }
}

/// The text of an entry that was set by text.
unsafe fn text_of(e: &Entry) -> &str {
    unsafe { text::utf8(e.bits as *mut PyObject) }.unwrap_or("")
}

pub fn text_key<'py>(key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    if let Ok(exact) = key.cast_exact::<PyString>() {
        return Ok(exact.clone());
    }
    if key.is_instance_of::<PyString>() {
        return key.str();
    }
    Err(PyTypeError::new_err(format!(
        "a key of Memory must be a str, not {}: that of a cached function's call is f.get_cache_key(...)",
        key.get_type().name()?
    )))
}

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(
        signature = (timeout=Timeout(300_000), *, max_entries=AtMost(Some(10_000)), max_bytes=AtMost(Some(64 << 20)), copy=None, **unknown),
        text_signature = "(timeout=300, *, max_entries=10000, max_bytes=67108864, copy=None)"
    )]
    fn py_new(
        timeout: Timeout,
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
        match self.look_text(py, &text_key(key)?)? {
            Some((object, encoded)) => served(object, encoded).map(Some),
            None => Ok(default),
        }
    }

    /// Stores a value for `timeout` seconds (`None`: no expiry; not given: this cache's own timeout; 0 or less: not at all).
    #[pyo3(signature = (key, value, timeout=Lifetime::Own), text_signature = "($self, key, value, timeout=...)")]
    fn set(&self, key: &Bound<PyAny>, value: &Bound<PyAny>, timeout: Lifetime) -> PyResult<()> {
        let py = key.py();
        let key = text_key(key)?;
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
        Ok(self.remove_text(key.py(), &text_key(key)?))
    }

    /// Gives `key` another timeout, as `set` takes it; says whether it was there.
    #[pyo3(signature = (key, timeout=Lifetime::Own), text_signature = "($self, key, timeout=...)")]
    fn touch(&self, key: &Bound<PyAny>, timeout: Lifetime) -> PyResult<bool> {
        let py = key.py();
        let key = text_key(key)?;
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
        Ok(self.look_text(key.py(), &text_key(key)?)?.is_some())
    }

    /// How many entries there are, those that have expired and were not yet freed included.
    fn __len__(&self, py: Python) -> usize {
        self.settle(py);
        self.state.with(py, |m| m.table.len())
    }

    /// Removes every entry of every function, at once.
    fn clear(&self, py: Python) {
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

/// The timeout of one `set`.
enum Lifetime {
    Own,
    Given(u64),
    /// Zero or less: the entry is over before it begins.
    None,
}

impl<'py> FromPyObject<'_, 'py> for Lifetime {
    type Error = PyErr;

    fn extract(value: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Lifetime::Given(NEVER));
        }
        if value.as_ptr() == unsafe { ffi::Py_Ellipsis() } {
            return Ok(Lifetime::Own);
        }
        let number = value.extract::<f64>().ok();
        let number = number.filter(|s| !s.is_nan() && !value.is_instance_of::<PyBool>());
        let seconds = number.ok_or_else(|| {
            PyTypeError::new_err(format!(
                "Memory: timeout must be a number of seconds or None, not {}",
                shown(&value)
            ))
        })?;
        Ok(if seconds <= 0.0 {
            Lifetime::None
        } else {
            Lifetime::Given(millis(seconds))
        })
    }
}

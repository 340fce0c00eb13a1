//! A memory asked by text keys, those of functions among them: `memory.get(f.get_cache_key(x))` sees f's entry. The text of a
//! typed entry is derived when it is asked for; the first such question about a space makes an index of it.

use super::{BY_TEXT, Entry, Memory, Space, Stored, hash_text};
use crate::clock;
use crate::ffi::PyObject;
use crate::flight::FlightKey;
use crate::keys::v1_start;
use crate::part::{Part, Tag, hash_parts};
use crate::state::FLIGHTS;
use crate::text;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use quickcache::protocol::machine::KeyOf;
use quickcache::tier::memory::Inserted;
use std::collections::HashMap;
use std::sync::Arc;

impl Memory {
    /// Keeps the index of a space whole, if it has one.
    pub(super) fn note_text(&self, py: Python, space: &Space, parts: &[Part]) {
        if space.index.with(py, |i| i.is_none()) {
            return;
        }
        let Ok(own) = space.keys.text(parts) else {
            return;
        };
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
                .entry(hash_text(&own))
                .or_default();
            if !list.contains(&typed) {
                list.push(typed);
            }
        });
    }

    fn by_text(text: &Bound<PyString>) -> [Part; 1] {
        [Part {
            tag: Tag::Str,
            bits: text.as_ptr() as u64,
        }]
    }

    /// The spaces that a text key may be of: one with a store behind it and one without, one for each stale timeout, but for keys that do not say of which
    /// function they are.
    fn spaces_of(&self, py: Python, text: &str) -> Vec<Arc<Space>> {
        self.state.with(py, |m| {
            let any_function = v1_start(text).is_some();
            let named = text.match_indices('/').find_map(|(i, _)| {
                let spaces: Vec<_> = m.spaces_named(&text[..=i]).cloned().collect();
                (!spaces.is_empty()).then_some(spaces)
            });
            match named {
                Some(spaces) => spaces,
                None if any_function => {
                    let all = m.spaces.values().filter(|space| space.may_own(text));
                    all.cloned().collect()
                }
                None => vec![],
            }
        })
    }

    /// The entry of a call whose text key this is, if there is one: its space, and its typed hash.
    fn typed(&self, py: Python, text: &str) -> Option<(Arc<Space>, u64)> {
        self.spaces_of(py, text).into_iter().find_map(|space| {
            let hash = self.typed_in(py, &space, &text[space.own_from..])?;
            Some((space, hash))
        })
    }

    fn typed_in(&self, py: Python, space: &Space, own: &str) -> Option<u64> {
        if space.index.with(py, |i| i.is_none()) {
            let mut index: HashMap<u64, Vec<u64>> = HashMap::new();
            let id = space.id.get();
            let seed = space.seed.get();
            self.state.with(py, |m| {
                for (e, _) in m.table.iter().filter(|(e, _)| e.space() == id) {
                    unsafe {
                        e.with_parts(|parts| {
                            if let Ok(own) = space.keys.text(parts) {
                                index
                                    .entry(hash_text(&own))
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
            .with(py, |i| i.as_ref()?.get(&hash_text(own)).cloned())?;
        let live: Vec<u64> = self.state.with(py, |m| {
            candidates
                .iter()
                .copied()
                .filter(|h| {
                    m.table
                        .peek(*h, clock::passed, |e| is_typed(e, space, own))
                        .is_some()
                })
                .collect()
        });
        if live.len() < candidates.len() {
            space.index.with(py, |i| {
                let Some(index) = i.as_mut() else { return };
                if live.is_empty() {
                    index.remove(&hash_text(own))
                } else {
                    index.insert(hash_text(own), live.clone())
                };
            });
        }
        live.first().copied()
    }

    /// The stored object under a text key, whoever stored it.
    pub(super) fn look_text<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        self.settle(py);
        let parts = Self::by_text(key);
        let found = unsafe {
            let hash = hash_parts(self.seed(py), &parts);
            self.state.with(py, |m| {
                let e = m.find(hash, |e| e.has_key(BY_TEXT, &parts), |_| true)?;
                Some((Bound::from_borrowed_ptr(py, e.value), e.encoded()))
            })
        };
        if found.is_some() {
            return Ok(found);
        }
        let Ok(text) = key.to_str() else {
            return Ok(None);
        };
        let Some((space, hash)) = self.typed(py, text) else {
            return Ok(None);
        };
        Ok(self.state.with(py, |m| {
            let same = |e: &Entry| is_typed(e, &space, &text[space.own_from..]);
            let e = m.find(hash, same, |found| space.holds(found))?;
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
        let key = text_key("Memory", key)?;
        let parts = Self::by_text(&key);
        let now = clock::now();
        let by_text = self.state.with(py, |m| unsafe {
            m.table
                .standing(hash_parts(m.seed, &parts), |e| e.has_key(BY_TEXT, &parts))
        });
        let standing = by_text.filter(|s| s.deadline > now).or_else(|| {
            let text = key.to_str().ok()?;
            let (space, hash) = self.typed(py, text)?;
            let mut standing = self.state.with(py, |m| {
                m.table
                    .standing(hash, |e| is_typed(e, &space, &text[space.own_from..]))
            })?;
            standing.deadline = space.fresh_until(standing.deadline);
            Some(standing)
        });
        Ok(standing.map_or(0, |s| s.deadline))
    }

    fn seed(&self, py: Python) -> u64 {
        self.state.with(py, |m| m.seed)
    }

    /// Removes a text key, whoever stored it.
    pub(super) fn remove_text(&self, py: Python, key: &Bound<PyString>) -> bool {
        let parts = Self::by_text(key);
        // Let go at the very end: that may run Python code.
        let mut gone = Vec::new();
        gone.extend(unsafe {
            let hash = hash_parts(self.seed(py), &parts);
            self.state
                .with(py, |m| m.table.remove(hash, |e| e.has_key(BY_TEXT, &parts)))
        });
        let text = key.to_str().unwrap_or_default();
        for space in self.spaces_of(py, text) {
            let own = &text[space.own_from..];
            if let Some(hash) = self.typed_in(py, &space, own) {
                let same = |e: &Entry| is_typed(e, &space, own);
                gone.extend(self.state.with(py, |m| m.table.remove(hash, same)));
            }
            // A call of the function that runs now must not put back what was removed.
            let key: Arc<str> = own.into();
            let flight = FlightKey::Text(key.clone());
            FLIGHTS.with(py, |f| {
                f.clear(KeyOf {
                    function: space.function,
                    hash: hash_text(&key),
                    key: &flight,
                })
            });
        }
        !gone.is_empty()
    }

    pub(super) fn insert_text(
        &self,
        py: Python,
        key: &Bound<PyString>,
        stored: &Stored,
        deadline: u64,
    ) -> Inserted {
        self.settle(py);
        self.remove_text(py, key);
        let parts = Self::by_text(key);
        let looks_typed = key
            .to_str()
            .is_ok_and(|t| t.contains("quickcache.") || v1_start(t).is_some());
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

fn is_typed(e: &Entry, space: &Space, own: &str) -> bool {
    // SAFETY: an entry in the table owns its key.
    e.space() == space.id.get()
        && unsafe { e.with_parts(|parts| space.keys.text(parts).is_ok_and(|t| t == own)) }
}

/// The text of an entry that was set by text.
pub(super) unsafe fn text_of(e: &Entry) -> &str {
    unsafe { text::utf8(e.bits as *mut PyObject) }.unwrap_or("")
}

/// The text key that `class` is asked by.
pub fn text_key<'py>(class: &str, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    if let Ok(exact) = key.cast_exact::<PyString>() {
        return Ok(exact.clone());
    }
    if key.is_instance_of::<PyString>() {
        return key.str();
    }
    Err(PyTypeError::new_err(format!(
        "a key of {class} must be a str, not {}: that of a cached function's call is f.get_cache_key(...)",
        key.get_type().name()?
    )))
}

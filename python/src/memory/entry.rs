//! What the table holds of a value, and the spaces that entries are of.

use crate::cell::GilCell;
use crate::clock;
use crate::ffi::{self, PyObject};
use crate::keys::{Keys, v1_start};
use crate::part::{self, Part, Tag};
use crate::value::{self, is_ellipsis};
use pyo3::prelude::*;
use quickcache::tier::memory::{Found, NEVER};
use quickcache::tier::store::Watched;
use std::cell::Cell;
use std::collections::HashMap;

/// One entry of the table: 24 bytes, what a hit reads.
pub struct Entry {
    pub value: *mut PyObject,
    pub bits: u64,
    pub label: Label,
}

/// Whose an entry is and of what kind, in one word, so that a hit compares it at once.
///
/// ```text
/// kinds of several parts 16 | space 32 | encoded 8 | tag 8
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(u64);

impl Label {
    const ENCODED: u64 = 1 << 8;

    #[inline(always)]
    pub fn of(space: u32, parts: &[Part], encoded: bool) -> Label {
        let (kinds, tag) = (part::kinds_of(parts), part::tag_of(parts));
        Label((kinds as u64) << 48 | (space as u64) << 16 | (encoded as u64) << 8 | tag as u64)
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
    pub(super) unsafe fn new(
        value: *mut PyObject,
        encoded: bool,
        space: u32,
        parts: &[Part],
    ) -> Entry {
        unsafe {
            let bits = part::own(parts);
            ffi::Py_INCREF(value);
            Entry {
                value,
                bits,
                label: Label::of(space, parts, encoded),
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
        let label = Label::of(space, parts, self.encoded());
        self.label == label && unsafe { part::is(self.bits, parts) }
    }

    /// # Safety
    /// As for `part::with_parts`, of its key.
    pub(super) unsafe fn with_parts<R>(&self, f: impl FnOnce(&[Part]) -> R) -> R {
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
    /// Its name in the memory; under scheme `seed` its text keys begin so: up to and with the slash.
    pub text: Box<str>,
    /// Whether there is a store behind it: then its entries are as good as their guards, which hold by this table, once it is open.
    pub at_store: bool,
    /// How many milliseconds its entries stay beyond their deadlines, for calls whose function raises. With a store behind it only.
    pub stale: u64,
    pub watch: Cell<Option<Watched>>,
    /// How much of `text` the tier has put before the function's own key, which is what flights are known by.
    pub(super) own_from: usize,
    /// What makes the function's own keys.
    pub(super) keys: Keys,
    /// Of each text key, by its hash, the hash of the typed key. Made when first asked for.
    pub(super) index: GilCell<Option<HashMap<u64, Vec<u64>>>>,
}

impl Space {
    /// Whether an entry may be handed out: nobody on the machine has cleared it, and it is not stale.
    #[inline(always)]
    pub fn holds(&self, found: &Found<'_, Entry, ()>) -> bool {
        !self.at_store || self.stands(found) && (self.stale == 0 || self.is_fresh(found))
    }

    /// The same of one that may be stale.
    #[inline(always)]
    pub fn stands(&self, found: &Found<'_, Entry, ()>) -> bool {
        !self.at_store || (self.watch.get()).is_some_and(|watched| watched.holds(found))
    }

    fn is_fresh(&self, found: &Found<'_, Entry, ()>) -> bool {
        found.is_fresh(|deadline| clock::passed(self.fresh_until(deadline)))
    }

    /// Until when an entry of this deadline is a hit.
    pub fn fresh_until(&self, deadline: u64) -> u64 {
        match deadline {
            NEVER => NEVER,
            deadline => deadline.saturating_sub(self.stale),
        }
    }

    /// The deadline of an entry that is a hit until then.
    pub(super) fn kept_until(&self, fresh_until: u64) -> u64 {
        fresh_until.saturating_add(self.stale)
    }

    /// Whether a text key is of this space. A key of scheme `v1` does not say of which function it is: it may be of any.
    pub(super) fn may_own(&self, text: &str) -> bool {
        match self.keys {
            Keys::Seed(_) => text.starts_with(&*self.text),
            Keys::V1(_) => {
                v1_start(text) == Some(self.own_from)
                    && text.starts_with(&self.text[..self.own_from])
            }
        }
    }
}

// SAFETY: as for everything here, the GIL.
unsafe impl Send for Space {}
unsafe impl Sync for Space {}

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

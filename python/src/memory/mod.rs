//! `Memory`, the memory tier: one table for all functions that use it, and an ordinary cache for whoever has a text key.
//!
//! A function's entries are found by typed parts (`part.rs`), an entry that was set by text by that text. Here lives what calls
//! ask for; `by_text` and `cache` are the other door.

mod by_text;
mod cache;
mod entry;
pub mod options;

pub use by_text::text_key;
use by_text::text_of;
pub use entry::{Entry, Label, Space, Stored, served};
pub use options::millis;

use crate::cell::GilCell;
use crate::clock;
use crate::keys::Keys;
use crate::part::{Part, Tag, hash_parts};
use crate::report::Why;
use crate::state::FLIGHTS;
use crate::testing;
use pyo3::prelude::*;
use pyo3::types::PyString;
use quickcache::tier::memory::{Found, Inserted, Life, Limits, NEVER, Table};
use quickcache::tier::store::Guard;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

/// The space of entries that were set by text.
const BY_TEXT: u32 = 0;

pub struct Inner {
    table: Table<Entry>,
    spaces: HashMap<Box<str>, Arc<Space>>,
    live: HashSet<u32>,
    next: u32,
    seed: u64,
    /// The stale timeouts that its spaces have.
    stales: Vec<u64>,
    /// Some text that looks like a key of a function was set by text.
    texts: bool,
}

impl Inner {
    #[inline(always)]
    pub fn find(
        &self,
        hash: u64,
        eq: impl FnMut(&Entry) -> bool,
        holds: impl FnOnce(&Found<'_, Entry, ()>) -> bool,
    ) -> Option<&Entry> {
        let found = self.table.look(hash, eq)?;
        (holds(&found) && found.visit(clock::passed)).then(|| found.payload())
    }

    /// The spaces of a name: without a store behind them, and with one.
    fn spaces_named(&self, name: &str) -> impl Iterator<Item = &Arc<Space>> {
        let behind = self.stales.iter().map(|stale| Some(*stale));
        let named = |behind| self.spaces.get(&*own_name(name, behind));
        [None, Some(0)].into_iter().chain(behind).filter_map(named)
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
    static STATE: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
    STATE.hash_one(text)
}

/// What a space is kept under. With a store behind it a space is another one: its entries are good for as long as nobody on the machine
/// clears them. So it is with each stale timeout, which tells when they are fresh.
fn own_name(name: &str, behind: Option<u64>) -> std::borrow::Cow<'_, str> {
    match behind {
        None => name.into(),
        Some(0) => format!("\u{1}{name}").into(),
        Some(stale) => format!("\u{1}{stale}\u{1}{name}").into(),
    }
}

/// Numbers for the protocol, one per space.
fn next_function() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Memory {
    /// One that takes nothing.
    pub fn of_nothing() -> Memory {
        let limits = Limits {
            entries: 0,
            bytes: 0,
        };
        Memory::with_limits(limits, NEVER, Some(false))
    }

    fn with_limits(limits: Limits, timeout: u64, copy: Option<bool>) -> Memory {
        Memory {
            state: GilCell::new(Inner {
                table: Table::new(limits),
                spaces: HashMap::new(),
                live: HashSet::from([BY_TEXT]),
                next: BY_TEXT,
                seed: random(),
                stales: Vec::new(),
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

    /// The space of these keys, before whose texts the tier puts `key_prefix`; made when it is not there yet. `behind`: there is a store
    /// behind it, and so long its entries stay when they are stale.
    pub fn space(
        &self,
        py: Python,
        key_prefix: &str,
        keys: &Keys,
        behind: Option<u64>,
    ) -> Arc<Space> {
        let text = format!("{key_prefix}{}", keys.space()).into_boxed_str();
        let name = own_name(&text, behind);
        let stale = behind.unwrap_or(0);
        self.state.with(py, |m| {
            if let Some(space) = m.spaces.get(&*name) {
                return space.clone();
            }
            m.next += 1;
            if stale != 0 && !m.stales.contains(&stale) {
                m.stales.push(stale);
            }
            let space = Arc::new(Space {
                id: Cell::new(m.next),
                seed: Cell::new(random()),
                function: next_function(),
                text: text.clone(),
                at_store: behind.is_some(),
                stale,
                watch: Cell::new(None),
                own_from: key_prefix.len(),
                keys: keys.clone(),
                index: GilCell::new(None),
            });
            m.live.insert(m.next);
            m.spaces.insert(name.as_ref().into(), space.clone());
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
                let e = m.find(hash, |e| e.has_key(id, parts), |found| space.holds(found))?;
                Some((Bound::from_borrowed_ptr(py, e.value), e.encoded()))
            })
        }
    }

    /// As `look`, of an entry that may be stale, for a call whose function raised. Counts no visit.
    pub fn look_stale<'py>(
        &self,
        py: Python<'py>,
        space: &Space,
        parts: &[Part],
    ) -> Option<(Bound<'py, PyAny>, bool)> {
        self.settle(py);
        let id = space.id.get();
        // SAFETY: as in `look`.
        unsafe {
            let hash = hash_parts(space.seed.get(), parts);
            self.state.with(py, |m| {
                let found = m.table.look(hash, |e| e.has_key(id, parts))?;
                let e = found.payload();
                (space.stands(&found) && found.is_fresh(clock::passed))
                    .then(|| (Bound::from_borrowed_ptr(py, e.value), e.encoded()))
            })
        }
    }

    /// Whether an entry may be here that was set by text, and that looks as one of a function.
    pub fn has_texts(&self, py: Python) -> bool {
        self.state.with(py, |m| m.texts)
    }

    /// Moves an entry that was set by text to where calls look for it.
    pub fn adopt(
        &self,
        py: Python,
        space: &Space,
        parts: &[Part],
        text: &Bound<PyString>,
        guard: Guard,
    ) -> bool {
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
            let life = Life {
                deadline: space.kept_until(standing.deadline),
                born: now,
                guard,
            };
            m.table
                .insert_for(hash, entry, standing.weight, life, now, same, &mut out);
            Some(())
        });
        if adopted.is_some() {
            self.note_text(py, space, parts);
        }
        adopted.is_some()
    }

    /// Stores the value of a typed key under the id its execution began with, for as long as `guard` holds; a hit until `deadline`. Runs no Python code before
    /// the table is whole.
    #[allow(clippy::too_many_arguments, reason = "as for Table::insert")]
    pub fn fill(
        &self,
        py: Python,
        space: &Space,
        id: u32,
        parts: &[Part],
        stored: &Stored,
        deadline: u64,
        guard: Guard,
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
                let life = Life {
                    deadline: space.kept_until(deadline),
                    born: now,
                    guard,
                };
                table.insert_for(hash, entry, stored.weight, life, now, same, &mut out)
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

    /// What an entry is worth, a stale one too: deadline, lifetime, bytes as `max_bytes` counts them; for `explain`.
    pub fn standing(
        &self,
        py: Python,
        space: &Space,
        parts: &[Part],
    ) -> Option<(u64, Option<u64>, u64)> {
        self.settle(py);
        let id = space.id.get();
        unsafe {
            let hash = hash_parts(space.seed.get(), parts);
            self.state.with(py, |m| {
                let same = |e: &Entry| e.has_key(id, parts);
                let (found, s) = m.table.look_with_standing(hash, same)?;
                let good = space.stands(&found) && s.deadline > clock::now();
                good.then_some((s.deadline, s.lifetime, bytes_of(s.weight)))
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
                (n + 1, bytes + bytes_of(s.weight))
            })
        })
    }

    /// Why the entry of this key that is there is no hit, if one is there.
    pub fn why_not(&self, py: Python, space: &Space, parts: &[Part]) -> Option<Why> {
        let id = space.id.get();
        // SAFETY: the parts are alive.
        let hash = unsafe { hash_parts(space.seed.get(), parts) };
        self.state.with(py, |m| {
            let same = |e: &Entry| unsafe { e.has_key(id, parts) };
            let (found, s) = m.table.look_with_standing(hash, same)?;
            if space.fresh_until(s.deadline) <= clock::now() {
                Some(Why::Expired)
            } else {
                (!space.stands(&found)).then_some(Why::Cleared)
            }
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
            m.table.retain(
                |e| e.space() != BY_TEXT || !space.may_own(unsafe { text_of(e) }),
                &mut out,
            );
        });
    }
}

/// What an entry of this weight counts for in `max_bytes`.
fn bytes_of(weight: u32) -> u64 {
    u64::from(weight) + u64::from(Table::<Entry>::OVERHEAD)
}

/// `now` and a lifetime, where one may be endless.
pub fn deadline(now: u64, timeout: u64) -> u64 {
    if timeout == NEVER {
        NEVER
    } else {
        now.saturating_add(timeout.max(1))
    }
}

//! One entry of a table, and the slab that holds them: 16 bytes of our own and the payload. What a reader under a shared lock may
//! change, the count of visits, shares one atomic word with what readers test; everything else changes under `&mut` only.
//! What a hit does not read, links, hash and weight, lies apart.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::table::leaps;
use crate::tier::store::Guard;

/// The deadline of an entry that does not expire.
pub const NEVER: u64 = u64::MAX;

/// No entry: the end of a list.
pub(super) const NIL: u32 = u32::MAX;

/// The word of an entry, drawn from its lowest bit:
///
/// ```text
/// visits 2 | in main 1 | live 1 | lifetime 16 | deadline 44
/// ```
///
/// The deadline is on top, so that one shift gives it, and its highest bit says that it never comes; 43 bits of milliseconds are 278
/// years. The lifetime (deadline less the time of the insert) is there for `age` and is held as 11 bits and a power of two.
pub(super) mod word {
    pub const VISITS: u64 = 0b11;
    pub const MAIN: u64 = 1 << 2;
    pub const LIVE: u64 = 1 << 3;
    pub const LIFETIME_SHIFT: u32 = 4;
    pub const DEADLINE_SHIFT: u32 = 20;
    pub const NEVER: u64 = u64::MAX >> DEADLINE_SHIFT;

    pub const fn new(deadline: u64, now: u64) -> u64 {
        let deadline = if deadline > NEVER / 2 {
            NEVER
        } else {
            deadline
        };
        let life = if deadline == NEVER {
            0
        } else {
            shorten(deadline.saturating_sub(now))
        };
        deadline << DEADLINE_SHIFT | life << LIFETIME_SHIFT | LIVE
    }

    /// Whether the deadline has come; the clock is asked only where there is one.
    #[inline(always)]
    pub fn expired(word: u64, passed: impl FnOnce(u64) -> bool) -> bool {
        mortal(word) && passed(word >> DEADLINE_SHIFT)
    }

    #[inline(always)]
    pub const fn mortal(word: u64) -> bool {
        (word as i64) >= 0
    }

    pub const fn deadline(word: u64) -> u64 {
        if mortal(word) {
            word >> DEADLINE_SHIFT
        } else {
            super::NEVER
        }
    }

    pub const fn lifetime(word: u64) -> Option<u64> {
        if !mortal(word) {
            return None;
        }
        let code = word >> LIFETIME_SHIFT & 0xFFFF;
        Some((code & 0x7FF) << (code >> 11))
    }

    /// 11 bits and a power of two below them: never longer than the truth, and short of it by less than a thousandth.
    const fn shorten(life: u64) -> u64 {
        let power = (64 - life.leading_zeros()).saturating_sub(11);
        if power > 31 {
            0xFFFF
        } else {
            (power as u64) << 11 | life >> power
        }
    }
}

/// What a table knows of an entry besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// When it expires, or [`NEVER`].
    pub deadline: u64,
    /// Deadline less the time it was inserted, to a thousandth and never too long; unknown for an entry that does not expire.
    pub lifetime: Option<u64>,
    /// The weight it was inserted with, without the table's own overhead.
    pub weight: u32,
    /// How often it was asked for since it was last considered for eviction, at most 3.
    pub visits: u8,
    /// Whether it has proved itself and lives in the main queue.
    pub main: bool,
}

impl Standing {
    /// How long ago it was inserted, in milliseconds; unknown for an entry that does not expire.
    #[must_use]
    pub fn age(&self, now: u64) -> Option<u64> {
        Some(now.saturating_sub(self.deadline - self.lifetime?))
    }
}

/// What a hit does not read of an entry.
#[derive(Clone, Copy)]
pub(super) struct Cold {
    pub hash: u32,
    pub weight: u32,
    /// Its place in its queue.
    pub newer: u32,
    /// The next older entry; of a vacant entry, the next vacant one.
    pub older: u32,
}

/// What is told of an entry's life when it is stored.
#[derive(Clone, Copy)]
pub struct Life {
    /// When it expires, or [`NEVER`].
    pub deadline: u64,
    /// From when on its life is counted.
    pub born: u64,
    /// With a store behind the table, the generation of the key.
    pub guard: Guard,
}

/// Nothing but an alignment: the entries of a `Table<P, CacheLine>` begin at a cache line. Use it where they fill one.
#[repr(align(64))]
pub struct CacheLine;

/// `A` is an alignment, see [`CacheLine`]. `repr(C)`: it has no field between.
#[repr(C)]
pub(super) struct Entry<P, A> {
    align: [A; 0],
    /// The mark of its guard. Readers may renew it.
    pub mark: AtomicU64,
    pub word: AtomicU64,
    /// Initialised exactly while `word` has the bit `LIVE`.
    payload: MaybeUninit<P>,
}

impl<P, A> Entry<P, A> {
    #[inline]
    pub fn word(&self) -> u64 {
        self.word.load(Relaxed)
    }

    pub fn is_live(&self) -> bool {
        self.word() & word::LIVE != 0
    }

    pub fn is_main(&self) -> bool {
        self.word() & word::MAIN != 0
    }

    pub fn visits(&self) -> u8 {
        (self.word() & word::VISITS) as u8
    }

    pub fn set_visits(&mut self, visits: u8) {
        let word = self.word.get_mut();
        *word = *word & !word::VISITS | u64::from(visits);
    }

    pub fn set_main(&mut self, main: bool) {
        let word = self.word.get_mut();
        *word = if main {
            *word | word::MAIN
        } else {
            *word & !word::MAIN
        };
    }

    /// Counts one visit. Readers may race here: they write the same word but for the visits, of which one may be lost.
    #[inline]
    pub fn visited(&self, word: u64) {
        if word & word::VISITS < word::VISITS {
            self.word.store(word + 1, Relaxed);
        }
    }

    /// # Safety
    /// The entry is live.
    #[inline]
    pub unsafe fn payload(&self) -> &P {
        debug_assert!(self.is_live());
        // SAFETY: live entries hold a payload; the caller says it is live.
        unsafe { self.payload.assume_init_ref() }
    }

    /// # Safety
    /// The entry is live.
    #[inline]
    pub unsafe fn payload_mut(&mut self) -> &mut P {
        debug_assert!(self.is_live());
        // SAFETY: live entries hold a payload; the caller says it is live.
        unsafe { self.payload.assume_init_mut() }
    }
}

/// Entries by number. Vacant ones form a list, the last freed first, so that a table at its bound touches no new memory.
pub(super) struct Slab<P, A> {
    entries: Vec<Entry<P, A>>,
    /// As many.
    cold: Vec<Cold>,
    /// The stamps of their guards: as many, if there is a store behind the table, else none.
    stamps: Vec<u64>,
    vacant: u32,
}

impl<P, A> Slab<P, A> {
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            cold: Vec::new(),
            stamps: Vec::new(),
            vacant: NIL,
        }
    }

    /// How many entries there are, vacant ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<P, A>>()
            + self.cold.capacity() * size_of::<Cold>()
            + self.stamps.capacity() * size_of::<u64>()
    }

    /// Fills a vacant entry, or a new one. `most` is how many there will ever be, so that growth does not overshoot it.
    pub fn fill(&mut self, cold: Cold, word: u64, guard: Guard, payload: P, most: usize) -> u32 {
        let slot = self.put(cold, word, payload, most);
        self.set_guard(slot, guard);
        slot
    }

    fn put(&mut self, cold: Cold, word: u64, payload: P, most: usize) -> u32 {
        debug_assert!(word & word::LIVE != 0);
        let entry = Entry {
            align: [],
            mark: AtomicU64::new(0),
            word: AtomicU64::new(word),
            payload: MaybeUninit::new(payload),
        };
        if self.vacant != NIL {
            let slot = self.vacant;
            self.vacant = self.cold(slot).older;
            *self.cold(slot) = cold;
            self[slot] = entry; // drops nothing: the payload of a vacant entry is uninitialised
            return slot;
        }
        let len = self.entries.len();
        if len == self.entries.capacity() {
            let least = most.saturating_sub(len).max(1);
            let room = if leaps(len, most) {
                least
            } else {
                least.min(len.max(4))
            };
            self.entries.reserve_exact(room);
            self.cold.reserve_exact(room);
        }
        self.entries.push(entry);
        self.cold.push(cold);
        len as u32
    }

    pub fn set_guard(&mut self, slot: u32, guard: Guard) {
        *self[slot].mark.get_mut() = guard.mark;
        if guard != Guard::NONE || !self.stamps.is_empty() {
            let missing = self.entries.capacity() - self.stamps.len();
            self.stamps.reserve_exact(missing);
            self.stamps.resize(self.entries.len(), 0);
            self.stamps[slot as usize] = guard.stamp;
        }
    }

    /// The stamp of the guard of an entry of this slab.
    pub fn stamp_of(&self, entry: &Entry<P, A>) -> u64 {
        let offset = std::ptr::from_ref(entry).addr() - self.entries.as_ptr().addr();
        let slot = offset / size_of::<Entry<P, A>>();
        self.stamps.get(slot).copied().unwrap_or(0)
    }

    /// Takes the payload out of a live entry and makes the entry vacant.
    pub fn free(&mut self, slot: u32) -> P {
        let vacant = self.vacant;
        let entry = &mut self[slot];
        assert!(entry.is_live(), "a vacant entry was freed");
        *entry.word.get_mut() = 0;
        // SAFETY: the entry was live until the line above, so its payload was initialised; now it counts as moved out.
        let payload = unsafe { entry.payload.assume_init_read() };
        self.cold(slot).older = vacant;
        self.vacant = slot;
        payload
    }

    /// Puts another payload into a live entry and hands out the old one.
    pub fn replace(&mut self, slot: u32, payload: P) -> P {
        let entry = &mut self[slot];
        assert!(entry.is_live(), "a vacant entry was replaced");
        // SAFETY: the entry is live.
        std::mem::replace(unsafe { entry.payload_mut() }, payload)
    }

    pub fn cold(&mut self, slot: u32) -> &mut Cold {
        &mut self.cold[slot as usize]
    }

    pub fn standing(&self, slot: u32) -> Standing {
        let (entry, weight) = (&self[slot], self.cold[slot as usize].weight);
        let word = entry.word();
        Standing {
            deadline: word::deadline(word),
            lifetime: word::lifetime(word),
            weight,
            visits: entry.visits(),
            main: entry.is_main(),
        }
    }

    /// Any number will do; the entry may be vacant.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&Entry<P, A>> {
        self.entries.get(slot as usize)
    }

    /// # Safety
    /// `slot` came from [`Slab::fill`] of this slab since it was last cleared.
    #[inline]
    pub unsafe fn get_unchecked(&self, slot: u32) -> &Entry<P, A> {
        debug_assert!((slot as usize) < self.entries.len());
        // SAFETY: fill returns numbers below the length, which only a clear lowers.
        unsafe { self.entries.get_unchecked(slot as usize) }
    }

    pub fn live(&self) -> impl Iterator<Item = (u32, &Entry<P, A>)> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.is_live())
            .map(|(slot, entry)| (slot as u32, entry))
    }

    /// Moves every payload out and gives the memory back.
    pub fn clear(&mut self, mut each: impl FnMut(P)) {
        let mut entries = std::mem::take(&mut self.entries);
        self.cold = Vec::new();
        self.stamps = Vec::new();
        self.vacant = NIL;
        for entry in &mut entries {
            if entry.is_live() {
                *entry.word.get_mut() = 0;
                // SAFETY: it was live, and is not any more, so that no payload is read twice.
                each(unsafe { entry.payload.assume_init_read() });
            }
        }
    }
}

impl<P, A> Drop for Slab<P, A> {
    fn drop(&mut self) {
        self.clear(drop);
    }
}

impl<P, A> std::ops::Index<u32> for Slab<P, A> {
    type Output = Entry<P, A>;

    fn index(&self, slot: u32) -> &Entry<P, A> {
        &self.entries[slot as usize]
    }
}

impl<P, A> std::ops::IndexMut<u32> for Slab<P, A> {
    fn index_mut(&mut self, slot: u32) -> &mut Entry<P, A> {
        &mut self.entries[slot as usize]
    }
}

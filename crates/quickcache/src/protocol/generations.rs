//! Logical time and the words that clears move: when was this key, this function, everything cleared last?
//! What lives here answers "is a value computed since then still good?"; flights and stores live in `machine`.

use foldhash::{HashMap, HashMapExt};

/// A moment of a machine's logical time. Clears and beginnings of calls move it on; it never wraps (u64).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seq(u64);

impl Seq {
    /// Before all time: a token that is never good.
    pub const NEVER: Seq = Seq(0);

    fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// The number of a cached function (of a prefix: functions that share their entries share the number).
pub type FunctionId = u32;

/// A key, its hash, and the function it belongs to. Equal keys of two functions are two keys.
#[derive(Debug)]
pub struct KeyOf<'a, K> {
    pub function: FunctionId,
    pub hash: u64,
    pub key: &'a K,
}

impl<K> Clone for KeyOf<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for KeyOf<'_, K> {}

pub(super) const SLOTS: usize = 4096;

/// One word for all keys whose hashes meet here. A collision refuses a fill or two, and is never stale.
#[derive(Clone, Copy)]
struct Slot {
    cleared: Seq,
    /// At most `cleared`: a value that supersedes moves `cleared`, but refuses only those that began to be computed before it.
    superseded: Seq,
    /// Clears between their begin and their end: meanwhile no token is good.
    clearing: u32,
}

pub(super) struct Generations {
    now: Seq,
    slots: Box<[Slot]>,
    /// Only functions whose `clear_all` was called after the last `clear_everything` have a word.
    functions: HashMap<FunctionId, Seq>,
    everything: Seq,
}

impl Generations {
    /// `slots` is rounded up to a power of two.
    pub(super) fn new(slots: usize) -> Self {
        // `everything` starts above `NEVER`, so that no word has to be asked whether a token is a real one.
        let birth = Seq(1);
        let slot = Slot {
            cleared: birth,
            superseded: birth,
            clearing: 0,
        };
        Generations {
            now: birth,
            slots: vec![slot; slots.next_power_of_two()].into_boxed_slice(),
            functions: HashMap::new(),
            everything: birth,
        }
    }

    pub(super) fn now(&self) -> Seq {
        self.now
    }

    pub(super) fn tick(&mut self) -> Seq {
        self.now = Seq(self.now.0 + 1);
        self.now
    }

    /// Was nothing cleared since `token` that would remove this key, and is nothing clearing it now?
    pub(super) fn good(&self, function: FunctionId, hash: u64, token: Seq) -> bool {
        let slot = &self.slots[self.slot(function, hash)];
        slot.clearing == 0 && slot.cleared <= token && self.cleared_at(function) <= token
    }

    /// May a value whose execution began at `token` supersede what is there? It may after one that began before it.
    pub(super) fn supersedes(&self, function: FunctionId, hash: u64, token: Seq) -> bool {
        let slot = &self.slots[self.slot(function, hash)];
        slot.clearing == 0 && slot.superseded <= token && self.cleared_at(function) <= token
    }

    /// When this function, or everything, was cleared last.
    pub(super) fn cleared_at(&self, function: FunctionId) -> Seq {
        let of_function = self.functions.get(&function).copied();
        of_function.unwrap_or(self.everything) // words below `everything` are not kept
    }

    /// Moves the generation of a key.
    pub(super) fn clear(&mut self, function: FunctionId, hash: u64) -> Seq {
        let now = self.tick();
        let slot = self.slot(function, hash);
        self.slots[slot].cleared = now;
        self.slots[slot].superseded = now;
        now
    }

    /// Moves the generation of a key for a value whose execution began at `token`.
    pub(super) fn supersede(&mut self, function: FunctionId, hash: u64, token: Seq) -> Seq {
        let now = self.tick();
        let slot = self.slot(function, hash);
        let slot = &mut self.slots[slot];
        slot.cleared = now;
        slot.superseded = slot.superseded.max(token.next());
        now
    }

    pub(super) fn clear_all(&mut self, function: FunctionId) {
        let now = self.tick();
        self.functions.insert(function, now);
    }

    pub(super) fn clear_everything(&mut self) {
        self.everything = self.tick();
        self.functions.clear();
    }

    pub(super) fn close(&mut self, function: FunctionId, hash: u64) {
        let slot = self.slot(function, hash);
        self.slots[slot].clearing += 1;
    }

    /// Saturating: the child of a fork may end a clear that its parent's machine began.
    pub(super) fn open(&mut self, function: FunctionId, hash: u64) {
        let slot = self.slot(function, hash);
        self.slots[slot].clearing = self.slots[slot].clearing.saturating_sub(1);
    }

    pub(super) fn clearing(&self, function: FunctionId, hash: u64) -> u32 {
        self.slots[self.slot(function, hash)].clearing
    }

    /// Ends every clear that is in progress, as if it had been done: their threads do not exist any more.
    pub(super) fn open_all(&mut self) {
        let now = self.tick();
        for slot in self.slots.iter_mut().filter(|slot| slot.clearing > 0) {
            *slot = Slot {
                cleared: now,
                superseded: now,
                clearing: 0,
            };
        }
    }

    fn slot(&self, function: FunctionId, hash: u64) -> usize {
        // Fibonacci hashing: Python's hash of a small int is that int, so the low bits alone would do little.
        let mixed = (hash ^ (u64::from(function) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize & (self.slots.len() - 1)
    }
}

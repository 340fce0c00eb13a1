//! `Table<P>`: one guard's worth of the memory tier, without locks, clocks or I/O. An index of hashes over a slab of entries, bound
//! by entries and by bytes, with a deadline per entry. Who is evicted is decided in `policy.rs`; keys, values and their equality are the
//! caller's.

use super::entry::{Cold, Entry, Life, NIL, Slab, Standing, word};
use super::ghost::Ghost;
use super::index::Index;
use super::policy::Policy;
use super::queue::Queue;
use crate::tier::store::{Guard, Watch};
use std::sync::atomic::Ordering::Relaxed;

/// Slots that an insert looks over for expired entries: with one the sweep keeps pace with the inserts, with more it gains on them.
const SWEEP_PER_INSERT: usize = 4;

/// What a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub entries: usize,
    /// Bytes: the weights of the entries and [`Table::OVERHEAD`] for each.
    pub bytes: u64,
}

impl Limits {
    /// No bound but that of the index, a thousand million entries.
    pub const NONE: Self = Self {
        entries: usize::MAX,
        bytes: u64::MAX,
    };
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The key was not in the table.
    New,
    /// An older payload of the key, expired perhaps, left through `out`.
    Replaced,
    /// The payload left through `out`: it was heavier than the whole table may be, or its deadline had come. So did an older one.
    Refused,
}

/// A bounded table of payloads, found by a hash and a closure that compares keys.
///
/// Use it behind a guard: [`get`](Table::get) and everything else with `&self` may run in many threads under a shared lock; all that
/// changes the table wants the exclusive one. Time is a count of milliseconds on the caller's monotonic clock.
///
/// Of a hash the low 32 bits are used and must be well mixed (see [`mix`](super::mix)); the upper ones are free to choose among tables.
///
/// Payloads leave only through return values and through `out`, so that the caller drops them when the table is consistent and
/// its guard released; a closure that panics leaves the table as it was.
///
/// ```
/// use quickcache::tier::memory::{Inserted, Limits, NEVER, Table, mix};
///
/// let mut table = Table::new(Limits { entries: 100, bytes: 1 << 20 });
/// let (mut out, hash, now) = (Vec::new(), mix(7, 0), 0);
/// let is_seven = |p: &(u64, &str)| p.0 == 7;
/// assert_eq!(table.insert(hash, (7, "seven"), 5, NEVER, now, is_seven, &mut out), Inserted::New);
/// assert_eq!(table.get(hash, |deadline| deadline <= now, is_seven), Some(&(7, "seven")));
/// assert_eq!(table.remove(hash, is_seven), Some((7, "seven")));
/// ```
///
/// `A` is the alignment of the entries, [`CacheLine`](super::CacheLine) or none.
pub struct Table<P, A = ()> {
    /// Slots of the slab, of live entries only, each once.
    index: Index,
    pub(super) slab: Slab<P, A>,
    pub(super) small: Queue,
    pub(super) main: Queue,
    pub(super) ghost: Ghost,
    limits: Limits,
    /// The part of `limits` that the small queue may hold before it is the one to evict from.
    pub(super) small_limits: Limits,
    pub(super) policy: Policy,
    /// Where the sweep goes on.
    cursor: u32,
    /// How many entries have a deadline: without any there is nothing to sweep.
    mortal: usize,
}

/// An entry of a table, expired perhaps: see [`Table::look`].
pub struct Found<'t, P, A> {
    entry: &'t Entry<P, A>,
    slab: &'t Slab<P, A>,
}

impl<'t, P, A> Found<'t, P, A> {
    /// Whether nobody has cleared it, as the guard tells that [`Table::insert_for`] was told.
    #[inline(always)]
    pub fn holds(&self, watch: &Watch<'_>) -> bool {
        watch.is_quiet(self.entry.mark.load(Relaxed)) || self.renew(watch)
    }

    #[cold]
    #[inline(never)]
    fn renew(&self, watch: &Watch<'_>) -> bool {
        let renewed = watch.renewed(self.slab.stamp_of(self.entry));
        if let Some(mark) = renewed {
            self.entry.mark.store(mark, Relaxed);
        }
        renewed.is_some()
    }

    /// Whether its deadline has not come, as `passed` tells; counts no visit.
    #[inline(always)]
    pub fn is_fresh(&self, passed: impl FnOnce(u64) -> bool) -> bool {
        !word::expired(self.entry.word(), passed)
    }

    #[inline(always)]
    pub fn payload(&self) -> &'t P {
        // SAFETY: who makes one has seen that the entry is live, and the table is borrowed.
        unsafe { self.entry.payload() }
    }

    /// Counts a visit, unless the entry has expired: then it says false. `passed` tells whether a deadline has come, and is called only
    /// if the entry has one.
    #[inline(always)]
    pub fn visit(&self, passed: impl FnOnce(u64) -> bool) -> bool {
        let fresh = !word::expired(self.entry.word(), passed);
        if fresh {
            self.entry.visited(self.entry.word());
        }
        fresh
    }
}

impl<P> Table<P> {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_policy(limits, Policy::DEFAULT)
    }

    /// With other numbers for the policy than those measured to be good.
    #[doc(hidden)]
    #[must_use]
    pub fn with_policy(limits: Limits, policy: Policy) -> Self {
        Self::aligned(limits, policy)
    }
}

impl<P, A> Table<P, A> {
    /// What an entry costs besides its weight: its place in the slab, and its share of the index and of the ghost queue.
    pub const OVERHEAD: u32 = (size_of::<Entry<P, A>>() + size_of::<Cold>()) as u32 + 24;

    pub(super) fn aligned(limits: Limits, policy: Policy) -> Self {
        Self {
            index: Index::new(),
            slab: Slab::new(),
            small: Queue::new(),
            main: Queue::new(),
            ghost: Ghost::default(),
            limits: clamp(limits),
            small_limits: policy.small(limits),
            policy,
            cursor: 0,
            mortal: 0,
        }
    }

    /// The payload of a key, unless it has expired. Counts as a visit. `passed` tells whether a deadline has
    /// come, and is called only if the entry has one.
    #[inline(always)]
    pub fn get(
        &self,
        hash: u64,
        passed: impl FnOnce(u64) -> bool,
        eq: impl FnMut(&P) -> bool,
    ) -> Option<&P> {
        let found = self.look(hash, eq)?;
        found.visit(passed).then(|| found.payload())
    }

    /// As [`get`](Table::get) in two steps, of which the second asks the clock: between them the caller may look at the payload, and
    /// has as little to keep over the call as it likes.
    #[inline(always)]
    pub fn look(&self, hash: u64, eq: impl FnMut(&P) -> bool) -> Option<Found<'_, P, A>> {
        self.entry(hash as u32, eq).map(|entry| self.found(entry))
    }

    /// As [`look`](Table::look), of the entry in a slot that [`slot_of`](Table::slot_of) once gave: for a caller that asks for one key
    /// again and again. The slot may be another key's by now, or out of use.
    #[inline(always)]
    pub fn look_at(&self, slot: u32) -> Option<Found<'_, P, A>> {
        let entry = self.slab.get(slot).filter(|entry| entry.is_live())?;
        Some(self.found(entry))
    }

    #[inline(always)]
    fn found<'t>(&'t self, entry: &'t Entry<P, A>) -> Found<'t, P, A> {
        let slab = &self.slab;
        Found { entry, slab }
    }

    /// As [`look`](Table::look), with what [`standing`](Table::standing) says.
    pub fn look_with_standing(
        &self,
        hash: u64,
        eq: impl FnMut(&P) -> bool,
    ) -> Option<(Found<'_, P, A>, Standing)> {
        let slot = self.slot(hash as u32, eq)?;
        Some((self.found(&self.slab[slot]), self.slab.standing(slot)))
    }

    /// The slot of a key, of one that has expired too. It may be another key's after the next change.
    #[inline]
    pub fn slot_of(&self, hash: u64, eq: impl FnMut(&P) -> bool) -> Option<u32> {
        self.slot(hash as u32, eq)
    }

    /// As [`get`](Table::get), without counting a visit.
    #[inline]
    pub fn peek(
        &self,
        hash: u64,
        passed: impl FnOnce(u64) -> bool,
        eq: impl FnMut(&P) -> bool,
    ) -> Option<&P> {
        let entry = self.entry(hash as u32, eq)?;
        // SAFETY: slots in the index are live.
        (!word::expired(entry.word(), passed)).then(|| unsafe { entry.payload() })
    }

    /// As [`get`](Table::get), to change the payload in place. The key and the weight stay what they were.
    pub fn get_mut(
        &mut self,
        hash: u64,
        passed: impl FnOnce(u64) -> bool,
        eq: impl FnMut(&P) -> bool,
    ) -> Option<&mut P> {
        let slot = self.slot(hash as u32, eq)?;
        let entry = &mut self.slab[slot];
        let word = entry.word();
        if word::expired(word, passed) {
            return None;
        }
        entry.visited(word);
        // SAFETY: slots in the index are live.
        Some(unsafe { entry.payload_mut() })
    }

    /// Deadline, weight and the like of a key, of one that has expired too.
    pub fn standing(&self, hash: u64, eq: impl FnMut(&P) -> bool) -> Option<Standing> {
        self.slot(hash as u32, eq)
            .map(|slot| self.slab.standing(slot))
    }

    /// Stores `payload`, in place of an older one of its key, and evicts what must go for it. `weight` is in bytes.
    ///
    /// What leaves the table goes to `out`; so does `payload` itself if it is refused.
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct for them would be built and taken apart once per miss"
    )]
    pub fn insert(
        &mut self,
        hash: u64,
        payload: P,
        weight: u32,
        deadline: u64,
        now: u64,
        eq: impl FnMut(&P) -> bool,
        out: &mut Vec<P>,
    ) -> Inserted {
        let life = Life {
            deadline,
            born: now,
            guard: Guard::NONE,
        };
        self.insert_for(hash, payload, weight, life, now, eq, out)
    }

    /// As `insert`, with more to say of its life.
    #[expect(clippy::too_many_arguments, reason = "as for insert")]
    pub fn insert_for(
        &mut self,
        hash: u64,
        payload: P,
        weight: u32,
        life: Life,
        now: u64,
        eq: impl FnMut(&P) -> bool,
        out: &mut Vec<P>,
    ) -> Inserted {
        let old = self.slot(hash as u32, eq);
        self.insert_over(old, hash, payload, weight, life, now, out)
    }

    /// As `insert_for`, if the slot of an older payload of the key is known.
    #[expect(clippy::too_many_arguments, reason = "as for insert")]
    pub(super) fn insert_over(
        &mut self,
        old: Option<u32>,
        hash: u64,
        payload: P,
        weight: u32,
        life: Life,
        now: u64,
        out: &mut Vec<P>,
    ) -> Inserted {
        let hash = hash as u32;
        let cost = Self::cost(weight);
        if cost > self.limits.bytes || self.limits.entries == 0 || life.deadline <= now {
            out.push(payload);
            if let Some(old) = old {
                self.free(old, out);
            }
            return Inserted::Refused;
        }
        let word = word::new(life.deadline, life.born);
        match old {
            Some(slot) => {
                self.replace(slot, payload, weight, (word, life.guard), now, out);
                Inserted::Replaced
            }
            None => {
                if self.mortal != 0 {
                    self.sweep(now, SWEEP_PER_INSERT, |_| false, out);
                }
                self.make_room(1, cost, now, out);
                let word = if self.admits_to_main(hash) {
                    word | word::MAIN
                } else {
                    word
                };
                if self.index.len() == self.index.room() {
                    self.grow();
                }
                let most = self.most();
                let cold = Cold {
                    hash,
                    weight,
                    newer: NIL,
                    older: NIL,
                };
                let slot = self.slab.fill(cold, word, life.guard, payload, most);
                self.mortal += usize::from(word::mortal(word));
                self.index.insert(hash, slot);
                self.link(slot);
                Inserted::New
            }
        }
    }

    fn replace(
        &mut self,
        slot: u32,
        payload: P,
        weight: u32,
        (word, guard): (u64, Guard),
        now: u64,
        out: &mut Vec<P>,
    ) {
        let entry = &mut self.slab[slot];
        entry.visited(entry.word());
        let kept = entry.word() & (word::VISITS | word::MAIN);
        self.mortal -= usize::from(word::mortal(entry.word()));
        self.mortal += usize::from(word::mortal(word));
        self.slab.set_guard(slot, guard);
        if weight == self.slab.cold(slot).weight {
            let entry = &mut self.slab[slot];
            *entry.word.get_mut() = word | kept;
        } else {
            // Out of its queue while room is made, so that it does not itself make way.
            self.unlink(slot);
            self.make_room(1, Self::cost(weight), now, out);
            *self.slab[slot].word.get_mut() = word | kept;
            self.slab.cold(slot).weight = weight;
            self.link(slot);
        }
        out.push(self.slab.replace(slot, payload));
    }

    /// Removes a key, expired or not.
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&P) -> bool) -> Option<P> {
        let slot = self.slot(hash as u32, eq)?;
        self.remember_proven(slot);
        Some(self.take(slot))
    }

    /// Looks over the next `budget` slots, round and round, and frees entries that have expired or of which `dead` is true.
    /// Returns how many it freed. [`slots`](Table::slots) is the budget of a whole round.
    pub fn sweep(
        &mut self,
        now: u64,
        budget: usize,
        mut dead: impl FnMut(&P) -> bool,
        out: &mut Vec<P>,
    ) -> usize {
        let before = self.len();
        for _ in 0..budget.min(self.slab.len()) {
            let slot = if (self.cursor as usize) < self.slab.len() {
                self.cursor
            } else {
                0
            };
            self.cursor = slot + 1;
            let entry = &self.slab[slot];
            // SAFETY: `is_live` is asked first.
            if entry.is_live()
                && (word::expired(entry.word(), |deadline| deadline <= now)
                    || dead(unsafe { entry.payload() }))
            {
                self.remember_proven(slot);
                self.free(slot, out);
            }
        }
        before - self.len()
    }

    /// Removes every entry of which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&P) -> bool, out: &mut Vec<P>) {
        self.sweep(0, self.slab.len(), |payload| !keep(payload), out);
    }

    /// Moves every payload to `out`, forgets what it learned and gives the memory back.
    pub fn drain(&mut self, out: &mut Vec<P>) {
        let mut old = std::mem::replace(self, Self::aligned(self.limits, self.policy));
        out.reserve(old.len());
        old.slab.clear(|payload| out.push(payload));
    }

    /// Changes the bounds, evicting what is over the new ones.
    pub fn set_limits(&mut self, limits: Limits, now: u64, out: &mut Vec<P>) {
        self.limits = clamp(limits);
        self.small_limits = self.policy.small(limits);
        self.make_room(0, 0, now, out);
    }

    /// Evicts entries until at most `entries` are left: those that have expired first, then those that were least asked for. Looks
    /// at every entry. The bounds stay what they are.
    pub fn shrink(&mut self, entries: usize, now: u64, out: &mut Vec<P>) {
        self.sweep(now, self.slab.len(), |_| false, out);
        let surplus = self.len().saturating_sub(entries);
        self.evict_least_visited(surplus, out);
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Entries, expired ones that were not yet swept included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weights of all entries and the overhead of each: what [`Limits::bytes`] bounds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    /// Slots of the slab, vacant ones included: the `budget` of one whole round of [`sweep`](Table::sweep).
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slab.len()
    }

    /// Memory that the table itself holds, in bytes, without what payloads point to.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.index.bytes() + self.slab.bytes() + self.ghost.bytes()
    }

    /// Every entry, in no order, expired ones that were not yet swept included.
    pub fn iter(&self) -> impl Iterator<Item = (&P, Standing)> {
        // SAFETY: `live` yields live entries.
        self.slab
            .live()
            .map(|(slot, entry)| (unsafe { entry.payload() }, self.slab.standing(slot)))
    }

    #[inline(always)]
    pub(super) fn slot(&self, hash: u32, mut eq: impl FnMut(&P) -> bool) -> Option<u32> {
        self.index.find(hash, |slot| {
            // SAFETY: slots in the index are in the slab.
            let entry = unsafe { self.slab.get_unchecked(slot) };
            // SAFETY: and they are live.
            eq(unsafe { entry.payload() })
        })
    }

    #[inline(always)]
    pub(super) fn entry(&self, hash: u32, eq: impl FnMut(&P) -> bool) -> Option<&Entry<P, A>> {
        // SAFETY: slots in the index are in the slab.
        self.slot(hash, eq)
            .map(|slot| unsafe { self.slab.get_unchecked(slot) })
    }

    /// How many entries the bounds allow.
    fn most(&self) -> usize {
        let by_bytes = usize::try_from(self.limits.bytes / u64::from(Self::OVERHEAD));
        self.limits.entries.min(by_bytes.unwrap_or(usize::MAX))
    }

    fn cost(weight: u32) -> u64 {
        u64::from(weight) + u64::from(Self::OVERHEAD)
    }

    /// Evicts until `entries` more of `cost` bytes in all fit. Counts what is in the queues, not who was taken out of them.
    fn make_room(&mut self, entries: usize, cost: u64, now: u64, out: &mut Vec<P>) {
        while self.small.len + self.main.len + entries > self.limits.entries
            || self.bytes() + cost > self.limits.bytes
        {
            self.evict_one(now, out);
        }
    }

    /// Makes the index twice as large. To make at once what the bounds allow would spare later growth, and cost memory as long as
    /// the table is far from its bounds: a bucket may lie anywhere.
    #[cold]
    fn grow(&mut self) {
        self.index.grow((self.len() * 2).max(8).min(self.most()));
    }

    /// Puts an entry at the new end of the queue that its word names.
    pub(super) fn link(&mut self, slot: u32) {
        let cost = Self::cost(self.slab.cold(slot).weight);
        let queue = if self.slab[slot].is_main() {
            &mut self.main
        } else {
            &mut self.small
        };
        queue.push(&mut self.slab, slot, cost);
    }

    pub(super) fn unlink(&mut self, slot: u32) {
        let cost = Self::cost(self.slab.cold(slot).weight);
        let queue = if self.slab[slot].is_main() {
            &mut self.main
        } else {
            &mut self.small
        };
        queue.unlink(&mut self.slab, slot, cost);
    }

    fn take(&mut self, slot: u32) -> P {
        self.unlink(slot);
        let entry = &self.slab[slot];
        self.mortal -= usize::from(word::mortal(entry.word()));
        let hash = self.slab.cold(slot).hash;
        self.index.remove(hash, slot);
        self.slab.free(slot)
    }

    pub(super) fn free(&mut self, slot: u32, out: &mut Vec<P>) {
        let payload = self.take(slot);
        out.push(payload);
    }
}

/// Whether a table of `len` entries that has to grow grows to its bound at once: it is large, and the bound is not far.
pub(super) fn leaps(len: usize, most: usize) -> bool {
    len > 1 << 14 && most / 32 < len && most > len
}

/// Slot numbers are 32 bits, the last one is no slot, and the index has 31 bits of a hash to choose a bucket by.
fn clamp(limits: Limits) -> Limits {
    Limits {
        entries: limits.entries.min(1 << 30),
        ..limits
    }
}

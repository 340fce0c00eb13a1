//! The table of generations: what makes a clear one addition that every process of the machine sees at once.
//!
//! It is a mapped file of 64-bit words. A key has a slot, by a keyed hash; a function has a word, and there is one for
//! everything. The *stamp* of a key is the sum of its three words. An entry is valid while its stamp is the present one, and a
//! clear adds [`STEP`] to one of them. Why that is enough (`docs/store.md` has the proof): words only ever move on, so equal
//! sums are equal words, and a stamp read before an execution is no longer the present one after any clear that came later.
//!
//! Slots are many, so a hit in memory that looked at its own would wait for a line of a farther cache. They are in
//! [`REGIONS`] *regions*, whose words fit the nearest: whoever has moved a slot's word on moves its region's on, and after a function's
//! or that of everything those of all regions. While its region's word is what it was, nothing has cleared an entry; when it is not, the
//! hit compares the stamp, once.
//!
//! Damage cannot bring a stamp back. Words begin at random numbers, so that a page of zeros is nobody's past; and they move
//! in steps such that a flipped bit never leads to a sum that was there before (the tests count how far off it is). A damaged
//! word is a clear.
//!
//! The layout below never changes: other versions of this library work on the same table at the same time.
//!
//! ```text
//! word      0  magic "qcgener1"          16  generation of everything
//!           1  words in the file         17  not 0: replaced; open the file anew
//!         2-3  boot id                   24-39  of two network tiers, 8 words each: `tier/redis/common.rs`
//!           4  epoch                   256-511  regions
//!         5-6  seed of the slot hash     512..  generations of functions
//!           7  functions (power of two)   then  leases, 8 words each; then  generations of slots
//!           8  leases (power of two)
//!           9  slots (power of two)
//!          10  check: XXH3 of words 0-9
//! ```

use super::shim::{AtomicU64, Ordering, REGIONS};

/// What a clear adds. Odd, so that 2^64 clears lie between a sum and the same sum again; and far from any power of two
/// by any small number of steps.
pub(super) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many bits of a stamp in an entry of the memory tier are the slot, and of its mark are the region.
const SLOT_BITS: u32 = 20;
const REGION_BITS: u32 = 8;
const REGION: u64 = (1 << REGION_BITS) - 1;

/// The most slots a table can have.
pub(super) const MOST_SLOTS: u64 = 1 << SLOT_BITS;

const MAGIC: u64 = u64::from_le_bytes(*b"qcgener1");
pub(super) const HEADER: usize = 512;
pub(super) const LEASE_WORDS: usize = 8;
const CHECKED: usize = 10;
const EVERYTHING: usize = 16;
const REPLACED: usize = 17;
pub(super) const NETWORK: std::ops::Range<usize> = 24..40;
const REGIONS_AT: usize = 256;

/// How large the parts of a table are: powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) functions: u64,
    pub(super) leases: u64,
    pub(super) slots: u64,
}

impl Shape {
    /// 2.3 MiB.
    pub(super) const USUAL: Shape = Shape {
        functions: 1 << 12,
        leases: 1 << 12,
        slots: 1 << 18,
    };

    pub(super) fn words(self) -> u64 {
        HEADER as u64 + self.functions + self.leases * LEASE_WORDS as u64 + self.slots
    }
}

/// What a fresh table is told.
#[derive(Clone, Copy)]
pub(super) struct Birth {
    pub(super) boot: [u64; 2],
    pub(super) epoch: u64,
    pub(super) seed: [u64; 2],
}

/// What the head of a table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) boot: [u64; 2],
    /// Random: values written under another one are nobody's.
    pub(super) epoch: u64,
    pub(super) seed: [u64; 2],
    pub(super) shape: Shape,
}

impl Head {
    /// Of the first words of a file, if they are that.
    pub(super) fn read(words: &[u64]) -> Option<Head> {
        if words.len() < HEADER || words[0] != MAGIC || words[CHECKED] != check(words) {
            return None;
        }
        let shape = Shape {
            functions: words[7],
            leases: words[8],
            slots: words[9],
        };
        let sound = [shape.functions, shape.leases, shape.slots]
            .iter()
            .all(|size| size.is_power_of_two() && *size <= MOST_SLOTS);
        (sound && shape.words() == words[1]).then_some(Head {
            boot: [words[2], words[3]],
            epoch: words[4],
            seed: [words[5], words[6]],
            shape,
        })
    }

    /// Whether another table has taken the place of the one that begins with these words.
    pub(super) fn is_replaced(words: &[u64]) -> bool {
        words[REPLACED] != 0
    }

    /// The words of a new file. `random` gives the beginnings of its generations.
    pub(super) fn fresh(shape: Shape, birth: Birth, mut random: impl FnMut() -> u64) -> Vec<u64> {
        let size = usize::try_from(shape.words()).expect("a table fits the memory");
        let mut words = vec![0; size];
        words[0] = MAGIC;
        words[1] = shape.words();
        words[2..4].copy_from_slice(&birth.boot);
        words[4] = birth.epoch;
        words[5..7].copy_from_slice(&birth.seed);
        words[7] = shape.functions;
        words[8] = shape.leases;
        words[9] = shape.slots;
        words[CHECKED] = check(&words);
        words[EVERYTHING] = random();
        let regions = REGIONS_AT..REGIONS_AT + REGIONS;
        let functions = HEADER..HEADER + shape.functions as usize;
        let slots = size - shape.slots as usize..size;
        for at in regions.chain(functions).chain(slots) {
            words[at] = random();
        }
        words
    }
}

fn check(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words[..CHECKED]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    twox_hash::XxHash3_64::oneshot(&bytes)
}

/// What an entry in the memory tier carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The region, below the lower 56 bits of its word.
    pub(crate) mark: u64,
    /// The slot, below the lower 44 bits of the stamp. (In two days of nothing but clears those come round once.)
    pub(crate) stamp: u64,
}

impl Guard {
    /// Of a tier that no other process clears.
    pub const NONE: Guard = Guard { mark: 0, stamp: 0 };
}

/// The generation of a key at one moment: read it before the execution begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sum: what entries carry.
    pub sum: u64,
    /// The word of the slot, which a superseding store moves on.
    word: u64,
    /// The word of the region, as it was before the others were read.
    region: u64,
    slot: u32,
}

impl Stamp {
    /// For the memory tier.
    pub fn guard(self) -> Guard {
        Guard {
            mark: mark(self.region, region_of(self.slot)),
            stamp: self.sum << SLOT_BITS | u64::from(self.slot),
        }
    }
}

fn region_of(slot: u32) -> usize {
    slot as usize & (REGIONS - 1)
}

fn mark(word: u64, region: usize) -> u64 {
    word << REGION_BITS | region as u64
}

/// What the hits of a function look at.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    regions: &'a [AtomicU64; REGIONS],
    everything: &'a AtomicU64,
    function: &'a AtomicU64,
    slots: &'a [AtomicU64],
}

impl Watch<'_> {
    /// Whether an entry with this guard may be handed out. (A hit asks the two halves itself, and keeps the mark that it gets.)
    #[must_use]
    pub fn holds(&self, guard: Guard) -> bool {
        self.is_quiet(guard.mark) || self.renewed(guard.stamp).is_some()
    }

    /// Whether nothing in the region of a mark has been cleared since it was made: what a hit asks, when it has found the entry.
    ///
    /// Relaxed: the word has this value once only. Who made the mark read it there, and acquired the clears before it.
    #[inline(always)]
    #[must_use]
    pub fn is_quiet(&self, mark: u64) -> bool {
        let region = (mark & REGION) as usize & (REGIONS - 1);
        self.regions[region].load(Ordering::Relaxed) << REGION_BITS == mark & !REGION
    }

    /// Whether an entry of the memory tier is still of the present generation, by its stamp: then it gets this mark.
    ///
    /// Acquire, and the region first: the words of the stamp are read as they were at that moment, or later. None is older than it was
    /// when the entry was made, since that happened before the entry was found.
    #[must_use]
    pub fn renewed(&self, stamp: u64) -> Option<u64> {
        let slot = (stamp & (MOST_SLOTS - 1)) as usize & (self.slots.len() - 1);
        let region = region_of(slot as u32);
        let word = self.regions[region].load(Ordering::Acquire);
        let sum = self.slots[slot]
            .load(Ordering::Relaxed)
            .wrapping_add(self.function.load(Ordering::Relaxed))
            .wrapping_add(self.everything.load(Ordering::Relaxed));
        (sum << SLOT_BITS == stamp & !(MOST_SLOTS - 1)).then(|| mark(word, region))
    }
}

/// The words of a table that generations are made of.
#[derive(Clone, Copy)]
pub(super) struct Generations<'a> {
    pub(super) replaced: &'a AtomicU64,
    everything: &'a AtomicU64,
    regions: &'a [AtomicU64; REGIONS],
    functions: &'a [AtomicU64],
    slots: &'a [AtomicU64],
}

impl<'a> Generations<'a> {
    /// Of all words of a file.
    pub(super) fn new(words: &'a [AtomicU64], shape: Shape) -> Self {
        let functions = HEADER + shape.functions as usize;
        let slots = words.len() - shape.slots as usize;
        Generations::of_parts(
            &words[REPLACED],
            &words[EVERYTHING],
            words[REGIONS_AT..]
                .first_chunk()
                .expect("within the header"),
            &words[HEADER..functions],
            &words[slots..],
        )
    }

    /// Of words that need not be in one file. Functions and slots are as many as a power of two.
    pub(super) fn of_parts(
        replaced: &'a AtomicU64,
        everything: &'a AtomicU64,
        regions: &'a [AtomicU64; REGIONS],
        functions: &'a [AtomicU64],
        slots: &'a [AtomicU64],
    ) -> Self {
        Generations {
            replaced,
            everything,
            regions,
            functions,
            slots,
        }
    }

    /// The slot of a key, of its hash.
    pub(super) fn slot(&self, hash: u64) -> u32 {
        (hash & (self.slots.len() as u64 - 1)) as u32
    }

    /// The word of a function, by its number; a damaged record may say any.
    fn function(&self, number: u32) -> &'a AtomicU64 {
        &self.functions[number as usize & (self.functions.len() - 1)]
    }

    /// The present generation of a key.
    ///
    /// Acquire: what the function reads, it reads after this; and who sees the generation of a clear sees all that was written
    /// before that clear.
    pub(super) fn stamp(&self, function: u32, slot: u32) -> Stamp {
        let region = self.regions[region_of(slot)].load(Ordering::Acquire);
        let word = self.slots[slot as usize].load(Ordering::Acquire);
        let sum = word
            .wrapping_add(self.function(function).load(Ordering::Acquire))
            .wrapping_add(self.everything.load(Ordering::Acquire));
        Stamp {
            sum,
            word,
            region,
            slot,
        }
    }

    /// What the hits of a function look at.
    pub(super) fn watch(&self, function: u32) -> Watch<'a> {
        Watch {
            regions: self.regions,
            everything: self.everything,
            function: self.function(function),
            slots: self.slots,
        }
    }

    /// Whether a stamp is still the present one, asked once more when an entry of it was found. Its words were read one after the
    /// other, and before the entry was looked for: only now it is certain that they are those of the entry, each for itself.
    pub(super) fn stands(&self, function: u32, stamp: Stamp) -> bool {
        self.stamp(function, stamp.slot).sum == stamp.sum
    }

    /// Clears a key: two additions, no lock, no call to the system, no waiting.
    pub(super) fn clear(&self, slot: u32) {
        move_on(&self.slots[slot as usize]);
        move_on(&self.regions[region_of(slot)]);
    }

    /// Clears every key of a function.
    pub(super) fn clear_function(&self, function: u32) {
        move_on(self.function(function));
        self.stir();
    }

    /// Clears every key of everything.
    pub(super) fn clear_everything(&self) {
        move_on(self.everything);
        self.stir();
    }

    /// Clears everything, and so far from where it was that no clears lead there.
    pub(super) fn leap(&self, odd: u64) {
        self.everything.fetch_add(odd, Ordering::AcqRel);
        self.stir();
    }

    fn stir(&self) {
        self.regions.iter().for_each(move_on);
    }

    /// A value that is no fill takes the key over, if nothing cleared it since `stamp` was read, before its execution: the stamp
    /// to store it under. Entries and fills of older executions are void. Release: as for a clear, what its execution saw is seen by those
    /// of the new generation.
    pub(super) fn supersede(&self, stamp: Stamp) -> Option<Stamp> {
        let next = stamp.word.wrapping_add(STEP);
        self.slots[stamp.slot as usize]
            .compare_exchange(stamp.word, next, Ordering::Release, Ordering::Relaxed)
            .ok()?;
        move_on(&self.regions[region_of(stamp.slot)]);
        // The region as it was before: a clear may have moved it on since, of which this stamp does not know.
        Some(Stamp {
            sum: stamp.sum.wrapping_add(STEP),
            word: next,
            ..stamp
        })
    }
}

/// Clears what a word stands for. Release: what was written before the clear is seen by whoever sees the new generation.
fn move_on(word: &AtomicU64) {
    word.fetch_add(STEP, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_leads_to_no_sum_that_was_there_within_a_thousand_million_clears() {
        // How many steps lie between a sum and the same with one bit changed, in either direction.
        for bits in [64_u32, 56, 44] {
            let mask = u64::MAX >> (64 - bits);
            let mut inverse = 1_u64;
            for _ in 0..6 {
                inverse = inverse.wrapping_mul(2_u64.wrapping_sub(STEP.wrapping_mul(inverse)));
            }
            assert_eq!(STEP.wrapping_mul(inverse), 1);
            for bit in 0..bits {
                let steps = inverse.wrapping_mul(1 << bit) & mask;
                let nearest = steps.min(steps.wrapping_neg() & mask);
                assert!(nearest > 1 << 30, "bit {bit} of {bits}: {nearest} steps");
            }
        }
    }
}

//! The table of generations: what makes a clear one addition that every process of the machine sees at once.
//!
//! It is a mapped file of 64-bit words. A key has a slot, by a keyed hash; a function has a word, and there is one for
//! everything. The *stamp* of a key is the sum of its three words. An entry is valid while its stamp is the present one, and a
//! clear adds [`STEP`] to one of them. Why that is enough (`docs/store.md` has the proof): words only ever move on, so equal
//! sums are equal words, and a stamp read before an execution is no longer the present one after any clear that came later.
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
//!         2-3  boot id                   24-39  of the network tiers: proof, connection epoch, journal
//!           4  epoch                     512..  generations of functions
//!         5-6  seed of the slot hash      then  leases, 8 words each
//!           7  functions (power of two)   then  generations of slots
//!           8  leases (power of two)
//!           9  slots (power of two)
//!          10  check: XXH3 of words 0-9
//! ```

use super::shim::{AtomicU64, Ordering};

/// What a clear adds. Odd, so that 2^64 clears lie between a sum and the same sum again; and far from any power of two
/// by any small number of steps.
pub(super) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many bits of a guard are the slot.
const SLOT_BITS: u32 = 20;

/// The most slots a table can have.
pub(super) const MOST_SLOTS: u64 = 1 << SLOT_BITS;

const MAGIC: u64 = u64::from_le_bytes(*b"qcgener1");
pub(super) const HEADER: usize = 512;
pub(super) const LEASE_WORDS: usize = 8;
const CHECKED: usize = 10;
const EVERYTHING: usize = 16;
const REPLACED: usize = 17;

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
        let functions = HEADER..HEADER + shape.functions as usize;
        let slots = size - shape.slots as usize..size;
        for at in functions.chain(slots) {
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

/// What an entry in the memory tier carries: the slot of its key and the lower 44 bits of its stamp. (In two days of nothing
/// but clears those come round once.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(pub(super) u64);

impl Guard {
    /// Of a tier that no other process clears.
    pub const NONE: Guard = Guard(0);

    /// As a number, for tables that keep it so.
    #[inline(always)]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Of a number that `to_bits` gave.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Guard(bits)
    }
}

/// The generation of a key at one moment: read it before the execution begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sum: what entries carry.
    pub sum: u64,
    /// The word of the slot, which a superseding store moves on.
    word: u64,
    slot: u32,
}

impl Stamp {
    /// For the memory tier.
    pub fn guard(self) -> Guard {
        Guard(self.sum << SLOT_BITS | u64::from(self.slot))
    }
}

/// What the hits of a function look at.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    everything: &'a AtomicU64,
    function: &'a AtomicU64,
    slots: &'a [AtomicU64],
}

impl Watch<'_> {
    /// Whether an entry of the memory tier is still of the present generation: what a hit asks, when it has found the entry.
    ///
    /// Relaxed: nothing is read after it that a clear could have changed; and no word is older than it was when the entry was made, since
    /// that happened before the entry was found.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, guard: Guard) -> bool {
        let slot = (guard.0 & (MOST_SLOTS - 1)) as usize & (self.slots.len() - 1);
        let sum = self.slots[slot]
            .load(Ordering::Relaxed)
            .wrapping_add(self.function.load(Ordering::Relaxed))
            .wrapping_add(self.everything.load(Ordering::Relaxed));
        sum << SLOT_BITS == guard.0 & !(MOST_SLOTS - 1)
    }
}

/// The words of a table that generations are made of.
#[derive(Clone, Copy)]
pub(super) struct Generations<'a> {
    pub(super) everything: &'a AtomicU64,
    pub(super) replaced: &'a AtomicU64,
    functions: &'a [AtomicU64],
    slots: &'a [AtomicU64],
}

impl<'a> Generations<'a> {
    /// Of all words of a file.
    pub(super) fn new(words: &'a [AtomicU64], shape: Shape) -> Self {
        let functions = HEADER + shape.functions as usize;
        let slots = words.len() - shape.slots as usize;
        Generations::of_parts(
            &words[EVERYTHING],
            &words[REPLACED],
            &words[HEADER..functions],
            &words[slots..],
        )
    }

    /// Of words that need not be in one file. Functions and slots are as many as a power of two.
    pub(super) fn of_parts(
        everything: &'a AtomicU64,
        replaced: &'a AtomicU64,
        functions: &'a [AtomicU64],
        slots: &'a [AtomicU64],
    ) -> Self {
        Generations {
            everything,
            replaced,
            functions,
            slots,
        }
    }

    /// The slot of a key, of its hash.
    pub(super) fn slot(&self, hash: u64) -> u32 {
        (hash & (self.slots.len() as u64 - 1)) as u32
    }

    /// The word of a function, by its number; a damaged record may say any.
    pub(super) fn function(&self, number: u32) -> &'a AtomicU64 {
        &self.functions[number as usize & (self.functions.len() - 1)]
    }

    /// The present generation of a key.
    ///
    /// Acquire: what the function reads, it reads after this; and who sees the generation of a clear sees all that was written
    /// before that clear.
    pub(super) fn stamp(&self, function: u32, slot: u32) -> Stamp {
        let word = self.slots[slot as usize].load(Ordering::Acquire);
        let sum = word
            .wrapping_add(self.function(function).load(Ordering::Acquire))
            .wrapping_add(self.everything.load(Ordering::Acquire));
        Stamp { sum, word, slot }
    }

    /// What the hits of a function look at.
    pub(super) fn watch(&self, function: u32) -> Watch<'a> {
        Watch {
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

    /// Clears a key: one addition, no lock, no call to the system, no waiting.
    pub(super) fn clear(&self, slot: u32) {
        move_on(&self.slots[slot as usize]);
    }

    /// Clears every key of everything.
    pub(super) fn clear_everything(&self) {
        move_on(self.everything);
    }

    /// A value that is no fill takes the key over, if nothing cleared it since `stamp` was read, before its execution: the stamp
    /// to store it under. Entries and fills of older executions are void. Release: as for a clear, what its execution saw is seen by those
    /// of the new generation.
    pub(super) fn supersede(&self, stamp: Stamp) -> Option<Stamp> {
        let next = stamp.word.wrapping_add(STEP);
        self.slots[stamp.slot as usize]
            .compare_exchange(stamp.word, next, Ordering::Release, Ordering::Relaxed)
            .ok()?;
        Some(Stamp {
            sum: stamp.sum.wrapping_add(STEP),
            word: next,
            ..stamp
        })
    }
}

/// Clears what a word stands for. Release: what was written before the clear is seen by whoever sees the new generation.
pub(super) fn move_on(word: &AtomicU64) {
    word.fetch_add(STEP, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_leads_to_no_sum_that_was_there_within_a_thousand_million_clears() {
        // How many steps lie between a sum and the same with one bit changed, in either direction.
        for bits in [64_u32, 44] {
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

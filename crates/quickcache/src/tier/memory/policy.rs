//! Who is admitted and who is evicted: S3-FIFO (Yang, Zhang, Qiu, Yue, Vigfusson: "FIFO queues are all you need for cache
//! eviction", SOSP 2023). A new entry starts in a small queue. Whoever is asked for again before the end of it moves to the main
//! queue, the rest is evicted and its hash remembered in a ghost queue; a key that comes back while its ghost is there enters the main
//! queue at once. At the end of the main queue an entry that was asked for goes round once more for each visit. A hit only counts a
//! visit, so that it needs no exclusive lock, and a scan passes through the small queue without touching the main one.

use super::entry::word;
use super::table::{Limits, Table};

/// The numbers of the policy. The defaults are measured (`docs/memory-tier.md`); others are for measuring.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Policy {
    /// The part of the bounds that the small queue may hold before it is the one to evict from.
    pub small_share: f32,
    /// How many ghosts per resident entry.
    pub ghost_share: f32,
    /// Visits that move an entry from the small queue to the main one.
    pub promote: u8,
    /// How many entries one eviction passes over before it evicts whomever it meets: bounds the time of an insert.
    pub patience: u32,
}

impl Policy {
    pub const DEFAULT: Self = Self {
        small_share: 0.1,
        ghost_share: 1.0,
        promote: 1,
        patience: 64,
    };

    pub(super) fn small(&self, limits: Limits) -> Limits {
        let share = f64::from(self.small_share);
        Limits {
            entries: ((limits.entries as f64 * share) as usize).max(1),
            bytes: (limits.bytes as f64 * share) as u64,
        }
    }
}

impl<P, A> Table<P, A> {
    /// Evicts one entry. There is one in a queue.
    pub(super) fn evict_one(&mut self, now: u64, out: &mut Vec<P>) {
        let mut patience = self.policy.patience;
        loop {
            let from_small = (self.small_is_over() || self.main.len == 0) && self.small.len != 0;
            let oldest = if from_small {
                self.small.oldest()
            } else {
                self.main.oldest()
            };
            let slot = oldest.expect("evict_one is called with an entry in a queue");
            let hash = self.slab.cold(slot).hash;
            let entry = &mut self.slab[slot];
            let visits = entry.visits();
            if word::expired(entry.word(), |deadline| deadline <= now) {
                self.remember_proven(slot);
                return self.free(slot, out);
            }
            let kept = visits >= if from_small { self.policy.promote } else { 1 };
            if !kept || patience == 0 {
                self.free(slot, out);
                if from_small {
                    self.remember(hash);
                }
                return;
            }
            patience -= 1;
            entry.set_visits(if from_small { 0 } else { visits - 1 });
            self.unlink(slot);
            self.slab[slot].set_main(true);
            self.link(slot);
        }
    }

    /// Evicts so many entries, those first that have the fewest visits; of equals, those that an insert would evict first. Unlike
    /// `evict_one`, which meets entries one by one and must come to an end soon, it looks at all of them.
    pub(super) fn evict_least_visited(&mut self, count: usize, out: &mut Vec<P>) {
        let small = self.small.oldest_first(&mut self.slab);
        let main = self.main.oldest_first(&mut self.slab);
        // A table that has never been full has filled its small queue first: there the oldest are.
        let over = if self.ghost.capacity() == 0 {
            small.len()
        } else {
            small.len().saturating_sub(self.small_limits.entries)
        };
        let (first, last) = small.split_at(over);
        let mut order = [first, &main, last].concat();
        order.sort_by_key(|&slot| self.slab[slot].visits());
        for slot in order.into_iter().take(count) {
            let (small, hash) = (!self.slab[slot].is_main(), self.slab.cold(slot).hash);
            self.free(slot, out);
            if small {
                self.remember(hash);
            }
        }
    }

    /// Whether a new entry enters the main queue at once: its key was evicted not long ago, or the small queue has its share and
    /// nothing was ever evicted. Without the second a table would fill up into the small queue only, and then lose most of it;
    /// libCacheSim, the simulator of the paper's authors, does likewise.
    pub(super) fn admits_to_main(&mut self, hash: u32) -> bool {
        let filling = self.ghost.capacity() == 0;
        if filling {
            self.small_is_over()
        } else {
            self.ghost.take(hash)
        }
    }

    fn small_is_over(&self) -> bool {
        self.small.len > self.small_limits.entries || self.small.bytes > self.small_limits.bytes
    }

    /// An entry that expires or is cleared says nothing against its key: one that proved itself comes back as such.
    pub(super) fn remember_proven(&mut self, slot: u32) {
        let entry = &self.slab[slot];
        if entry.is_main() || entry.visits() >= self.policy.promote {
            self.ghost.push(self.slab.cold(slot).hash);
        }
    }

    /// Leaves a ghost. The ghost queue is made when it is first needed, and again when the table has outgrown it.
    fn remember(&mut self, hash: u32) {
        let wanted = (self.len() as f32 * self.policy.ghost_share) as usize;
        if self.ghost.capacity() * 2 < wanted {
            self.ghost.resize(wanted);
        }
        self.ghost.push(hash);
    }
}

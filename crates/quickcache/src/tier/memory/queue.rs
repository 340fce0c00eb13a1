//! A first-in-first-out list of entries, linked beside them: an entry leaves from the middle as cheaply as from
//! the end, which a cache that is cleared often needs.

use super::entry::{Cold, NIL, Slab};

pub(super) struct Queue {
    newest: u32,
    oldest: u32,
    pub len: usize,
    /// The cost of its entries: their weights and the overhead of each.
    pub bytes: u64,
}

impl Queue {
    pub const fn new() -> Self {
        Self {
            newest: NIL,
            oldest: NIL,
            len: 0,
            bytes: 0,
        }
    }

    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    pub fn oldest_first<P, A>(&self, slab: &mut Slab<P, A>) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.len);
        let mut slot = self.oldest;
        while slot != NIL {
            slots.push(slot);
            slot = slab.cold(slot).newer;
        }
        slots
    }

    pub fn push<P, A>(&mut self, slab: &mut Slab<P, A>, slot: u32, cost: u64) {
        let cold = slab.cold(slot);
        (cold.newer, cold.older) = (NIL, self.newest);
        match self.newest {
            NIL => self.oldest = slot,
            newest => slab.cold(newest).newer = slot,
        }
        self.newest = slot;
        self.len += 1;
        self.bytes += cost;
    }

    /// Takes out `slot`, which is in this queue.
    pub fn unlink<P, A>(&mut self, slab: &mut Slab<P, A>, slot: u32, cost: u64) {
        let Cold { newer, older, .. } = *slab.cold(slot);
        match newer {
            NIL => self.newest = older,
            newer => slab.cold(newer).older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => slab.cold(older).newer = newer,
        }
        self.len -= 1;
        self.bytes -= cost;
    }
}

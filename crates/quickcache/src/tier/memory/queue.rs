//! A first-in-first-out list of entries, linked through links of their own: an entry leaves from the middle as cheaply as from
//! the end, which a cache that is cleared often needs.

use super::entry::{Links, NIL, Slab};

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
            slot = slab.links(slot).newer;
        }
        slots
    }

    pub fn push<P, A>(&mut self, slab: &mut Slab<P, A>, slot: u32, cost: u64) {
        *slab.links(slot) = Links {
            newer: NIL,
            older: self.newest,
        };
        match self.newest {
            NIL => self.oldest = slot,
            newest => slab.links(newest).newer = slot,
        }
        self.newest = slot;
        self.len += 1;
        self.bytes += cost;
    }

    /// Takes out `slot`, which is in this queue.
    pub fn unlink<P, A>(&mut self, slab: &mut Slab<P, A>, slot: u32, cost: u64) {
        let Links { newer, older } = *slab.links(slot);
        match newer {
            NIL => self.newest = older,
            newer => slab.links(newer).older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => slab.links(older).newer = newer,
        }
        self.len -= 1;
        self.bytes -= cost;
    }
}

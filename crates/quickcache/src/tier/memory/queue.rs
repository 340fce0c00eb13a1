//! A first-in-first-out list of entries, linked through the entries themselves: an entry leaves from the middle as cheaply as from
//! the end, which a cache that is cleared often needs.

use super::entry::{NIL, Slab};

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

    pub fn push<P>(&mut self, slab: &mut Slab<P>, slot: u32, cost: u64) {
        let entry = &mut slab[slot];
        entry.newer = NIL;
        entry.older = self.newest;
        match self.newest {
            NIL => self.oldest = slot,
            newest => slab[newest].newer = slot,
        }
        self.newest = slot;
        self.len += 1;
        self.bytes += cost;
    }

    /// Takes out `slot`, which is in this queue.
    pub fn unlink<P>(&mut self, slab: &mut Slab<P>, slot: u32, cost: u64) {
        let (newer, older) = (slab[slot].newer, slab[slot].older);
        match newer {
            NIL => self.newest = older,
            newer => slab[newer].older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => slab[older].newer = newer,
        }
        self.len -= 1;
        self.bytes -= cost;
    }
}

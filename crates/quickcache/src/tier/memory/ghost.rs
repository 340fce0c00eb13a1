//! The ghost queue: fingerprints of keys that were evicted not long ago. Two bytes a key, in sets of eight of which each is a
//! queue of its own, so that there is nothing to link and nothing to allocate. It may forget a key, or take one for another, with
//! no harm but to the hit ratio.

const WAYS: usize = 8;

#[derive(Default)]
pub(super) struct Ghost {
    /// Newest first within a set; 0 is no key.
    sets: Vec<[u16; WAYS]>,
}

impl Ghost {
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    pub fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<[u16; WAYS]>()
    }

    /// Makes room for about `keys`; what it remembered is forgotten if that moves the sets.
    pub fn resize(&mut self, keys: usize) {
        let sets = keys.div_ceil(WAYS);
        if sets != self.sets.len() {
            self.sets = vec![[0; WAYS]; sets];
        }
    }

    /// The set from the upper bits, the fingerprint from the lower.
    fn place(&self, hash: u32) -> (usize, u16) {
        let set = (u64::from(hash) * self.sets.len() as u64) >> 32;
        (set as usize, (hash as u16).max(1))
    }

    pub fn push(&mut self, hash: u32) {
        let (set, print) = self.place(hash);
        if let Some(set) = self.sets.get_mut(set) {
            set.copy_within(..WAYS - 1, 1);
            set[0] = print;
        }
    }

    /// Whether `hash` is remembered; it is forgotten with that.
    pub fn take(&mut self, hash: u32) -> bool {
        let (set, print) = self.place(hash);
        let Some(set) = self.sets.get_mut(set) else {
            return false;
        };
        let Some(way) = set.iter().position(|&p| p == print) else {
            return false;
        };
        set.copy_within(way + 1.., way);
        set[WAYS - 1] = 0;
        true
    }
}

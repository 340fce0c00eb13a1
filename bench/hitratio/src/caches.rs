//! Who is measured, each behind the same small trait: `u64` keys and values, bound by entries, one thread.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use foyer_memory::{Cache as Foyer, CacheBuilder, LfuConfig, S3FifoConfig};
use quickcache::tier::memory::{Limits, NEVER, Policy, Table, mix};

pub trait Cache {
    /// Asks for `key` and stores it on a miss. Returns whether it was a hit.
    fn request(&mut self, key: u64) -> bool;
}

pub type Make = fn(capacity: usize) -> Box<dyn Cache>;

/// Everyone by name. Ours comes first.
pub const ALL: [(&str, Make); 7] = [
    ("quickcache", |n| Box::new(Ours::new(n, 1, Policy::DEFAULT))),
    ("quickcache, 8 shards", |n| {
        Box::new(Ours::new(n, 8, Policy::DEFAULT))
    }),
    ("quick_cache 0.7", |n| Box::new(Quick::new(n))),
    ("moka 0.12", |n| Box::new(Moka::new(n))),
    ("foyer 0.22 S3-FIFO", |n| {
        Box::new(foyer(n, S3FifoConfig::default().into()))
    }),
    ("foyer 0.22 LFU", |n| {
        Box::new(foyer(n, LfuConfig::default().into()))
    }),
    ("LRU", |n| Box::new(Lru::new(n))),
];

pub const OURS: [usize; 2] = [0, 1];
pub const PEERS: [usize; 4] = [2, 3, 4, 5];

pub struct Ours {
    shards: Vec<Table<(u64, u64)>>,
    out: Vec<(u64, u64)>,
}

impl Ours {
    pub fn new(capacity: usize, shards: usize, policy: Policy) -> Self {
        let limits = Limits {
            entries: capacity / shards,
            bytes: u64::MAX,
        };
        Self {
            shards: (0..shards)
                .map(|_| Table::with_policy(limits, policy))
                .collect(),
            out: Vec::new(),
        }
    }
}

impl Cache for Ours {
    fn request(&mut self, key: u64) -> bool {
        let hash = mix(key, 0x1234_5678_9ABC_DEF1);
        let shards = self.shards.len();
        let table = &mut self.shards[(hash >> 32) as usize * shards >> 32];
        if table.get(hash, |_| false, |p| p.0 == key).is_some() {
            return true;
        }
        table.insert(hash, (key, key), 0, NEVER, 0, |p| p.0 == key, &mut self.out);
        self.out.clear();
        false
    }
}

pub struct Quick(quick_cache::unsync::Cache<u64, u64, quick_cache::UnitWeighter, FixedState>);

impl Quick {
    pub fn new(n: usize) -> Self {
        let hasher = FixedState::with_seed(7);
        Self(quick_cache::unsync::Cache::with(
            n,
            n as u64,
            quick_cache::UnitWeighter,
            hasher,
            Default::default(),
        ))
    }
}

impl Cache for Quick {
    fn request(&mut self, key: u64) -> bool {
        if self.0.get(&key).is_some() {
            return true;
        }
        self.0.insert(key, key);
        false
    }
}

struct Moka {
    cache: moka::sync::Cache<u64, u64, FixedState>,
    requests: usize,
}

impl Moka {
    fn new(n: usize) -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(n as u64)
            .initial_capacity(n);
        Self {
            cache: cache.build_with_hasher(FixedState::with_seed(7)),
            requests: 0,
        }
    }
}

impl Cache for Moka {
    fn request(&mut self, key: u64) -> bool {
        // It applies its logs when they are long or old; in a replay the clock hardly moves.
        self.requests += 1;
        if self.requests % 64 == 0 {
            self.cache.run_pending_tasks();
        }
        if self.cache.get(&key).is_some() {
            return true;
        }
        self.cache.insert(key, key);
        false
    }
}

fn foyer(n: usize, policy: foyer_memory::EvictionConfig) -> Foyer<u64, u64, FixedState> {
    CacheBuilder::new(n)
        .with_shards(1)
        .with_eviction_config(policy)
        .with_hash_builder(FixedState::with_seed(7))
        .build()
}

impl Cache for Foyer<u64, u64, FixedState> {
    fn request(&mut self, key: u64) -> bool {
        if self.get(&key).is_some() {
            return true;
        }
        self.insert(key, key);
        false
    }
}

/// The plain thing, for comparison: least recently used, exactly.
struct Lru {
    slots: HashMap<u64, usize, FixedState>,
    /// Key, newer, older; slot 0 is the ring's anchor.
    ring: Vec<(u64, usize, usize)>,
    capacity: usize,
}

impl Lru {
    fn new(capacity: usize) -> Self {
        Self {
            slots: HashMap::with_hasher(FixedState::with_seed(7)),
            ring: vec![(0, 0, 0)],
            capacity,
        }
    }

    fn link(&mut self, slot: usize) {
        let newest = self.ring[0].2;
        self.ring[slot].1 = 0;
        self.ring[slot].2 = newest;
        self.ring[newest].1 = slot;
        self.ring[0].2 = slot;
    }

    fn unlink(&mut self, slot: usize) {
        let (_, newer, older) = self.ring[slot];
        self.ring[newer].2 = older;
        self.ring[older].1 = newer;
    }
}

impl Cache for Lru {
    fn request(&mut self, key: u64) -> bool {
        if let Some(&slot) = self.slots.get(&key) {
            self.unlink(slot);
            self.link(slot);
            return true;
        }
        let slot = if self.slots.len() == self.capacity {
            let oldest = self.ring[0].1;
            self.unlink(oldest);
            self.slots.remove(&self.ring[oldest].0);
            self.ring[oldest].0 = key;
            oldest
        } else {
            self.ring.push((key, 0, 0));
            self.ring.len() - 1
        };
        self.slots.insert(key, slot);
        self.link(slot);
        false
    }
}

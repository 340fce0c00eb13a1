//! Several tiers as one cache: memory in front, others behind it. The tiers are only listed here; who asks them in which
//! order, fills them back and clears them outermost first is the life of a call, in `function`.

use super::memory::Memory;
#[cfg(feature = "redis")]
use super::redis::Redis;
use super::store::{Shared, Store};
use super::user::{Kind, Outer, Tier};

/// Tiers from the fastest to the slowest.
///
/// A call asks one after the other, and a hit is copied into the faster ones for what is left of its life. A clear goes
/// the other way, so that no reader can copy the old value back. The memory tier is asked first wherever it stands, the store next, and then
/// the Redis.
///
/// ```
/// use quickcache::{Memory, QuickCache, TieredCache};
///
/// let cache = QuickCache::new(TieredCache::new([Memory::new().timeout("10s").into()]));
/// # drop(cache);
/// ```
#[derive(Clone, Debug)]
pub struct TieredCache {
    memory: Option<Memory>,
    store: Option<Store>,
    #[cfg(feature = "redis")]
    redis: Option<Redis>,
    outer: Vec<Outer>,
}

impl TieredCache {
    /// These tiers, the fastest first.
    ///
    /// # Panics
    /// If there is none, or more than one memory tier, or more than one store, or more than one Redis.
    #[must_use]
    pub fn new(tiers: impl IntoIterator<Item = Tier>) -> Self {
        let mut this = TieredCache {
            memory: None,
            store: None,
            #[cfg(feature = "redis")]
            redis: None,
            outer: Vec::new(),
        };
        for tier in tiers {
            match tier.kind {
                Kind::Memory(memory) => {
                    let second = this.memory.replace(memory);
                    assert!(
                        second.is_none(),
                        "TieredCache: two memory tiers; one is enough"
                    );
                }
                Kind::Store(store) => {
                    let second = this.store.replace(store);
                    assert!(second.is_none(), "TieredCache: two stores; one is enough");
                }
                #[cfg(feature = "redis")]
                Kind::Redis(redis) => {
                    let second = this.redis.replace(*redis);
                    assert!(second.is_none(), "TieredCache: two Redis; one is enough");
                }
                Kind::Outer(outer) => this.outer.push(outer),
            }
        }
        #[cfg(feature = "redis")]
        let has_redis = this.redis.is_some();
        #[cfg(not(feature = "redis"))]
        let has_redis = false;
        assert!(
            this.memory.is_some() || this.store.is_some() || has_redis || !this.outer.is_empty(),
            "TieredCache: no tier; give it one, for example `Memory::new().into()`"
        );
        this
    }

    pub(crate) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    #[cfg(feature = "redis")]
    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// The table by which the processes of the machine know what was cleared, if any tier goes by one.
    pub(crate) fn table(&self) -> Option<&'static Shared> {
        if let Some(store) = &self.store {
            return Some(store.shared());
        }
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            return Some(redis.table());
        }
        None
    }

    pub(crate) fn outer(&self) -> &[Outer] {
        &self.outer
    }
}

impl From<Tier> for TieredCache {
    fn from(tier: Tier) -> Self {
        Self::new([tier])
    }
}

impl From<Memory> for TieredCache {
    fn from(memory: Memory) -> Self {
        Self::new([memory.into()])
    }
}

#[cfg(feature = "redis")]
impl From<Redis> for TieredCache {
    fn from(redis: Redis) -> Self {
        Self::new([redis.into()])
    }
}

impl From<Store> for TieredCache {
    fn from(store: Store) -> Self {
        Self::new([store.into()])
    }
}

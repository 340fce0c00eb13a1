//! What is verified: cached functions by the public attribute, at a Redis alone, with memory before it, with memory and store before it,
//! blocking and async.

use std::convert::identity;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{LazyLock, OnceLock};
use std::task::{Context, Waker};

use pollster::block_on;
use quickcache::{Cleared, Memory, QuickCache, Redis, Store, TieredCache, quickcache};

use super::cluster::{PASSWORD, user};
use super::worker::Orders;
use crate::worker;

/// A cached function of a key whose value is the version that its execution read. Threads of all workers use it at the same time.
pub trait Subject: Sync {
    fn call(&self, key: u64) -> u64;
    fn call_anew(&self, key: u64) -> u64;
    fn peek(&self, key: u64) -> Option<u64>;
    fn refresh(&self, key: u64) -> u64;
    fn set(&self, key: u64, version: u64);
    /// Begins a call and drops it before it is ready. Whether it can.
    fn drop_midway(&self, key: u64) -> bool;
    /// Whether it is applied; `wait`: and known everywhere.
    fn clear(&self, key: u64, wait: bool) -> bool;
    /// `None`: it has no such thing.
    fn clear_all(&self) -> Option<bool>;
    /// Does not say whether it is applied. Whether it can.
    fn clear_everything(&self) -> bool;
    /// What the tiers have under a key.
    fn explain(&self, key: u64) -> String {
        format!("nobody knows what, under {key}")
    }
}

/// Functions that share their entries.
pub struct Kind {
    pub family: usize,
    /// Something before Redis, that may serve what was cleared on another machine for as long as the bound.
    pub has_memory: bool,
    pub subject: Box<dyn Subject + Send>,
}

/// By number: what is counted by kind goes by it.
pub const KINDS: [(&str, usize, bool); 6] = [
    ("redis", 0, false),
    ("redis, async", 0, false),
    ("memory and redis", 0, true),
    ("memory and redis, async", 0, true),
    ("memory, store and redis", 1, true),
    ("memory, store and redis, async", 1, true),
];

pub fn kinds() -> Vec<Kind> {
    let subjects: [Box<dyn Subject + Send>; 6] = [
        Box::new(Bare),
        Box::new(BareAsync),
        Box::new(Near),
        Box::new(NearAsync),
        Box::new(Stored),
        Box::new(StoredAsync),
    ];
    let all = KINDS.into_iter().zip(subjects);
    all.map(|((_, family, has_memory), subject)| Kind {
        family,
        has_memory,
        subject,
    })
    .collect()
}

/// Where the server is, or the cluster, and the machine's folder; said before anything is called.
struct Place {
    urls: Vec<String>,
    cluster: bool,
    machine: PathBuf,
}

static PLACE: OnceLock<Place> = OnceLock::new();

pub fn at(orders: &Orders, machine: PathBuf) {
    let user = match orders.cluster {
        true => format!("{}:{}@", user(orders.machine()), PASSWORD),
        false => String::new(),
    };
    let addresses = orders.address.split(',');
    let place = Place {
        urls: addresses
            .map(|at| format!("redis://{user}{at}/0"))
            .collect(),
        cluster: orders.cluster,
        machine,
    };
    assert!(PLACE.set(place).is_ok(), "a process is on one machine");
}

fn place() -> &'static Place {
    PLACE.get().expect("said at the start")
}

fn redis() -> Redis {
    let Place { urls, cluster, .. } = place();
    let redis = match cluster {
        true => Redis::cluster(&urls.iter().map(String::as_str).collect::<Vec<_>>()),
        false => Redis::new(&urls[0]),
    };
    redis.timeout("10s")
}

/// Longer than the bound: what a clear does not reach stays for so long. Short enough that values also expire.
fn memory() -> Memory {
    Memory::new().timeout("3s")
}

fn cache(tiers: impl IntoIterator<Item = quickcache::Tier>) -> QuickCache {
    // Those who wait for a stopped process wait for as long as this.
    QuickCache::builder(TieredCache::new(tiers))
        .patience("200ms")
        .build()
}

fn table() -> PathBuf {
    place().machine.join("table")
}

static BARE: LazyLock<QuickCache> = LazyLock::new(|| cache([redis().folder(table()).into()]));

static NEAR: LazyLock<QuickCache> =
    LazyLock::new(|| cache([memory().into(), redis().folder(table()).into()]));

static STORED: LazyLock<QuickCache> = LazyLock::new(|| {
    // Small: records are written over all the time.
    let store = Store::at(place().machine.join("store"))
        .max_bytes(256 << 10)
        .timeout("5s");
    cache([memory().into(), store.into(), redis().into()])
});

macro_rules! subject {
    (@ $subject:ident, $cache:ident, $function:ident, $get:ident, $drop:expr) => {
        impl Subject for $subject {
            #[inline]
            fn call(&self, key: u64) -> u64 {
                $get($function(key, false))
            }
            fn call_anew(&self, key: u64) -> u64 {
                $get($function(key, true))
            }
            fn refresh(&self, key: u64) -> u64 {
                $get($function::refresh(key, false))
            }
            fn peek(&self, key: u64) -> Option<u64> {
                $get($function::get_cached_value(key))
            }
            fn set(&self, key: u64, version: u64) {
                $get($function::set_cached_value(key).to(version));
            }
            fn drop_midway(&self, key: u64) -> bool {
                $drop(key)
            }
            fn clear(&self, key: u64, wait: bool) -> bool {
                let cleared: Cleared = $get($function::clear(key));
                let cleared = if wait { cleared.wait() } else { cleared };
                cleared.is_applied()
            }
            fn clear_all(&self) -> Option<bool> {
                Some($get($function::clear_all()).is_applied())
            }
            fn clear_everything(&self) -> bool {
                $cache.clear_everything();
                true
            }
            fn explain(&self, key: u64) -> String {
                format!("{:?}", $get($function::explain(key)))
            }
        }
    };
    ($subject:ident, $cache:ident, $name:literal, $function:ident) => {
        struct $subject;
        #[quickcache(cache = $cache, name = $name, version = 1, vary_on = [key], skip_arg = anew)]
        fn $function(key: u64, anew: bool) -> u64 {
            worker::execute(key)
        }
        subject!(@ $subject, $cache, $function, identity, |_| false);
    };
    ($subject:ident, $cache:ident, $name:literal, async $function:ident) => {
        struct $subject;
        #[quickcache(cache = $cache, name = $name, version = 1, vary_on = [key], skip_arg = anew)]
        async fn $function(key: u64, anew: bool) -> u64 {
            worker::execute(key)
        }
        subject!(@ $subject, $cache, $function, block_on, |key| {
            let mut call = pin!($function(key, false));
            let _perhaps = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            true
        });
    };
}

subject!(Bare, BARE, "near", bare);
subject!(BareAsync, BARE, "near", async bare_async);
subject!(Near, NEAR, "near", near);
subject!(NearAsync, NEAR, "near", async near_async);
subject!(Stored, STORED, "stored", stored);
subject!(StoredAsync, STORED, "stored", async stored_async);

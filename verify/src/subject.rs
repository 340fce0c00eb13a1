//! What is verified: cached functions by the public attribute, with a memory tier in front, blocking and async, and without one.

use std::convert::identity;
use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};

use pollster::block_on;
use quickcache::{Memory, QuickCache, Store, TieredCache, quickcache};

use crate::worker;

/// A cached function of a key whose value is the version that its execution read. Threads of all workers use it at the same time.
pub trait Subject: Sync {
    fn call(&self, key: u64) -> u64;
    fn call_anew(&self, key: u64) -> u64;
    fn refresh(&self, key: u64) -> u64;
    fn peek(&self, key: u64) -> Option<u64>;
    fn set(&self, key: u64, version: u64);
    fn clear(&self, key: u64);
    fn clear_all(&self);
    fn clear_everything(&self);
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Where the store of this process is, said before anything is called.
pub fn store_in(folder: PathBuf) {
    FOLDER.set(folder).expect("a process has one store");
}

fn store() -> Store {
    // Small: records are written over all the time.
    Store::at(FOLDER.get().expect("said at the start"))
        .max_bytes(256 << 10)
        .timeout("2s")
}

/// Short, so that values also expire in the midst of everything. Those who wait for a stopped process wait for as long as this.
const PATIENCE: &str = "40ms";

static BOTH: LazyLock<QuickCache> = LazyLock::new(|| {
    let tiers = [Memory::new().timeout("100ms").into(), store().into()];
    QuickCache::builder(TieredCache::new(tiers))
        .patience(PATIENCE)
        .build()
});

static STORE: LazyLock<QuickCache> =
    LazyLock::new(|| QuickCache::builder(store()).patience(PATIENCE).build());

#[quickcache(cache = BOTH, name = "in both", version = 1, vary_on = [key], skip_arg = anew)]
fn in_both(key: u64, anew: bool) -> u64 {
    worker::execute(key)
}

/// Its entries are those of the one above; what it stores another thread writes.
#[quickcache(cache = BOTH, name = "in both", version = 1, vary_on = [key], skip_arg = anew)]
async fn in_both_async(key: u64, anew: bool) -> u64 {
    worker::execute(key)
}

#[quickcache(cache = STORE, vary_on = [key], skip_arg = anew)]
fn in_store(key: u64, anew: bool) -> u64 {
    worker::execute(key)
}

/// Memory in front of the store.
pub struct Both;

/// The same, of an async function.
pub struct BothAsync;

/// The store alone.
pub struct StoreAlone;

macro_rules! subject {
    ($subject:ident, $function:ident, $cache:ident, $get:ident) => {
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
            fn clear(&self, key: u64) {
                let cleared = $get($function::clear(key));
                assert!(cleared.is_applied(), "the store is there");
            }
            fn clear_all(&self) {
                let cleared = $get($function::clear_all());
                assert!(cleared.is_applied(), "the store is there");
            }
            fn clear_everything(&self) {
                $cache.clear_everything();
            }
        }
    };
}

subject!(Both, in_both, BOTH, identity);
subject!(BothAsync, in_both_async, BOTH, block_on);
subject!(StoreAlone, in_store, STORE, identity);

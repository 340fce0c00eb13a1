//! Several tiers behind memory: asked from the fastest on, filled back with what is left of a value's life, stored and cleared
//! outermost first.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use quickcache::{Cache, Memory, QuickCache, Tier, TieredCache, quickcache};

type Entries = HashMap<String, (Vec<u8>, Duration)>;

/// A cache that writes what is asked of it into one log for all.
struct Logged {
    name: &'static str,
    entries: &'static Mutex<Entries>,
    broken: &'static Mutex<bool>,
}

static NEAR: LazyLock<Mutex<Entries>> = LazyLock::new(Mutex::default);
static FAR: LazyLock<Mutex<Entries>> = LazyLock::new(Mutex::default);
static NEAR_IS_BROKEN: Mutex<bool> = Mutex::new(false);
static FAR_IS_BROKEN: Mutex<bool> = Mutex::new(false);
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Logged {
    fn done(&self, what: &str) -> Result<(), &'static str> {
        LOG.lock().unwrap().push(format!("{what} {}", self.name));
        if *self.broken.lock().unwrap() {
            Err("broken")
        } else {
            Ok(())
        }
    }
}

impl Cache for Logged {
    type Error = &'static str;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        self.done("get")?;
        let entries = self.entries.lock().unwrap();
        Ok(entries.get(key).map(|(bytes, _)| bytes.clone()))
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error> {
        self.done("set")?;
        let entry = (value.to_owned(), timeout);
        self.entries.lock().unwrap().insert(key.to_owned(), entry);
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), Self::Error> {
        self.done("delete")?;
        self.entries.lock().unwrap().remove(key);
        Ok(())
    }
}

static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    QuickCache::new(TieredCache::new([
        Memory::new().timeout("10s").into(),
        Tier::cache(Logged {
            name: "near",
            entries: &NEAR,
            broken: &NEAR_IS_BROKEN,
        })
        .timeout("2h")
        .named("near"),
        Tier::cache(Logged {
            name: "far",
            entries: &FAR,
            broken: &FAR_IS_BROKEN,
        })
        .timeout("1h")
        .named("far"),
    ]))
});

fn log() -> Vec<String> {
    std::mem::take(&mut LOG.lock().unwrap())
}

#[quickcache(cache = CACHE, vary_on = [n])]
fn squared(n: u64) -> u64 {
    n * n
}

#[test]
fn tiers_have_an_order() {
    assert_eq!(squared(3), 9);
    assert_eq!(log(), ["get near", "get far", "set far", "set near"]);
    let timeout = |of: &Mutex<Entries>| of.lock().unwrap().values().next().unwrap().1;
    let hour = Duration::from_secs(3600);
    assert!(timeout(&FAR) <= hour && timeout(&NEAR) > hour);

    // As another process would find it: in the far tier alone.
    CACHE.clear_everything();
    NEAR.lock().unwrap().clear();
    assert_eq!(squared(3), 9);
    assert_eq!(log(), ["get near", "get far", "set near"]);
    assert!(
        timeout(&NEAR) <= hour,
        "in the near tier for two hours, but no longer than it may live in the far one"
    );
    let left = squared::explain(3).time_left.unwrap();
    assert!(left <= Duration::from_secs(10));
    assert_eq!(squared::stats().tier_hits, [0, 1]);

    assert!(squared::clear(3).is_applied());
    assert_eq!(log(), ["delete far", "delete near"]);

    // One that cannot be reached does not keep the others from being cleared.
    squared(3);
    log();
    *FAR_IS_BROKEN.lock().unwrap() = true;
    let error = squared::clear(3).strict().unwrap_err().to_string();
    assert!(
        error.contains("`far`") && !error.contains("`near`"),
        "{error}"
    );
    assert_eq!(log(), ["delete far", "delete near"]);
    assert!(NEAR.lock().unwrap().is_empty());
    *FAR_IS_BROKEN.lock().unwrap() = false;
    assert!(squared::clear(3).is_applied());
    log();

    squared::set_cached_value(3).to(10);
    assert_eq!(log(), ["set far", "set near"]);
    *NEAR_IS_BROKEN.lock().unwrap() = true;
    CACHE.clear_everything();
    assert_eq!(squared(3), 10, "a broken tier is passed over");
    assert_eq!(squared::explain(3).tier.as_deref(), Some("memory"));
}

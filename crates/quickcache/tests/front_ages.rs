//! How old a value is, that a cache behind memory has: its entry says when its execution started, also after a backfill.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use quickcache::entry::{Entry, Head, Key, Seal};
use quickcache::key::{Value, v1};
use quickcache::{Cache, Memory, QuickCache, Tier, TieredCache, clock, quickcache};

const MINUTE: u64 = 60_000;

#[derive(Clone, Default)]
struct Dict(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Cache for Dict {
    type Error = Infallible;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn set(&self, key: &str, value: &[u8], _timeout: Duration) -> Result<(), Infallible> {
        self.0.lock().unwrap().insert(key.to_owned(), value.into());
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), Infallible> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

static NEAR: LazyLock<Dict> = LazyLock::new(Dict::default);
static FAR: LazyLock<Dict> = LazyLock::new(Dict::default);
static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    QuickCache::new(TieredCache::new([
        Memory::new().into(),
        Tier::cache(NEAR.clone()).timeout("1h").named("near"),
        Tier::cache(FAR.clone()).timeout("1h").named("far"),
    ]))
});

#[quickcache(cache = CACHE, vary_on = [n], name = "square", version = 1)]
fn square(n: u64) -> u64 {
    n * n
}

/// The whole key of `square(n)`, of which the tiers see the text only.
fn key(n: i64) -> Key {
    let identity = v1::Identity {
        name: "square",
        version: "1",
        ..Default::default()
    };
    let scheme = v1::Scheme::new(b"");
    *scheme.function(identity).key(&[Value::Int(n)]).as_bytes()
}

fn head(tier: &Dict, n: u64) -> Head {
    let bytes = tier.0.lock().unwrap()[&square::key(n)].clone();
    let read = Seal::keyed(b"").read(&key(n as i64), clock::unix(), &bytes);
    let Entry { head, .. } = read.unwrap();
    head
}

#[test]
fn an_entry_says_when_its_execution_started_and_when_it_ends() {
    let before = clock::unix();
    square(2);
    for tier in [&*NEAR, &*FAR] {
        let Head {
            started, deadline, ..
        } = head(tier, 2);
        assert!((before..=clock::unix()).contains(&started));
        assert!((59 * MINUTE..=60 * MINUTE).contains(&(deadline - started)));
    }
}

#[test]
fn a_backfill_hands_the_age_on_and_explain_tells_it() {
    let now = clock::unix();
    let old = Head {
        generation: 0,
        started: now - 20 * MINUTE - MINUTE / 2,
        deadline: now + 10 * MINUTE + MINUTE / 2,
    };
    let nine = |bytes: &mut Vec<u8>| {
        bytes.push(9);
        Ok::<u8, ()>(1)
    };
    let bytes = Seal::keyed(b"").write(&key(4), old, nine).unwrap();
    FAR.set(&square::key(4), &bytes, Duration::MAX).unwrap();
    let explanation = square::explain(4);
    assert_eq!(explanation.tier.as_deref(), Some("far"));
    let minutes = |time: Option<Duration>| time.unwrap().as_secs_f64().div_euclid(60.0);
    assert_eq!(minutes(explanation.age), 20.0);
    assert_eq!(minutes(explanation.time_left), 10.0);

    assert_eq!(square(4), 9, "it is a hit");
    let Head {
        started, deadline, ..
    } = head(&NEAR, 4);
    assert!(started.abs_diff(old.started) < MINUTE / 2);
    assert!(deadline <= old.deadline + 1 && deadline > old.deadline - MINUTE / 2);
}

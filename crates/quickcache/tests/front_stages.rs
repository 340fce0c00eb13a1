//! The three stages: each option is given when the cache is made, by `but_with`, and at the function, and the last one given holds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use quickcache::{
    Cache, Explanation, FakeClock, Memory, QuickCache, Tier, TieredCache, quickcache,
};

const HOUR: Duration = Duration::from_secs(3600);

type Entries = HashMap<String, (Vec<u8>, Duration)>;

/// Remembers the timeouts it was given.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Entries>>);

impl Cache for Slow {
    type Error = Infallible;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        let entries = self.0.lock().unwrap();
        Ok(entries.get(key).map(|(bytes, _)| bytes.clone()))
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Infallible> {
        let entry = (value.to_owned(), timeout);
        self.0.lock().unwrap().insert(key.to_owned(), entry);
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), Infallible> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

impl Slow {
    fn timeout(&self) -> Duration {
        self.0.lock().unwrap().values().next().unwrap().1
    }
}

#[test]
fn timeout_and_memoize_timeout_at_every_stage() {
    static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    static SLOW: LazyLock<Slow> = LazyLock::new(Slow::default);
    static TIERS: LazyLock<QuickCache> = LazyLock::new(|| {
        let tiers = TieredCache::new([
            Memory::new().timeout("1s").into(),
            Tier::cache(SLOW.clone()).timeout("1h"),
        ]);
        QuickCache::builder(tiers).clock(&CLOCK).build()
    });
    static ONE: LazyLock<QuickCache> =
        LazyLock::new(|| TIERS.but_with(|options| options.timeout("2h").memoize_timeout("2s")));
    static TWO: LazyLock<QuickCache> =
        LazyLock::new(|| ONE.but_with(|options| options.timeout("3h").memoize_timeout("3s")));

    #[quickcache(cache = TIERS, vary_on = [])]
    fn of_the_tiers() -> u64 {
        1
    }
    #[quickcache(cache = ONE, vary_on = [])]
    fn of_the_cache() -> u64 {
        1
    }
    #[quickcache(cache = TWO, vary_on = [])]
    fn of_but_with() -> u64 {
        1
    }
    #[quickcache(cache = TWO, vary_on = [], timeout = "4h", memoize_timeout = "4s")]
    fn of_the_function() -> u64 {
        1
    }
    const LATER: Duration = Duration::from_secs(5);
    #[quickcache(cache = TWO, vary_on = [], timeout = HOUR * 5, memoize_timeout = LATER)]
    fn of_expressions() -> u64 {
        1
    }
    let memory = |explain: fn() -> Explanation| {
        let explained = explain();
        assert_eq!(explained.tier.as_deref(), Some("memory"));
        explained.time_left.unwrap()
    };
    type Explain = fn() -> Explanation;
    let functions: [(fn() -> u64, Explain); 5] = [
        (of_the_tiers, of_the_tiers::explain),
        (of_the_cache, of_the_cache::explain),
        (of_but_with, of_but_with::explain),
        (of_the_function, of_the_function::explain),
        (of_expressions, of_expressions::explain),
    ];
    for (at, (function, explain)) in (1..).zip(functions) {
        SLOW.0.lock().unwrap().clear();
        function();
        assert_eq!(SLOW.timeout(), HOUR * at);
        assert_eq!(memory(explain), Duration::from_secs(at.into()));
    }
}

#[test]
fn cache_at_every_stage() {
    static FIRST: LazyLock<Memory> = LazyLock::new(Memory::new);
    static SECOND: LazyLock<Memory> = LazyLock::new(Memory::new);
    static MADE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(FIRST.clone()));
    static CHANGED: LazyLock<QuickCache> =
        LazyLock::new(|| MADE.but_with(|options| options.cache(SECOND.clone())));
    #[quickcache(cache = MADE, vary_on = [n])]
    fn made(n: u64) -> u64 {
        n
    }
    #[quickcache(cache = CHANGED, vary_on = [n])]
    fn changed(n: u64) -> u64 {
        n
    }
    #[quickcache(vary_on = [n])]
    fn shared(n: u64) -> u64 {
        n
    }
    assert_eq!((made(1), changed(1), changed(2), shared(1)), (1, 1, 2, 1));
    assert_eq!((FIRST.len(), SECOND.len()), (1, 2));
    assert_eq!(shared::get_cached_value(1), Some(1));
}

#[test]
fn version_at_every_stage() {
    static NONE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new()));
    static ONE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::builder(Memory::new()).version(1).build());
    static TWO: LazyLock<QuickCache> = LazyLock::new(|| ONE.but_with(|options| options.version(2)));
    macro_rules! key {
        ($cache:ident $($option:tt)*) => {{
            #[quickcache(cache = $cache, vary_on = [], name = "versioned" $($option)*)]
            fn versioned() -> u64 {
                1
            }
            versioned();
            versioned::key()
        }};
    }
    let keys = [key!(NONE), key!(ONE), key!(TWO), key!(TWO, version = 3)];
    let of_functions = [
        key!(NONE),
        key!(NONE, version = 1),
        key!(NONE, version = 2),
        key!(NONE, version = 3),
    ];
    assert_eq!(keys, of_functions);
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn patience_at_every_stage() {
    static MADE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::builder(Memory::new()).patience("1ms").build());
    static LONG: LazyLock<QuickCache> =
        LazyLock::new(|| MADE.but_with(|options| options.patience("7d")));
    static SHORT: LazyLock<QuickCache> =
        LazyLock::new(|| LONG.but_with(|options| options.patience("1ms")));
    /// Does a follower of a leader that is stuck run the function itself?
    macro_rules! gives_up {
        ($cache:ident $($option:tt)*) => {{
            static RUNS: AtomicUsize = AtomicUsize::new(0);
            static STUCK: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> = Mutex::new(None);
            #[quickcache(cache = $cache, vary_on = [] $($option)*)]
            fn stuck() -> usize {
                let stuck = STUCK.lock().unwrap().take();
                if let Some((began, go_on)) = stuck {
                    began.send(()).unwrap();
                    go_on.recv().unwrap();
                }
                RUNS.fetch_add(1, Ordering::SeqCst)
            }
            let (began, has_begun) = mpsc::channel();
            let (go_on, goes_on) = mpsc::channel();
            *STUCK.lock().unwrap() = Some((began, goes_on));
            let leader = std::thread::spawn(stuck);
            has_begun.recv().unwrap();
            stuck();
            go_on.send(()).unwrap();
            leader.join().unwrap();
            assert_eq!(RUNS.load(Ordering::SeqCst), 2);
        }};
    }
    gives_up!(MADE);
    gives_up!(SHORT);
    gives_up!(LONG, patience = "1ms");
}

/// Design section 11: 10,000 entries, 64 MiB, 5 minutes.
#[test]
fn the_default_cache_is_bounded() {
    #[quickcache(vary_on = [n])]
    fn small(n: u64) -> u64 {
        n
    }
    #[quickcache(vary_on = [n])]
    fn large(n: u64) -> Vec<u8> {
        vec![n as u8; 1 << 20]
    }
    small(0);
    let left = small::explain(0).time_left.unwrap();
    assert!(left <= Duration::from_secs(300) && left > Duration::from_secs(290));
    for n in 0..200 {
        large(n);
    }
    let megabytes = large::stats().entries;
    assert!((32..=64).contains(&megabytes), "{megabytes} MiB in 64");
    large::clear_all();
    for n in 0..20_000 {
        small(n);
    }
    let entries = small::stats().entries;
    assert!((9_000..=10_000).contains(&entries), "{entries} entries");
}

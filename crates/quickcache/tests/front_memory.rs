//! The memory tier as the functions of one `Memory` see it: bounded together, freed in time, safe between threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use quickcache::{FakeClock, Memory, QuickCache, quickcache};

#[test]
fn the_bound_on_entries_is_of_all_functions_together() {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new().entries(100));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(MEMORY.clone()));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn one(n: u64) -> u64 {
        n
    }
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn two(n: u64) -> String {
        n.to_string()
    }
    for n in 0..500 {
        one(n);
        two(n);
        assert!(MEMORY.len() <= 100, "{} entries", MEMORY.len());
    }
    assert!(MEMORY.len() > 90);
    assert_eq!(
        one::stats().entries + two::stats().entries,
        MEMORY.len() as u64
    );
}

#[test]
fn the_bound_on_bytes_counts_what_values_and_keys_hold() {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new().entries(1_000).bytes(100_000));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(MEMORY.clone()));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn large(n: u64) -> Vec<u8> {
        vec![n as u8; 1_000]
    }
    #[quickcache(cache = CACHE, vary_on = [key])]
    fn of_large_key(key: &str) -> u64 {
        key.len() as u64
    }
    for n in 0..500 {
        large(n);
    }
    assert!(MEMORY.weight() <= 100_000);
    assert!(
        (80..=100).contains(&MEMORY.len()),
        "{} entries of a kilobyte",
        MEMORY.len()
    );
    for n in 0..500 {
        of_large_key(&format!("{n:1000}"));
    }
    assert!(MEMORY.weight() <= 100_000);
    assert!(
        (80..=100).contains(&MEMORY.len()),
        "{} keys of a kilobyte",
        MEMORY.len()
    );
}

#[test]
fn values_weigh_what_their_type_says() {
    #[derive(Clone)]
    struct Post(String);
    impl quickcache::Weigh for Post {
        fn heap(&self) -> usize {
            assert_eq!(self.0.len(), 5_000);
            self.0.heap()
        }
    }
    #[derive(Clone)]
    #[expect(dead_code, reason = "only its size counts")]
    struct Unknown([u8; 50]);
    macro_rules! bytes {
        ($type:ty, $value:expr) => {{
            #[quickcache(vary_on = [])]
            fn value() -> $type {
                $value
            }
            let _ = value();
            value::stats().bytes
        }};
    }
    for bytes in [
        bytes!(String, "x".repeat(5_000)),
        bytes!(Option<String>, Some("x".repeat(5_000))),
        bytes!(Post, Post("x".repeat(5_000))),
        bytes!(Vec<String>, vec!["x".repeat(1_000); 5]),
        bytes!(Arc<str>, "x".repeat(5_000).into()),
        bytes!(Vec<Unknown>, vec![Unknown([0; 50]); 100]),
    ] {
        assert!((5_000..5_500).contains(&bytes), "{bytes}");
    }
    assert!(bytes!(Unknown, Unknown([0; 50])) < 220);
    assert!(bytes!(u64, 5) < 110);
}

#[test]
fn a_function_may_say_what_its_values_weigh() {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new().entries(100).bytes(1 << 20));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(MEMORY.clone()));
    #[derive(Clone)]
    struct Handle;
    fn half_a_megabyte(_: &Handle) -> usize {
        1 << 19
    }
    #[quickcache(cache = CACHE, vary_on = [n], weigh = half_a_megabyte)]
    fn handles(n: u64) -> Handle {
        let _ = n;
        Handle
    }
    for n in 0..10 {
        let _ = handles(n);
    }
    assert_eq!(MEMORY.len(), 1);
}

/// Counts how many of it are alive.
struct Counted(&'static AtomicUsize);

impl Counted {
    fn new(alive: &'static AtomicUsize) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Counted(alive)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn expired_entries_are_freed_without_being_asked_for() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    static MEMORY: LazyLock<Memory> = LazyLock::new(Memory::new);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        QuickCache::builder(MEMORY.clone())
            .timeout("10s")
            .clock(&CLOCK)
            .build()
    });
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn counted(n: u64) -> Arc<Counted> {
        let _ = n;
        Arc::new(Counted::new(&ALIVE))
    }
    // Clears in the tests beside this one meet some keys in a slot of the protocol, and refuse their fills.
    let fills = || counted::stats().fills as usize;
    (0..1_000).for_each(|n| drop(counted(n)));
    let before = fills();
    assert!(before > 900);
    assert_eq!(ALIVE.load(Ordering::SeqCst), before);
    CLOCK.advance(Duration::from_secs(11));
    (1_000..2_000).for_each(|n| drop(counted(n)));
    assert_eq!(
        ALIVE.load(Ordering::SeqCst),
        fills() - before,
        "new entries sweep the old ones away"
    );
}

#[test]
fn what_is_cleared_or_evicted_is_dropped() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    static CACHE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(Memory::new().entries(10)));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn counted(n: u64) -> Arc<Counted> {
        let _ = n;
        Arc::new(Counted::new(&ALIVE))
    }
    (0..100).for_each(|n| drop(counted(n)));
    assert!(ALIVE.load(Ordering::SeqCst) <= 10);
    (0..100).for_each(|n| drop(counted::clear(n)));
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    (0..5).for_each(|n| drop(counted(n)));
    counted::clear_all();
    assert_eq!(counted::get_cached_value(1).map(drop), None);
    CACHE.clear_everything();
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
}

/// Its `clone` calls the function that it is cached by: under the lock of its shard that would be the end.
#[test]
fn a_clone_that_calls_back_does_not_deadlock() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    struct Nested;
    impl Clone for Nested {
        fn clone(&self) -> Self {
            if CALLS.fetch_add(1, Ordering::SeqCst) < 3 {
                let _ = nested();
            }
            Nested
        }
    }
    #[quickcache(vary_on = [])]
    fn nested() -> Nested {
        Nested
    }
    let _ = nested();
    let _ = nested();
    assert!(CALLS.load(Ordering::SeqCst) >= 3);
}

/// The floor checker of protocols.md 3.1: no reader sees less than the last clear let it expect.
#[test]
fn p1_no_call_gets_a_value_from_before_a_clear_that_returned() {
    const KEYS: usize = 4;
    static SOURCE: [AtomicU64; KEYS] = [const { AtomicU64::new(0) }; KEYS];
    static FLOOR: [AtomicU64; KEYS] = [const { AtomicU64::new(0) }; KEYS];
    #[quickcache(vary_on = [key])]
    fn read(key: usize) -> u64 {
        let value = SOURCE[key].load(Ordering::SeqCst);
        std::hint::spin_loop();
        value
    }
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            scope.spawn(move || {
                for turn in 0..20_000_usize {
                    let key = (turn * 7 + thread) % KEYS;
                    if turn % 5 == 0 {
                        let version = SOURCE[key].fetch_add(1, Ordering::SeqCst) + 1;
                        match turn % 3 {
                            0 => drop(read::clear_all()),
                            _ => drop(read::clear(key)),
                        }
                        FLOOR[key].fetch_max(version, Ordering::SeqCst);
                    } else {
                        let floor = FLOOR[key].load(Ordering::SeqCst);
                        let value = if turn % 11 == 0 {
                            read::refresh(key)
                        } else {
                            read(key)
                        };
                        assert!(value >= floor, "got {value} after a clear at {floor}");
                    }
                }
            });
        }
    });
}

/// A value whose end asks for other values.
#[derive(Clone)]
struct Caller(&'static (dyn Fn() + Sync));

impl Drop for Caller {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn what_is_computed_after_a_clear_of_everything_stays() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static CACHE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(Memory::new().entries(100_000)));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn after(n: u64) -> u64 {
        RUNS.fetch_add(1, Ordering::SeqCst);
        n
    }
    fn all() {
        for n in 0..256 {
            assert_eq!(after(n), n);
        }
    }
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn calls_at_its_end(n: u64) -> Caller {
        let _ = n;
        Caller(&|| {
            if RUNS.load(Ordering::SeqCst) == 0 {
                all();
            }
        })
    }
    for n in 0..16 {
        std::mem::forget(calls_at_its_end(n));
    }
    CACHE.clear_everything(); // drops those, in the midst of it if it were not careful
    assert_eq!(RUNS.load(Ordering::SeqCst), 256);
    all();
    // Clears in the tests beside this one meet some keys in a slot of the protocol, and refuse their fills.
    let (runs, refused) = (RUNS.load(Ordering::SeqCst), after::stats().refused_fills);
    assert!(
        runs as u64 <= 256 + refused,
        "a value newer than the clear was forgotten: {runs} runs, {refused} refused"
    );
}

#[test]
fn every_hit_is_counted_once_however_many_threads_hit() {
    const THREADS: u64 = 12; // more than a lock has stripes
    const HITS: u64 = 5_000;
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new()));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn hit(n: u64) -> u64 {
        n
    }
    (0..10).for_each(|n| assert_eq!(hit(n), n));
    let together = std::sync::Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                together.wait();
                (0..HITS).for_each(|n| assert_eq!(hit(n % 10), n % 10));
            });
        }
    });
    assert_eq!(hit::stats().memory_hits, THREADS * HITS);
}

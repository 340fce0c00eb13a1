//! `stale_timeout`: a function that fails gives its last value for a while, and never one that was cleared.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex, mpsc};
use std::time::Duration;

use quickcache::entry::{Entry, Head, Key, Seal};
use quickcache::key::{Value, v1};
use quickcache::{Cache, FakeClock, Memory, QuickCache, Tier, TieredCache, clock, quickcache};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MILLI: Duration = Duration::from_millis(1);

/// What a function of a test asks: it may be down.
struct Ground {
    clock: FakeClock,
    down: AtomicBool,
    now: AtomicU64,
}

impl Ground {
    fn new() -> Ground {
        Ground {
            clock: FakeClock::new(),
            down: AtomicBool::new(false),
            now: AtomicU64::new(1),
        }
    }

    fn ask(&self) -> Result<u64, String> {
        match self.down.load(Ordering::SeqCst) {
            true => Err("down".to_owned()),
            false => Ok(self.now.fetch_add(1, Ordering::SeqCst)),
        }
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// A minute fresh, an hour stale.
    fn cache(&self, tiers: impl Into<TieredCache>) -> QuickCache {
        QuickCache::builder(tiers)
            .timeout(MINUTE)
            .stale_timeout(HOUR)
            .clock(&self.clock)
            .build()
    }
}

fn down<T>() -> Result<T, String> {
    Err("down".to_owned())
}

/// A ground, a cache in memory, and what stands on them.
macro_rules! ground {
    ($ground:ident, $cache:ident) => {
        static $ground: LazyLock<Ground> = LazyLock::new(Ground::new);
        static $cache: LazyLock<QuickCache> = LazyLock::new(|| $ground.cache(Memory::new()));
    };
}

#[test]
fn a_failure_gives_the_last_value_until_timeout_and_stale_timeout_are_over() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn copied() -> Result<u64, String> {
        GROUND.ask()
    }
    #[quickcache(cache = CACHE, vary_on = [])]
    fn cloned() -> Result<String, String> {
        GROUND.ask().map(|n| n.to_string())
    }
    let (first, second) = (copied(), cloned());
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE - MILLI);
    assert_eq!((copied(), cloned()), (first.clone(), second.clone()));
    assert_eq!(
        (copied::stats().stale_hits, copied::stats().executions),
        (0, 1)
    );
    GROUND.clock.advance(MILLI);
    // Failures make it no younger.
    for _ in 0..60 {
        assert_eq!((copied(), cloned()), (first.clone(), second.clone()));
        GROUND.clock.advance(MINUTE - MILLI);
    }
    GROUND.clock.advance(60 * MILLI - MILLI);
    assert_eq!((copied(), cloned()), (first, second));
    GROUND.clock.advance(MILLI);
    assert_eq!((copied(), cloned()), (down(), down()));

    let stats = copied::stats();
    assert_eq!((stats.stale_hits, stats.executions), (61, 63));
    assert_eq!((stats.hits(), stats.fills, stats.refused_fills), (1, 1, 0));
    // It lives anew from a success on.
    GROUND.set_down(false);
    let third = copied();
    GROUND.set_down(true);
    GROUND.clock.advance(HOUR);
    assert_eq!(copied(), third);
}

#[test]
fn a_success_takes_the_place_of_a_stale_value() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn f() -> Result<u64, String> {
        GROUND.ask()
    }
    assert_eq!(f(), Ok(1));
    GROUND.clock.advance(MINUTE);
    assert_eq!(f(), Ok(2), "stale, it is no hit");
    assert_eq!(f(), Ok(2));
    assert_eq!(f::stats().stale_hits, 0);
}

#[test]
fn stale_timeout_at_every_stage() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static NONE: LazyLock<QuickCache> = LazyLock::new(|| {
        let builder = QuickCache::builder(Memory::new());
        builder.timeout(MINUTE).clock(&GROUND.clock).build()
    });
    static ONE: LazyLock<QuickCache> =
        LazyLock::new(|| NONE.but_with(|options| options.stale_timeout("1h")));
    static TWO: LazyLock<QuickCache> =
        LazyLock::new(|| ONE.but_with(|options| options.stale_timeout(2 * HOUR)));
    macro_rules! hours {
        ($cache:ident $($option:tt)*) => {{
            #[quickcache(cache = $cache, vary_on = [] $($option)*)]
            fn f() -> Result<u64, String> {
                GROUND.ask()
            }
            GROUND.set_down(false);
            let value = f();
            GROUND.set_down(true);
            GROUND.clock.advance(MINUTE);
            let mut hours = 0;
            while f() == value {
                GROUND.clock.advance(HOUR);
                hours += 1;
            }
            hours
        }};
    }
    assert_eq!(hours!(NONE), 0);
    assert_eq!((hours!(ONE), hours!(TWO)), (1, 2));
    assert_eq!(hours!(ONE, stale_timeout = "3h"), 3);
    assert_eq!(hours!(NONE, stale_timeout = HOUR * 4), 4);
    assert_eq!(hours!(ONE, stale_timeout = "0s"), 0);
}

#[test]
fn however_long_it_is_kept_it_is_fresh_for_its_timeout_only() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| GROUND.cache(Memory::new()));
    #[quickcache(cache = CACHE, vary_on = [], stale_timeout = Duration::MAX)]
    fn f() -> Result<u64, String> {
        GROUND.ask()
    }
    assert_eq!(f(), Ok(1));
    GROUND.clock.advance(MINUTE);
    assert_eq!((f::get_cached_value(), f()), (None, Ok(2)));
    GROUND.set_down(true);
    GROUND.clock.advance(HOUR * 24 * 365 * 90);
    assert_eq!(f(), Ok(2));
    GROUND.clock.advance(HOUR * 24 * 365 * 20);
    assert_eq!(f(), down());
}

#[test]
fn f_what_was_cleared_is_never_served() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn f(n: u64) -> Result<u64, String> {
        let _ = n;
        GROUND.ask()
    }
    let clears: [fn(); 3] = [
        || assert!(f::clear(1).is_applied()),
        || assert!(f::clear_all().is_applied()),
        || CACHE.clear_everything(),
    ];
    for clear in clears {
        for late in [Duration::ZERO, MINUTE] {
            GROUND.set_down(false);
            f::refresh(1).unwrap();
            GROUND.set_down(true);
            GROUND.clock.advance(late);
            clear();
            GROUND.clock.advance(MINUTE);
            assert_eq!(f(1), down());
        }
    }
    assert_eq!(f::stats().stale_hits, 0);
}

#[test]
fn f_a_clear_while_the_function_runs_leaves_nothing_to_serve() {
    ground!(GROUND, CACHE);
    static CLEARS: AtomicBool = AtomicBool::new(false);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn f() -> Result<u64, String> {
        if CLEARS.load(Ordering::SeqCst) {
            assert!(f::clear().is_applied());
        }
        GROUND.ask()
    }
    let value = f();
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    assert_eq!(f(), value);
    CLEARS.store(true, Ordering::SeqCst);
    assert_eq!(f(), down());
}

#[test]
fn who_asks_for_the_cached_value_gets_no_stale_one_and_explain_says_what_there_is() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn f() -> Result<u64, String> {
        GROUND.ask()
    }
    f().unwrap();
    let fresh = f::explain();
    assert_eq!((fresh.stale, fresh.time_left), (false, Some(MINUTE)));
    GROUND.clock.advance(2 * MINUTE);
    assert_eq!(f::get_cached_value(), None);
    let stale = f::explain();
    assert_eq!((stale.tier.as_deref(), stale.stale), (Some("memory"), true));
    assert_eq!(stale.time_left, Some(HOUR - MINUTE));
    let age = stale.age.unwrap();
    assert!(
        age <= 2 * MINUTE && age > 2 * MINUTE - Duration::from_secs(4),
        "{age:?}"
    );
    GROUND.clock.advance(HOUR - MINUTE);
    let gone = f::explain();
    assert_eq!((gone.tier, gone.stale), (None, false));
}

#[test]
fn who_wants_a_new_value_gets_the_error() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [], skip_arg = anew)]
    fn f(anew: bool) -> Result<u64, String> {
        GROUND.ask()
    }
    let value = f(false);
    GROUND.set_down(true);
    assert_eq!(
        (f(true), f::refresh(false), f::uncached(false)),
        (down(), down(), down())
    );
    GROUND.clock.advance(MINUTE);
    assert_eq!((f(true), f::refresh(false)), (down(), down()));
    assert_eq!(f(false), value, "and leaves the last value where it is");
}

#[test]
fn a_missing_value_is_a_value_and_a_kept_error_is_one() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn missing() -> Result<Option<u64>, String> {
        GROUND.ask().map(|_| None)
    }
    #[quickcache(cache = CACHE, vary_on = [])]
    fn none_when_down() -> Option<u64> {
        GROUND.ask().ok()
    }
    #[quickcache(cache = CACHE, vary_on = [], errors = keep)]
    fn kept() -> Result<u64, String> {
        GROUND.ask()
    }
    assert_eq!(missing(), Ok(None));
    assert!(none_when_down().is_some() && kept().is_ok());
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    assert_eq!((missing(), missing::get_cached_value()), (Ok(None), None));
    assert_eq!((none_when_down(), kept()), (None, down()));
    GROUND.set_down(false);
    assert_eq!((none_when_down(), kept()), (None, down()), "hits");
}

#[test]
fn a_panic_is_no_failure() {
    ground!(GROUND, CACHE);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn f() -> Result<u64, String> {
        Ok(GROUND.ask().expect("it is up"))
    }
    f().unwrap();
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

/// An error that cannot be handed to followers.
#[derive(Debug)]
struct Unshared;

#[test]
fn followers_of_a_failing_flight_get_the_same_value() {
    ground!(GROUND, CACHE);
    static BEGAN: Mutex<Option<mpsc::Sender<()>>> = Mutex::new(None);
    static GO_ON: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));
    #[quickcache(cache = CACHE, vary_on = [])]
    fn f() -> Result<String, Unshared> {
        if let Some(began) = BEGAN.lock().unwrap().take() {
            began.send(()).unwrap();
            GO_ON.wait();
        }
        GROUND.ask().map(|n| n.to_string()).map_err(|_| Unshared)
    }
    let value = f().unwrap();
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    let (began, has_begun) = mpsc::channel();
    *BEGAN.lock().unwrap() = Some(began);
    std::thread::scope(|scope| {
        let leader = scope.spawn(f);
        has_begun.recv().unwrap();
        let misses = f::stats().misses;
        let followers: Vec<_> = (0..3).map(|_| scope.spawn(f)).collect();
        while f::stats().misses < misses + 3 {
            std::thread::yield_now();
        }
        // From the miss it is a few steps to the flight.
        std::thread::sleep(Duration::from_millis(100));
        GO_ON.wait();
        assert_eq!(leader.join().unwrap().unwrap(), value);
        for follower in followers {
            assert_eq!(follower.join().unwrap().unwrap(), value);
        }
    });
    assert_eq!((f::stats().executions, f::stats().stale_hits), (2, 4));
}

#[tokio::test]
async fn async_functions_serve_stale_values_too() {
    ground!(GROUND, CACHE);
    static GATE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);
    #[quickcache(cache = CACHE, vary_on = [])]
    async fn f() -> Result<u64, String> {
        GATE.acquire().await.unwrap().forget();
        GROUND.ask()
    }
    let value = f().await;
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    assert_eq!(f::get_cached_value().await, None);
    let calls = [tokio::spawn(f()), tokio::spawn(f())];
    while f::stats().misses < 3 {
        tokio::task::yield_now().await;
    }
    GATE.add_permits(1);
    for call in calls {
        assert_eq!(call.await.unwrap(), value);
    }
    assert_eq!((f::stats().executions, f::stats().stale_hits), (2, 2));
    assert!(f::explain().await.stale);
    assert!(f::clear().await.is_applied());
    GATE.add_permits(1);
    assert_eq!(f().await, down());
}

#[test]
fn a_bad_stale_timeout_names_the_option() {
    for bad in ["", "5", "-1s", "1.5h", "999999999999999999d"] {
        let make = || drop(QuickCache::builder(Memory::new()).stale_timeout(bad));
        let panic = catch_unwind(make).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("QuickCache: stale_timeout"), "{message}");
        assert!(message.contains(bad), "{message}");
    }
}

// ---- in a cache of a user ----

#[derive(Clone, Default)]
struct Dict(Arc<Mutex<Entries>>);

/// Bytes, and how long they may be kept.
type Entries = HashMap<String, (Vec<u8>, Duration)>;

impl Cache for Dict {
    type Error = Infallible;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .get(key)
            .map(|(bytes, _)| bytes.clone()))
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Infallible> {
        let entry = (value.into(), timeout);
        self.0.lock().unwrap().insert(key.to_owned(), entry);
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), Infallible> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// The whole key of a function of this name, of version 1 and without arguments.
fn key(name: &str) -> Key {
    let identity = v1::Identity {
        name,
        version: "1",
        ..Default::default()
    };
    let scheme = v1::Scheme::new(b"");
    *scheme
        .function(identity)
        .key(&[] as &[Value<'_>])
        .as_bytes()
}

static DICT: LazyLock<Dict> = LazyLock::new(Dict::default);
static KEEPS: LazyLock<QuickCache> = LazyLock::new(|| {
    let builder = QuickCache::builder(Tier::cache(DICT.clone()));
    builder.timeout(MINUTE).stale_timeout(HOUR).build()
});
static PLAIN: LazyLock<QuickCache> =
    LazyLock::new(|| KEEPS.but_with(|options| options.stale_timeout("0s")));

#[test]
fn p6_an_entry_says_until_when_it_is_fresh_and_the_tier_keeps_it_longer() {
    #[quickcache(cache = KEEPS, vary_on = [], name = "kept", version = 1)]
    fn keeps() -> Result<u64, String> {
        Ok(9)
    }
    keeps().unwrap();
    let (bytes, timeout) = DICT.0.lock().unwrap()[&keeps::key()].clone();
    assert!(
        timeout <= HOUR + MINUTE && timeout > HOUR + MINUTE / 2,
        "{timeout:?}"
    );
    let read = Seal::keyed(b"").read(&key("kept"), clock::unix(), &bytes);
    let Entry { head, .. } = read.unwrap();
    let fresh = head.deadline - head.started;
    assert!((59_990..=60_000).contains(&fresh), "{fresh}");
}

#[test]
fn what_a_users_tier_kept_is_served_stale_by_whom_that_was_said_to() {
    macro_rules! on {
        ($f:ident, $cache:ident) => {
            #[quickcache(cache = $cache, vary_on = [], name = "late", version = 1)]
            fn $f() -> Result<u64, String> {
                down()
            }
        };
    }
    on!(keeps, KEEPS);
    on!(plain, PLAIN);
    let put = |late: Duration| {
        let late = u64::try_from(late.as_millis()).unwrap();
        let head = Head {
            generation: 0,
            started: clock::unix() - late - 60_000,
            deadline: clock::unix() - late,
        };
        let nine = |bytes: &mut Vec<u8>| {
            bytes.push(9);
            Ok::<u8, ()>(1)
        };
        let bytes = Seal::keyed(b"").write(&key("late"), head, nine).unwrap();
        DICT.set(&keeps::key(), &bytes, Duration::MAX).unwrap();
    };
    put(HOUR - MINUTE);
    assert_eq!((keeps(), plain()), (Ok(9), down()));
    assert_eq!(
        (keeps::get_cached_value(), plain::get_cached_value()),
        (None, None)
    );
    let stats = keeps::stats();
    assert_eq!(
        (stats.stale_hits, stats.rejected_values, stats.tier_hits),
        (1, 0, vec![0])
    );
    let (stale, none) = (keeps::explain(), plain::explain());
    assert_eq!((stale.stale, none.tier), (true, None));
    assert!(stale.time_left.unwrap() <= MINUTE && stale.age.unwrap() >= HOUR);
    put(HOUR);
    assert_eq!(keeps(), down());
    put(MINUTE);
    assert_eq!(keeps(), Ok(9));
    assert!(keeps::clear().is_applied());
    assert_eq!(keeps(), down());
}

#[test]
fn a_copy_in_memory_is_kept_no_longer_than_the_value_it_is_of() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static FAR: LazyLock<Dict> = LazyLock::new(Dict::default);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        GROUND.cache(TieredCache::new([
            Memory::new().timeout("1h").into(),
            Tier::cache(FAR.clone()),
        ]))
    });
    #[quickcache(cache = CACHE, vary_on = [], name = "copy", version = 1)]
    fn f() -> Result<u64, String> {
        down()
    }
    let now = clock::unix();
    let head = Head {
        generation: 0,
        started: now - 30_000,
        deadline: now + 30_000,
    };
    let nine = |bytes: &mut Vec<u8>| {
        bytes.push(9);
        Ok::<u8, ()>(1)
    };
    let bytes = Seal::keyed(b"").write(&key("copy"), head, nine).unwrap();
    FAR.set(&f::key(), &bytes, Duration::MAX).unwrap();
    assert_eq!(f(), Ok(9));
    FAR.delete(&f::key()).unwrap();
    assert_eq!(f(), Ok(9), "a hit in memory");
    GROUND.clock.advance(MINUTE / 2);
    assert_eq!((f::get_cached_value(), f()), (None, Ok(9)));
    GROUND.clock.advance(HOUR - MINUTE);
    assert_eq!(f(), Ok(9));
    GROUND.clock.advance(MINUTE);
    assert_eq!(f(), down());
}

// ---- in the store of a machine ----

#[cfg(target_os = "linux")]
#[test]
fn f_the_store_serves_stale_values_until_any_cache_of_the_machine_clears_them() {
    use quickcache::Store;
    static FOLDER: LazyLock<quickcache_testing::Folder> =
        LazyLock::new(quickcache_testing::Folder::new);
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static STORE: LazyLock<Store> =
        LazyLock::new(|| Store::at(FOLDER.path().join("store")).max_bytes(1 << 20));
    static ONE: LazyLock<QuickCache> = LazyLock::new(|| GROUND.cache(STORE.clone()));
    static TWO: LazyLock<QuickCache> = LazyLock::new(|| {
        GROUND.cache(TieredCache::new([
            Memory::new().into(),
            STORE.clone().into(),
        ]))
    });
    static NONE: LazyLock<QuickCache> =
        LazyLock::new(|| ONE.but_with(|options| options.stale_timeout("0s")));
    macro_rules! on {
        ($f:ident, $cache:ident) => {
            #[quickcache(cache = $cache, vary_on = [], name = "stored", version = 1)]
            fn $f() -> Result<u64, String> {
                GROUND.ask()
            }
        };
    }
    on!(one, ONE);
    on!(two, TWO);
    on!(none, NONE);
    let value = one();
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    assert_eq!(
        (one(), two(), none()),
        (value.clone(), value.clone(), down())
    );
    assert_eq!(
        (one::get_cached_value(), two::get_cached_value()),
        (None, None)
    );
    let stale = two::explain();
    assert_eq!((stale.tier.as_deref(), stale.stale), (Some("store"), true));
    assert_eq!((stale.age, stale.time_left), (Some(MINUTE), Some(HOUR)));
    assert_eq!(none::explain().tier, None);
    GROUND.clock.advance(HOUR - MILLI);
    assert_eq!((one(), two()), (value.clone(), value));
    GROUND.clock.advance(MILLI);
    assert_eq!((one(), two()), (down(), down()));

    GROUND.set_down(false);
    let value = two();
    GROUND.set_down(true);
    GROUND.clock.advance(MINUTE);
    assert_eq!((one(), two()), (value.clone(), value));
    // A fresh value in the store is told of, not the stale one in memory.
    GROUND.set_down(false);
    assert!(one().is_ok());
    GROUND.set_down(true);
    let fresh = two::explain();
    assert_eq!((fresh.tier.as_deref(), fresh.stale), (Some("store"), false));
    GROUND.clock.advance(MINUTE);
    // Of the memory of the other, too.
    assert!(one::clear().is_applied());
    assert_eq!((one(), two()), (down(), down()));
}

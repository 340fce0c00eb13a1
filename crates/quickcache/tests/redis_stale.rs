//! `stale_timeout` at a Redis: values that are kept beyond their timeout, leases over them, and what a clear does to them. A value is made
//! stale by what the server says is left of its key, whatever its entry says: no clock of another machine is trusted.

#![cfg(all(target_os = "linux", feature = "redis"))]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use quickcache::{Cleared, Memory, QuickCache, Redis, TieredCache, quickcache};
use quickcache_testing::{Folder, Reply, Server};

/// The timeout of every function here, and its stale_timeout.
const HOUR: Duration = Duration::from_secs(3600);
const MILLIS: i64 = 3_600_000;

/// For what is bound to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, and what a function of the test asks: it may be down.
struct Ground {
    server: Server,
    down: AtomicBool,
    now: AtomicU64,
}

impl Ground {
    fn new() -> Ground {
        Ground {
            server: Server::start(),
            down: AtomicBool::new(false),
            now: AtomicU64::new(1),
        }
    }

    fn ask(&self) -> Result<u64, String> {
        match self.down.load(Ordering::SeqCst) {
            true => down(),
            false => Ok(self.now.fetch_add(1, Ordering::SeqCst)),
        }
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// On a machine of its own.
    fn redis(&self) -> Redis {
        let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
        Redis::new(&self.server.url())
            .timeout(HOUR)
            .budget("2s") // a machine that is kept busy is not out of reach
            .folder(folder.path().join("machine"))
    }

    fn command(&self, words: &[&str]) -> Reply {
        self.server.command(words).expect("the server answers")
    }

    fn key(&self) -> String {
        let Reply::Array(keys) = self.command(&["KEYS", "qc:*"]) else {
            panic!("no list of keys")
        };
        let mut keys = keys.into_iter().map(|key| key.text());
        keys.find(|key| !key.contains(":f:") && !key.ends_with("staleness"))
            .expect("a value")
    }

    fn number(&self, words: &[&str]) -> i64 {
        match self.command(words) {
            Reply::Int(number) => number,
            other => panic!("{other:?}"),
        }
    }

    /// Milliseconds that are left of the value's key.
    fn left(&self) -> i64 {
        self.number(&["PTTL", &self.key()])
    }

    /// The value's deadline was so long ago.
    fn make_stale(&self, since: i64) {
        let left = (MILLIS - since).to_string();
        assert_eq!(self.number(&["PEXPIRE", &self.key(), &left]), 1);
    }
}

fn down<T>() -> Result<T, String> {
    Err("down".to_owned())
}

fn stale(tiers: impl Into<TieredCache>) -> QuickCache {
    QuickCache::builder(tiers).stale_timeout(HOUR).build()
}

fn with_memory(redis: Redis) -> TieredCache {
    TieredCache::new([Memory::new().timeout("1h").into(), redis.into()])
}

/// A function of one name, on a cache of its own; `$body` is what it does.
macro_rules! on {
    ($ground:ident) => {
        static $ground: LazyLock<Ground> = LazyLock::new(Ground::new);
    };
    ($f:ident, $cache:ident = $make:expr, $body:expr) => {
        static $cache: LazyLock<QuickCache> = LazyLock::new(|| $make);
        #[quickcache(cache = $cache, name = "f", version = 1, vary_on = [])]
        #[allow(dead_code)] // some tests want the companions only
        fn $f() -> Result<u64, String> {
            $body
        }
    };
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_failure_gives_the_last_value_and_never_lengthens_its_life() {
    on!(GROUND);
    on!(f, ONE = stale(GROUND.redis()), GROUND.ask());
    on!(other, TWO = stale(GROUND.redis()), GROUND.ask());
    let value = f();
    assert!((MILLIS..=2 * MILLIS).contains(&GROUND.left()));
    GROUND.set_down(true);
    assert_eq!((f(), other()), (value.clone(), value.clone()), "hits");
    GROUND.make_stale(1000);
    let mut before = GROUND.left();
    for _ in 0..20 {
        assert_eq!((f(), other()), (value.clone(), value.clone()));
        let left = GROUND.left();
        assert!(left <= before, "{before} {left}");
        before = left;
    }
    assert_eq!((f::stats().stale_hits, other::stats().stale_hits), (20, 20));
    GROUND.make_stale(MILLIS - 300);
    assert_eq!(f(), value);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((f(), other()), (down(), down()));
    GROUND.set_down(false);
    assert!(f().is_ok());
    assert_eq!(other(), f(), "what is stored is fresh");
}

#[test]
fn p6_what_is_stale_is_no_hit_whoever_reads_it() {
    on!(GROUND);
    on!(f, KEEPS = stale(GROUND.redis()), GROUND.ask());
    on!(plain, PLAIN = QuickCache::new(GROUND.redis()), GROUND.ask());
    on!(
        memory,
        MEMORY = QuickCache::new(with_memory(GROUND.redis())),
        GROUND.ask()
    );
    on!(
        both,
        BOTH = stale(with_memory(GROUND.redis())),
        GROUND.ask()
    );
    let value = f();
    assert_eq!(
        (plain(), memory::get_cached_value()),
        (value.clone(), value.clone().ok())
    );
    assert!(memory::explain().time_left.unwrap() <= HOUR);
    GROUND.make_stale(1);
    GROUND.set_down(true);
    assert_eq!(plain::get_cached_value(), None);
    assert_eq!(f::get_cached_value(), None);
    assert_eq!(both::get_cached_value(), None);
    assert_eq!((plain(), plain::explain().tier), (down(), None));
    let explained = f::explain();
    assert_eq!(
        (explained.tier.as_deref(), explained.stale),
        (Some("redis"), true)
    );
    assert!(explained.time_left.unwrap() <= HOUR && explained.age.unwrap() >= HOUR);
    // None of them has ended its life.
    assert_eq!((f(), both()), (value.clone(), value));
    GROUND.set_down(false);
    assert_eq!((plain(), f()), (Ok(2), Ok(2)));
}

#[test]
fn p10_a_stale_value_is_sealed_as_any() {
    on!(GROUND);
    on!(
        f,
        SEALED = stale(GROUND.redis().secrets(&[b"one"])),
        GROUND.ask()
    );
    on!(
        other,
        OTHERWISE = stale(GROUND.redis().secrets(&[b"two"])),
        GROUND.ask()
    );
    let value = f();
    GROUND.make_stale(1);
    GROUND.set_down(true);
    assert_eq!((f(), other(), f()), (value.clone(), down(), value));
}

/// As in the other front's tests: a clock that is ahead is what an entry looks like whose key the server keeps as fresh.
#[test]
fn a_clock_that_is_ahead_of_the_server_makes_a_value_stale_and_loses_none() {
    on!(GROUND);
    static BRIEF: LazyLock<QuickCache> = LazyLock::new(|| {
        QuickCache::builder(GROUND.redis().timeout("50ms"))
            .stale_timeout(HOUR)
            .build()
    });
    #[quickcache(cache = BRIEF, name = "f", version = 1, vary_on = [])]
    fn f() -> Result<u64, String> {
        GROUND.ask()
    }
    #[quickcache(cache = BRIEF, name = "f", version = 1, vary_on = [])]
    async fn task() -> Result<u64, String> {
        GROUND.ask()
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let twice = (2 * MILLIS).to_string();
    let is_fresh_there = || GROUND.number(&["PEXPIRE", &GROUND.key(), &twice]);
    assert_eq!((f(), is_fresh_there()), (Ok(1), 1));
    GROUND.set_down(true);
    thread::sleep(Duration::from_millis(60)); // beyond its deadline by every clock but the server's
    for stale_hits in 1..=3 {
        assert_eq!((f(), f::stats().stale_hits), (Ok(1), stale_hits));
        assert!(GROUND.left() <= MILLIS);
        is_fresh_there();
        assert_eq!(runtime.block_on(task()), Ok(1));
        is_fresh_there();
    }
    GROUND.set_down(false);
    assert_eq!((f(), f::stats().stale_hits), (Ok(2), 3));
}

#[test]
fn a_reader_goes_by_its_own_stale_timeout() {
    on!(GROUND);
    on!(f, KEEPS = stale(GROUND.redis()), GROUND.ask());
    on!(
        short,
        SHORT = QuickCache::builder(GROUND.redis())
            .stale_timeout("1m")
            .build(),
        GROUND.ask()
    );
    let value = f();
    GROUND.set_down(true);
    GROUND.make_stale(50_000);
    assert_eq!((f(), short()), (value.clone(), value.clone()));
    GROUND.make_stale(60_000);
    assert_eq!((f(), short()), (value, down()));
}

#[test]
fn f_what_was_cleared_on_any_machine_is_never_served() {
    on!(GROUND);
    on!(f, ONE = stale(GROUND.redis()), GROUND.ask());
    on!(other, TWO = QuickCache::new(GROUND.redis()), GROUND.ask());
    for clear in [other::clear, other::clear_all] {
        GROUND.set_down(false);
        let value = f();
        GROUND.make_stale(1);
        GROUND.set_down(true);
        assert_eq!(f(), value);
        assert!(clear().is_applied());
        assert_eq!(f(), down());
    }
}

#[test]
fn f_a_clear_while_the_function_runs_leaves_nothing_to_serve() {
    on!(GROUND);
    static CLEARS: Mutex<Option<fn() -> Cleared>> = Mutex::new(None);
    on!(other, TWO = QuickCache::new(GROUND.redis()), GROUND.ask());
    fn body() -> Result<u64, String> {
        if let Some(clear) = *CLEARS.lock().unwrap() {
            assert!(clear().is_applied());
        }
        GROUND.ask()
    }
    on!(f, ONE = stale(GROUND.redis()), body());
    // The memory of this one may not have heard of the clear when the function fails.
    static MEMORY: LazyLock<QuickCache> = LazyLock::new(|| stale(with_memory(GROUND.redis())));
    #[quickcache(cache = MEMORY, name = "f", version = 1, vary_on = [], memoize_timeout = "100ms")]
    fn memory() -> Result<u64, String> {
        body()
    }
    let clears: [fn() -> Cleared; 2] = [other::clear, other::clear_all];
    for (f, clear) in [f, memory]
        .into_iter()
        .flat_map(|f| clears.map(|clear| (f, clear)))
    {
        GROUND.set_down(false);
        let value = f();
        let hits = memory::stats().memory_hits;
        until("memory serves", || {
            let _filled = memory();
            memory::stats().memory_hits > hits
        });
        thread::sleep(Duration::from_millis(100));
        GROUND.make_stale(1);
        GROUND.set_down(true);
        assert_eq!(f(), value);
        *CLEARS.lock().unwrap() = Some(clear);
        assert_eq!(f(), down());
        *CLEARS.lock().unwrap() = None;
    }
}

/// Nobody has told the memory tier.
#[test]
fn f_what_redis_has_no_more_is_not_served_from_memory() {
    on!(GROUND);
    static DELETES: AtomicBool = AtomicBool::new(false);
    static MEMORY: LazyLock<QuickCache> = LazyLock::new(|| stale(with_memory(GROUND.redis())));
    #[quickcache(cache = MEMORY, name = "f", version = 1, vary_on = [], memoize_timeout = "1s")]
    fn f() -> Result<u64, String> {
        if DELETES.load(Ordering::SeqCst) {
            assert_eq!(GROUND.number(&["DEL", &GROUND.key()]), 1);
        }
        GROUND.ask()
    }
    for deletes in [false, true] {
        GROUND.set_down(false);
        let hits = f::stats().memory_hits;
        until("memory serves", || {
            let _filled = f();
            f::stats().memory_hits > hits
        });
        // Before the call, and while the function runs.
        match deletes {
            false => assert_eq!(GROUND.number(&["DEL", &GROUND.key()]), 1),
            true => GROUND.make_stale(1),
        }
        GROUND.set_down(true);
        until("it is stale in memory", || f::explain().stale);
        DELETES.store(deletes, Ordering::SeqCst);
        assert_eq!(f(), down());
        until("memory has it still", || f::explain().stale);
    }
    assert_eq!(f::stats().stale_hits, 0);
}

#[test]
fn p7_one_machine_computes_what_is_stale_and_the_others_wait_for_it() {
    on!(GROUND);
    fn slow() -> Result<u64, String> {
        thread::sleep(Duration::from_millis(200));
        GROUND.ask()
    }
    on!(one, ONE = stale(GROUND.redis()), slow());
    on!(two, TWO = stale(GROUND.redis()), slow());
    on!(three, THREE = stale(GROUND.redis()), slow());
    assert_eq!(one(), Ok(1));
    for value in 2..5 {
        GROUND.make_stale(1);
        let calls = [one, two, three].map(thread::spawn);
        for call in calls {
            assert_eq!(call.join().unwrap(), Ok(value));
        }
    }
}

#[test]
fn p7_a_lease_over_a_stale_value_ends_when_its_holder_does() {
    on!(GROUND);
    on!(f, ONE = stale(GROUND.redis()), GROUND.ask());
    assert_eq!(f(), Ok(1));
    GROUND.make_stale(1000);
    // Another's, which half a second is left of.
    let (key, until) = (GROUND.key(), GROUND.left() - 500);
    GROUND.number(&["SETRANGE", &key, "33", "0123456789abcdef"]);
    GROUND.number(&["SETRANGE", &key, "62", &format!("{until:012}")]);
    let began = Instant::now();
    assert_eq!(f(), Ok(2));
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(450), "{waited:?}");
}

#[test]
fn a_lease_over_a_stale_value_is_kept_alive() {
    on!(GROUND);
    static GO_ON: AtomicBool = AtomicBool::new(true);
    static BEGAN: AtomicU64 = AtomicU64::new(0);
    fn slow() -> Result<u64, String> {
        BEGAN.fetch_add(1, Ordering::SeqCst);
        until("it may go on", || GO_ON.load(Ordering::SeqCst));
        GROUND.ask()
    }
    on!(one, ONE = stale(GROUND.redis()), slow());
    on!(
        two,
        TWO = QuickCache::builder(GROUND.redis())
            .stale_timeout(HOUR)
            .patience("1m")
            .build(),
        slow()
    );
    assert_eq!(one(), Ok(1));
    GROUND.make_stale(1);
    GO_ON.store(false, Ordering::SeqCst);
    let leader = thread::spawn(one);
    until("it runs", || BEGAN.load(Ordering::SeqCst) == 2);
    let waiter = thread::spawn(two);
    // Longer than a lease that nobody renews.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(BEGAN.load(Ordering::SeqCst), 2);
    GO_ON.store(true, Ordering::SeqCst);
    assert_eq!(
        (leader.join().unwrap(), waiter.join().unwrap()),
        (Ok(2), Ok(2))
    );
    assert_eq!(BEGAN.load(Ordering::SeqCst), 2);
}

#[test]
fn a_call_without_the_lease_serves_the_stale_value_too() {
    on!(GROUND);
    let (began, has_begun) = mpsc::channel();
    static BEGAN: std::sync::Mutex<Option<mpsc::Sender<()>>> = std::sync::Mutex::new(None);
    static GO_ON: AtomicBool = AtomicBool::new(false);
    fn stuck() -> Result<u64, String> {
        if let Some(began) = BEGAN.lock().unwrap().take() {
            began.send(()).unwrap();
            until("it may go on", || GO_ON.load(Ordering::SeqCst));
        }
        GROUND.ask()
    }
    on!(one, ONE = stale(GROUND.redis()), stuck());
    on!(
        two,
        TWO = QuickCache::builder(GROUND.redis())
            .stale_timeout(HOUR)
            .patience("1ms")
            .build(),
        GROUND.ask()
    );
    let value = one();
    GROUND.set_down(true);
    GROUND.make_stale(1);
    *BEGAN.lock().unwrap() = Some(began);
    let leader = thread::spawn(one);
    has_begun.recv_timeout(PATIENCE).unwrap();
    assert_eq!(two(), value);
    assert!(two::clear().is_applied());
    assert_eq!(two(), down());
    GO_ON.store(true, Ordering::SeqCst);
    assert_eq!(leader.join().unwrap(), down());
}

#[test]
fn a_refresh_takes_the_place_of_a_stale_value_and_of_who_computes_it() {
    on!(GROUND);
    static BEGAN: std::sync::Mutex<Option<mpsc::Sender<()>>> = std::sync::Mutex::new(None);
    static GO_ON: AtomicBool = AtomicBool::new(false);
    fn stuck() -> Result<u64, String> {
        let value = GROUND.ask();
        if let Some(began) = BEGAN.lock().unwrap().take() {
            began.send(()).unwrap();
            until("it may go on", || GO_ON.load(Ordering::SeqCst));
        }
        value
    }
    on!(one, ONE = stale(GROUND.redis()), stuck());
    on!(two, TWO = stale(GROUND.redis()), GROUND.ask());
    assert_eq!(one(), Ok(1));
    GROUND.make_stale(1);
    let (began, has_begun) = mpsc::channel();
    *BEGAN.lock().unwrap() = Some(began);
    let leader = thread::spawn(one);
    has_begun.recv_timeout(PATIENCE).unwrap();
    assert_eq!(two::refresh(), Ok(3));
    GO_ON.store(true, Ordering::SeqCst);
    assert_eq!(leader.join().unwrap(), Ok(2));
    assert_eq!((one(), two()), (Ok(3), Ok(3)), "the later execution");
    // A refresh that failed leaves it for others.
    GROUND.make_stale(1);
    GROUND.set_down(true);
    assert_eq!(two::refresh(), down());
    assert_eq!(one(), Ok(3));
    GROUND.set_down(false);
    assert_eq!(two(), Ok(4));
}

#[test]
fn p10_a_damaged_record_is_a_miss() {
    on!(GROUND);
    on!(f, ONE = stale(GROUND.redis()), GROUND.ask());
    f().unwrap();
    for at in ["50", "62", "70", "80", "120"] {
        let key = GROUND.key();
        GROUND.make_stale(-1000);
        GROUND.number(&["SETRANGE", &key, at, "xxxx"]);
        GROUND.set_down(true);
        let _any = f();
        GROUND.make_stale(1);
        let _any = f();
        GROUND.set_down(false);
        let value = f();
        assert_eq!((value.is_ok(), f() == value), (true, true), "byte {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn async_functions_serve_stale_values_of_redis_too() {
    on!(GROUND);
    static ONE: LazyLock<QuickCache> = LazyLock::new(|| stale(GROUND.redis()));
    #[quickcache(cache = ONE, name = "f", version = 1, vary_on = [])]
    async fn f() -> Result<u64, String> {
        tokio::task::yield_now().await;
        GROUND.ask()
    }
    let value = f().await;
    GROUND.set_down(true);
    GROUND.make_stale(1000);
    let before = GROUND.left();
    assert_eq!((f().await, f().await), (value.clone(), value));
    assert!(GROUND.left() <= before);
    assert_eq!(f::get_cached_value().await, None);
    assert!(f::explain().await.stale);
    assert!(f::clear().await.is_applied());
    assert_eq!(f().await, down());
}

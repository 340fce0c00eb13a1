//! `serve_while_unreachable`: memory and store go on while the Redis is out of reach, and stop when it answers. Caches with a folder of their own
//! stand for machines.

#![cfg(all(target_os = "linux", feature = "redis"))]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quickcache::{Cleared, Memory, QuickCache, Redis, Store, Tier, TieredCache, quickcache};
use quickcache_testing::{Direction, Door, Folder, Mode, Process, Proxy, Server};

/// Longer than usual, for machines that are kept busy.
const STALENESS: Duration = Duration::from_secs(1);

/// A server, the way there from the machine of the test, and what its function returns.
struct Ground {
    server: Server,
    proxy: Proxy,
    folder: Folder,
    now: AtomicU64,
}

impl Ground {
    fn new() -> Ground {
        let server = Server::start();
        Ground {
            proxy: Proxy::to(server.address()),
            server,
            folder: Folder::new(),
            now: AtomicU64::new(1),
        }
    }

    fn redis(&self) -> Redis {
        redis(&self.proxy.address().to_string(), self.folder.path()).serve_while_unreachable(true)
    }

    /// On a machine that always reaches it.
    fn elsewhere(&self) -> Redis {
        let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
        redis(&self.server.address(), folder.path())
    }

    fn next(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    fn cut(&self) {
        self.proxy.door(Door::Closed);
        self.proxy.drop_connections();
    }

    fn mend(&self) {
        self.proxy.set(Mode::Pass);
        self.proxy.door(Door::Open);
    }
}

fn redis(address: &str, folder: &Path) -> Redis {
    Redis::new(&format!("redis://{address}/0"))
        .timeout("5m")
        .budget("300ms") // a machine that is kept busy is not out of reach
        .staleness(STALENESS)
        .folder(folder.join("machine"))
}

fn before(tier: impl Into<Tier>, redis: Redis) -> QuickCache {
    QuickCache::new(TieredCache::new([tier.into(), redis.into()]))
}

fn memory() -> Memory {
    Memory::new().timeout("1m")
}

/// A function of one name, on a cache of its own.
macro_rules! on {
    ($ground:ident) => {
        static $ground: LazyLock<Ground> = LazyLock::new(Ground::new);
    };
    ($f:ident, $cache:ident = $make:expr, $ground:ident) => {
        static $cache: LazyLock<QuickCache> = LazyLock::new(|| $make);
        #[quickcache(cache = $cache, name = "f", version = 1, vary_on = [n])]
        #[allow(dead_code)] // some tests want the companions only
        fn $f(n: u64) -> (u64, u64) {
            (n, $ground.next())
        }
    };
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A value of a function that has been the same for a while, with a hit in memory right after the server has answered: so it is proven.
macro_rules! served {
    ($f:ident, $n:expr) => {{
        let mut begin = (Instant::now(), $f($n));
        until("memory serves", || {
            let value = $f($n);
            if value != begin.1 {
                begin = (Instant::now(), value);
            }
            if begin.0.elapsed() < STALENESS || $f::clear(u64::MAX) != Cleared::Applied {
                return false;
            }
            let hits = $f::stats().memory_hits;
            $f($n) == value && $f::stats().memory_hits > hits
        });
        begin.1
    }};
}

#[test]
fn the_memory_tier_serves_through_an_outage_if_that_was_said() {
    on!(GROUND);
    on!(serves, SERVES = before(memory(), GROUND.redis()), GROUND);
    on!(
        plain,
        PLAIN = before(memory(), GROUND.redis().serve_while_unreachable(false)),
        GROUND
    );
    fn blackhole(direction: Direction) {
        let _connections = GROUND.proxy.set(Mode::Blackhole(direction));
    }
    type Fault = fn();
    let faults: [Fault; 3] = [
        || GROUND.cut(),
        || blackhole(Direction::Both),
        || blackhole(Direction::ToClient),
    ];
    for fault in faults {
        let (one, other) = (served!(serves, 1), served!(plain, 2));
        fault();
        thread::sleep(2 * STALENESS);
        let end = Instant::now() + Duration::from_secs(7);
        let runs = serves::stats().executions;
        while Instant::now() < end {
            assert_eq!(serves(1), one);
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(serves::stats().executions, runs);
        assert_ne!(plain(2), other);
        // What is computed meanwhile is kept too.
        let third = serves(3);
        assert_eq!((serves(3), plain(2) == plain(2)), (third, false));
        GROUND.mend();
    }
}

#[test]
fn the_store_serves_through_an_outage_too_and_the_memory_until_its_timeout() {
    on!(GROUND);
    static STORE: LazyLock<Folder> = LazyLock::new(Folder::new);
    on!(
        f,
        ONE = QuickCache::new(TieredCache::new([
            Memory::new().timeout("300ms").into(),
            Store::at(STORE.path().join("store"))
                .max_bytes(1 << 20)
                .into(),
            GROUND.redis().into(),
        ])),
        GROUND
    );
    let value = served!(f, 1);
    GROUND.cut();
    let end = Instant::now() + Duration::from_secs(2);
    let hits = f::stats().tier_hits[0];
    while Instant::now() < end {
        assert_eq!(f(1), value);
        thread::sleep(Duration::from_millis(10));
    }
    assert!(f::stats().tier_hits[0] > hits, "of the store");
    on!(
        short,
        SHORT = before(Memory::new().timeout("300ms"), GROUND.redis()),
        GROUND
    );
    let value = short(2);
    until("its timeout is over", || short(2) != value);
}

#[test]
fn a_function_that_fails_in_an_outage_gives_what_memory_has_if_that_serves() {
    on!(GROUND);
    static DOWN: AtomicBool = AtomicBool::new(false);
    fn make(serves: bool) -> QuickCache {
        let redis = GROUND.redis().serve_while_unreachable(serves);
        let memory = Memory::new().timeout("300ms");
        QuickCache::builder(TieredCache::new([memory.into(), redis.into()]))
            .stale_timeout("1h")
            .build()
    }
    static SERVES: LazyLock<QuickCache> = LazyLock::new(|| make(true));
    static PLAIN: LazyLock<QuickCache> = LazyLock::new(|| make(false));
    macro_rules! on_it {
        ($f:ident, $cache:ident) => {
            #[quickcache(cache = $cache, name = "g", version = 1, vary_on = [n])]
            fn $f(n: u64) -> Result<(u64, u64), &'static str> {
                match DOWN.load(Ordering::SeqCst) {
                    true => Err("down"),
                    false => Ok((n, GROUND.next())),
                }
            }
        };
    }
    on_it!(serves, SERVES);
    on_it!(plain, PLAIN);
    let (value, _other) = (served!(serves, 1), served!(plain, 2));
    DOWN.store(true, Ordering::SeqCst);
    GROUND.cut();
    thread::sleep(2 * STALENESS);
    assert_eq!((serves(1), plain(2)), (value, Err("down")));
    assert!(serves::stats().stale_hits > 0 && serves::explain(1).stale);
    assert!(matches!(serves::clear(1), Cleared::Pending(_)));
    assert_eq!(serves(1), Err("down"));
}

#[test]
fn a_clear_of_this_machine_is_in_force_at_once() {
    on!(GROUND);
    on!(one, ONE = before(memory(), GROUND.redis()), GROUND);
    on!(two, TWO = before(memory(), GROUND.redis()), GROUND);
    served!(one, 1);
    served!(two, 1);
    GROUND.cut();
    thread::sleep(2 * STALENESS);
    for _ in 0..20 {
        let value = (one(1), two(1));
        assert_eq!(value, (one(1), two(1)));
        assert!(matches!(one::clear(1), Cleared::Pending(_)));
        let cleared = (one(1), two(1));
        assert!(cleared.0.1 > value.0.1 && cleared.1.1 > value.1.1);
    }
}

/// The bound begins anew when the server answers this machine.
#[test]
fn p4_what_was_cleared_elsewhere_in_the_outage_is_not_served_when_the_server_is_back() {
    on!(GROUND);
    on!(f, ONE = before(memory(), GROUND.redis()), GROUND);
    on!(other, OTHER = QuickCache::new(GROUND.elsewhere()), GROUND);
    for _ in 0..5 {
        let value = served!(f, 1);
        GROUND.cut();
        thread::sleep(2 * STALENESS);
        assert_eq!(other::clear(1), Cleared::Applied);
        assert_eq!(f(1), value, "it cannot know");
        GROUND.mend();
        until("the server answers", || f::clear(2) == Cleared::Applied);
        assert_ne!(f(1), value);
    }
}

#[test]
fn what_may_have_been_cleared_before_the_outage_is_not_served_in_it() {
    on!(GROUND);
    on!(other, OTHER = QuickCache::new(GROUND.elsewhere()), GROUND);
    let mut peer = peer(&GROUND);
    peer.kill();
    // Nobody of the machine listens.
    thread::sleep(5 * STALENESS);
    assert_eq!(other::clear(1), Cleared::Applied);
    GROUND.cut();
    on!(
        f,
        ONE = on_store(GROUND.folder.path(), GROUND.redis()),
        GROUND
    );
    let value = f(1);
    assert!(
        value.1 < OF_PEER,
        "the other process has computed it before the clear"
    );
    // Whatever finds the outage first clears everything, perhaps after this call.
    let value = f(1);
    let end = Instant::now() + 3 * STALENESS;
    while Instant::now() < end {
        assert_eq!(f(1), value, "what was computed in the outage is served");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn p4_holds_again_though_a_process_that_knew_of_the_outage_was_killed_or_stopped() {
    on!(GROUND);
    on!(other, OTHER = QuickCache::new(GROUND.elsewhere()), GROUND);
    on!(
        f,
        ONE = on_store(GROUND.folder.path(), GROUND.redis()),
        GROUND
    );
    for kills in [true, false] {
        let mut peer = peer(&GROUND);
        f(1);
        GROUND.cut();
        thread::sleep(2 * STALENESS);
        match kills {
            true => peer.kill(),
            false => peer.stop(),
        }
        GROUND.mend();
        until("the server answers", || f::clear(2) == Cleared::Applied);
        if !kills {
            peer.cont();
        }
        for _ in 0..5 {
            let value = served!(f, 1);
            assert_eq!(other::clear(1), Cleared::Applied);
            thread::sleep(STALENESS);
            assert_ne!(f(1), value);
        }
        peer.kill();
    }
}

// ---- another process of the machine ----

/// Its values are at least so large; those of this process are smaller.
const OF_PEER: u64 = 1_000_000;

fn on_store(folder: &Path, redis: Redis) -> QuickCache {
    QuickCache::new(TieredCache::new([
        memory().into(),
        Store::at(folder.join("machine")).max_bytes(1 << 20).into(),
        redis.into(),
    ]))
}

/// One that has served from memory.
fn peer(ground: &Ground) -> Process {
    let ready = ground.folder.path().join("ready");
    let _none = std::fs::remove_file(&ready);
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["--exact", "the_other_process"])
        .env("PEER_ADDRESS", ground.proxy.address().to_string())
        .env("PEER_FOLDER", ground.folder.path())
        .stdout(std::process::Stdio::null());
    let peer = Process::start(command).expect("it starts");
    until("the other process serves", || ready.exists());
    peer
}

/// Of another test: by itself it does nothing.
#[test]
fn the_other_process() {
    let Some(folder) = env::var_os("PEER_FOLDER").map(PathBuf::from) else {
        return;
    };
    static NEXT: AtomicU64 = AtomicU64::new(OF_PEER);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        let folder = PathBuf::from(env::var_os("PEER_FOLDER").expect("it is set"));
        let address = env::var("PEER_ADDRESS").expect("it is set");
        on_store(
            &folder,
            redis(&address, &folder).serve_while_unreachable(true),
        )
    });
    #[quickcache(cache = CACHE, name = "f", version = 1, vary_on = [n])]
    fn f(n: u64) -> (u64, u64) {
        (n, NEXT.fetch_add(1, Ordering::SeqCst))
    }
    served!(f, 1);
    std::fs::write(folder.join("ready"), "").expect("the folder is there");
    loop {
        f(1);
        thread::sleep(Duration::from_millis(10));
    }
}

//! What a Redis, and the network on the way there, can do to a call: nothing. Real servers, and a proxy whose network fails as told.

#![cfg(all(target_os = "linux", feature = "redis"))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use quickcache::{Cleared, Memory, QuickCache, Redis, TieredCache, quickcache};
use quickcache_testing::{Answer, Direction, Door, Flips, Folder, Mode, Proxy, Reply, Server};

/// A server behind a proxy. Never dropped, as statics are not.
struct Ground {
    server: Mutex<Server>,
    proxy: Proxy,
    /// What the function of the test returns.
    now: AtomicU64,
}

impl Ground {
    fn new() -> Ground {
        Ground::on(Server::start())
    }

    fn on(server: Server) -> Ground {
        Ground {
            proxy: Proxy::to(server.address()),
            server: Mutex::new(server),
            now: AtomicU64::new(1),
        }
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().expect("no test panics with it")
    }

    /// A Redis by way of the proxy, on a machine of its own.
    fn redis(&self) -> Redis {
        Self::at(&self.proxy.address().to_string())
    }

    /// A Redis on a machine whose network does not fail.
    fn redis_direct(&self) -> Redis {
        Self::at(&self.server().address())
    }

    fn at(address: &str) -> Redis {
        let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
        Redis::new(&format!("redis://{address}/0"))
            .timeout("5m")
            .budget("2s") // a machine that is kept busy is not out of reach
            .folder(folder.path().join("machine"))
    }

    fn next(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    /// The text of each value in the server, by its key.
    fn values(&self) -> Vec<String> {
        let keys = self.server().command(&["KEYS", "qc:*"]);
        let Ok(Reply::Array(keys)) = keys else {
            panic!("{keys:?}")
        };
        let keys = keys.into_iter().map(|key| key.text());
        keys.filter(|key| !key.contains(":f:") && !key.ends_with("staleness"))
            .collect()
    }
}

fn with_memory(redis: Redis) -> QuickCache {
    QuickCache::new(TieredCache::new([
        Memory::new().timeout("1h").into(),
        redis.into(),
    ]))
}

/// A function of one name, on a cache of its own; on one without a memory tier, by way of a proxy of its own, if nothing else is said.
macro_rules! on {
    ($ground:ident, $bare:ident) => {
        static $ground: LazyLock<Ground> = LazyLock::new(Ground::new);
        on!(@ $ground, $bare, BARE, QuickCache::new($ground.redis()));
    };
    (@ $ground:ident, $name:ident, $cache:ident, $make:expr) => {
        static $cache: LazyLock<QuickCache> = LazyLock::new(|| $make);
        #[quickcache(cache = $cache, name = "f", version = 1, vary_on = [n])]
        #[allow(dead_code)] // some tests want the companions only
        fn $name(n: u64) -> (u64, u64) {
            (n, $ground.next())
        }
    };
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn p8_no_failure_reaches_a_call_or_delays_it_for_long_and_hits_come_back() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    on!(@ GROUND, bare, BARE, QuickCache::new(GROUND.redis().budget("100ms")));
    let proxy = &GROUND.proxy;
    let slow = Duration::from_secs(5);
    type Fault = (&'static str, Box<dyn Fn()>);
    let mode = |mode: Mode| -> Box<dyn Fn()> {
        Box::new(move || {
            proxy.set(mode.clone());
        })
    };
    let answer = |reply: &'static [u8]| -> Box<dyn Fn()> {
        Box::new(move || proxy.answer(Answer::to("", reply)))
    };
    let faults: Vec<Fault> = vec![
        (
            "refused",
            Box::new(|| {
                proxy.door(Door::Closed);
                proxy.drop_connections();
            }),
        ),
        (
            "reset",
            Box::new(|| {
                proxy.door(Door::Reset);
                proxy.reset();
            }),
        ),
        (
            "too many clients",
            Box::new(|| {
                proxy.door(Door::Greet(Answer::MAXCLIENTS.to_vec()));
                proxy.reset();
            }),
        ),
        ("silent", mode(Mode::Blackhole(Direction::Both))),
        ("deaf", mode(Mode::Blackhole(Direction::ToServer))),
        ("mute", mode(Mode::Blackhole(Direction::ToClient))),
        ("slow", mode(Mode::Delay(Direction::Both, slow))),
        (
            "dripping",
            mode(Mode::Drip {
                direction: Direction::ToClient,
                bytes: 1,
                every: Duration::from_millis(40),
            }),
        ),
        ("cut", mode(Mode::Cut(Direction::ToClient, 3))),
        (
            "half closed",
            Box::new(|| {
                proxy.set(Mode::Blackhole(Direction::Both));
                proxy.half_close(Direction::ToClient);
            }),
        ),
        ("loading", answer(Answer::LOADING)),
        ("read only", answer(Answer::READONLY)),
        ("without authority", answer(Answer::NOAUTH)),
        ("busy", answer(Answer::BUSY)),
        ("talking nonsense", answer(b"?!\r\n")),
        ("stopping in the midst", answer(b"$100\r\nabc")),
        ("answering something else", answer(b"+OK\r\n")),
        ("stopped", Box::new(|| GROUND.server().stop())),
    ];
    let mut key = 0;
    for (name, fault) in &faults {
        until(name, || {
            bare(key);
            let hits = bare::stats().tier_hits[0];
            bare(key);
            bare::stats().tier_hits[0] > hits
        });
        fault();
        let began = Instant::now();
        for _ in 0..20 {
            key += 1;
            assert_eq!(bare(key).0, key, "{name}");
        }
        // One budget, and not one for each; the rest is for a machine that is busy.
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "{name}: {:?}",
            began.elapsed()
        );
        GROUND.server().cont();
        proxy.heal();
        proxy.answer_no_more();
        proxy.door(Door::Open);
        key += 1;
    }
    assert!(bare::stats().tier_errors > 0);
}

#[test]
fn what_the_server_refuses_is_not_stored_and_hits_go_on() {
    on!(GROUND, bare);
    let held = bare(1);
    for refusal in [
        Answer::OOM,
        b"-MISCONF no disk\r\n",
        b"-NOREPLICAS none\r\n",
    ] {
        GROUND.proxy.answer(Answer::to("EVALSHA", refusal));
        let errors = bare::stats().tier_errors;
        let first = bare(2);
        assert!(bare(2).1 > first.1, "it is not stored");
        assert!(bare::stats().tier_errors > errors);
        assert_eq!(bare(1), held);
        assert!(!bare::clear(9).is_applied());
        // What is pending is refused to whoever connects, too.
        GROUND.proxy.reset();
        until("hits after a new connection", || {
            let hits = bare::stats().tier_hits[0];
            assert_eq!(bare(1).0, 1);
            bare::stats().tier_hits[0] > hits
        });
        assert_eq!(bare(1), held);
        GROUND.proxy.answer_no_more();
    }
    until("what was pending is applied", || {
        bare::clear(9).is_applied()
    });
    assert_eq!(bare(2), bare(2));
}

#[test]
fn memory_keeps_what_a_server_that_is_full_has_no_room_for() {
    on!(GROUND, bare);
    on!(@ GROUND, here, HERE, QuickCache::new(TieredCache::new([Memory::new().into(), GROUND.redis().into()])));
    until("a hit in memory", || {
        here(1);
        here::stats().memory_hits > 0
    });
    for rule in [["maxmemory-policy", "noeviction"], ["maxmemory", "1"]] {
        let set = GROUND
            .server()
            .command(&["CONFIG", "SET", rule[0], rule[1]]);
        set.expect("set");
    }
    let first = here(2);
    assert_eq!(here(2), first);
    assert_eq!(bare::clear(2), Cleared::Applied);
    until("it is heard", || here(2).1 > first.1);
    let of_redis = here::stats();
    assert!(
        of_redis.tier_errors >= 2 && of_redis.memory_hits >= 2,
        "{of_redis:?}"
    );
}

#[test]
fn memory_is_off_while_a_server_was_full_before_anybody_agreed_on_a_staleness() {
    on!(GROUND, bare);
    on!(@ GROUND, here, HERE, QuickCache::new(TieredCache::new([Memory::new().into(), GROUND.redis().into()])));
    let room = |bytes: &str| {
        let set = GROUND
            .server()
            .command(&["CONFIG", "SET", "maxmemory", bytes]);
        set.expect("set");
    };
    room("1");
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        assert!(here(1) != here(1));
    }
    assert_eq!(here::stats().memory_hits, 0);
    room("0");
    until("a hit in memory", || {
        here(1);
        here::stats().memory_hits > 0
    });
}

#[test]
fn scripts_that_the_server_has_forgotten_are_taught_again() {
    on!(GROUND, bare);
    bare(1);
    for key in 2..5 {
        GROUND
            .server()
            .command(&["SCRIPT", "FLUSH"])
            .expect("it forgets");
        assert_eq!(bare(key), bare(key));
        assert_eq!(bare::clear(key), Cleared::Applied);
    }
    assert_eq!(bare::stats().tier_errors, 0);
}

#[test]
fn p3_a_server_that_restarts_from_an_old_state_brings_nothing_back() {
    on!(GROUND, bare);
    for key in 0..20 {
        let old = bare(key);
        GROUND.server().save();
        assert_eq!(bare::clear(key), Cleared::Applied);
        GROUND.server().kill();
        GROUND.server().restart();
        assert!(bare(key).1 > old.1);
        until("it is reached again", || bare::clear(key).is_applied());
        until("hits come back", || bare(key) == bare(key));
    }
}

#[test]
fn p3_a_replica_that_lagged_and_was_promoted_brings_nothing_back() {
    on!(GROUND, bare);
    let replica = Server::builder().replica_of(&GROUND.server()).start();
    let old = bare(1);
    until(
        "it is replicated",
        || matches!(replica.command(&["DBSIZE"]), Ok(Reply::Int(n)) if n >= 2),
    );
    replica
        .command(&["REPLICAOF", "NO", "ONE"])
        .expect("promoted");
    assert_eq!(bare::clear(1), Cleared::Applied);
    GROUND.proxy.aim(replica.address());
    GROUND.proxy.drop_connections();
    assert!(bare(1).1 > old.1);
    until("it is reached again", || bare::clear(2).is_applied());
    assert!(bare(1).1 > old.1);
}

#[test]
fn losing_everything_costs_executions_and_nothing_else() {
    on!(GROUND, bare);
    for _ in 0..50 {
        let before = bare(1);
        GROUND.server().command(&["FLUSHALL"]).expect("flushed");
        assert!(bare(1).1 > before.1);
        assert_eq!(bare(1), bare(1));
    }
    assert_eq!(bare::stats().tier_errors, 0);
}

#[test]
fn a_server_that_evicts_serves_what_is_left() {
    static GROUND: LazyLock<Ground> =
        LazyLock::new(|| Ground::on(Server::builder().maxmemory("2mb", "allkeys-lru").start()));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(GROUND.redis()));
    #[quickcache(cache = CACHE, name = "large", version = 1, vary_on = [n])]
    fn large(n: u64) -> (u64, String) {
        (n, "x".repeat(20_000))
    }
    for n in 0..400 {
        assert_eq!(large(n).0, n);
        assert_eq!(large(n / 2).0, n / 2);
    }
    assert!(large::stats().tier_hits[0] > 0);
    assert_eq!(large::stats().tier_errors, 0);
}

#[test]
fn p10_what_others_wrote_under_a_key_is_a_miss() {
    on!(GROUND, bare);
    let value = bare(1);
    let [key] = GROUND.values().try_into().expect("one value");
    let server = GROUND.server().connect();
    let mut server = server.expect("a connection");
    let Ok(Reply::Bulk(whole)) = server.command(&["GET", &key]) else {
        panic!("no value")
    };
    // The token and the flag of a value say nothing of it.
    let mut forged: Vec<Vec<u8>> = (0..33)
        .chain(50..whole.len())
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        })
        .collect();
    forged.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
    forged.push(vec![0; 1 << 20]);
    let mut last = value.1;
    for bytes in forged {
        server
            .command(&[b"SET", key.as_bytes(), &bytes])
            .expect("set");
        let now = bare(1);
        assert!(now.1 > last, "{bytes:?}");
        last = now.1;
    }
    for other in [["LPUSH", &key, "x"], ["SADD", &key, "x"]] {
        server.command(&["DEL", &key]).expect("deleted");
        server.command(&other).expect("of another type");
        assert_eq!(bare(1).0, 1);
        assert_eq!(bare::clear(1), Cleared::Applied);
        assert_eq!(bare(1), bare(1));
    }
}

#[test]
fn p10_what_is_too_large_to_be_ours_is_a_miss_and_is_replaced() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static CACHE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(GROUND.redis().budget("30s")));
    on!(@ GROUND, bare, UNUSED, CACHE.clone());
    let value = bare(1);
    let [key] = GROUND.values().try_into().expect("one value");
    let large = GROUND
        .server()
        .command(&["SETRANGE", &key, "150000000", "x"]);
    large.expect("a large value");
    let now = bare(1);
    assert!(now.1 > value.1);
    assert_eq!(bare(1), now);
    assert_eq!(bare::stats().tier_errors, 0);
}

#[test]
fn p10_flipped_bits_on_the_way_here_are_never_a_wrong_value() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(GROUND.redis()));
    #[quickcache(cache = CACHE, name = "text", version = 1, vary_on = [n])]
    fn text(n: u64) -> String {
        format!("{n} ").repeat(200)
    }
    for n in 0..50 {
        text(n);
    }
    let flips = Flips::Random {
        seed: 7,
        one_in: 3000,
    };
    GROUND.proxy.set(Mode::Corrupt(Direction::ToClient, flips));
    for n in 0..2000 {
        assert_eq!(text(n % 50), format!("{} ", n % 50).repeat(200));
    }
    let stats = text::stats();
    assert!(stats.rejected_values + stats.tier_errors > 0, "{stats:?}");
    assert!(stats.tier_hits[0] > 0);
}

#[test]
fn p4_holds_when_the_connection_that_listens_is_cut_alone() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    on!(@ GROUND, here, HERE, with_memory(GROUND.redis()));
    on!(@ GROUND, there, THERE, QuickCache::new(GROUND.redis_direct()));
    let hits = || here::stats().memory_hits;
    let faults = [
        Mode::Blackhole(Direction::Both),
        Mode::Blackhole(Direction::ToClient),
        Mode::Cut(Direction::ToClient, 20),
        Mode::Delay(Direction::ToClient, Duration::from_secs(2)),
    ];
    for mode in faults {
        until("memory serves", || {
            let before = hits();
            here(1);
            hits() > before
        });
        let old = here(1);
        GROUND.proxy.only(b"SUBSCRIBE").set(mode.clone());
        for _ in 0..3 {
            let old = here(1).max(old);
            assert_eq!(there::clear(1), Cleared::Applied);
            thread::sleep(Duration::from_millis(250));
            assert!(here(1).1 > old.1, "{mode:?}");
        }
        GROUND.proxy.heal();
    }
}

#[test]
fn p4_holds_when_the_connection_that_listens_is_left_with_a_former_primary() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    static NEXT: LazyLock<Server> =
        LazyLock::new(|| Server::builder().replica_of(&GROUND.server()).start());
    on!(@ GROUND, here, HERE, with_memory(GROUND.redis()));
    on!(@ GROUND, there, THERE, QuickCache::new(Ground::at(&NEXT.address())));
    let hits = || here::stats().memory_hits;
    until("memory serves", || {
        let before = hits();
        here(1);
        hits() > before
    });
    let old = here(1);
    let promoted = NEXT.command(&["REPLICAOF", "NO", "ONE"]);
    promoted.expect("it becomes the primary");
    GROUND.proxy.aim(NEXT.address());
    // Calls go to the new primary. The other connection stays, and whom it leads to answers.
    GROUND.proxy.only(b"SCRIPT").drop_connections();
    until("it is cleared", || there::clear(1).is_applied());
    thread::sleep(Duration::from_millis(250));
    assert!(here(1).1 > old.1);
}

#[test]
fn p9_a_clear_in_an_outage_is_pending_and_applied_when_that_ends() {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
    on!(@ GROUND, here, HERE, QuickCache::new(GROUND.redis()));
    on!(@ GROUND, there, THERE, QuickCache::new(GROUND.redis_direct()));
    type Clear = (&'static str, fn() -> bool);
    let clears: [Clear; 3] = [
        ("clear", || here::clear(1).is_applied()),
        ("clear_all", || here::clear_all().is_applied()),
        ("refresh", || {
            here::refresh(1);
            false
        }),
    ];
    for (name, clear) in clears {
        let old = here(1);
        until("it is there", || there(1) == here(1));
        GROUND.proxy.set(Mode::Blackhole(Direction::Both));
        assert!(!clear(), "{name}");
        let now = here(1);
        assert!(now.1 > old.1, "{name}: in force here at once");
        assert_eq!(there(1), old, "{name}: nobody could tell the server");
        GROUND.proxy.heal();
        let began = Instant::now();
        until(name, || there(1).1 > old.1);
        // A second, and what a busy machine adds.
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{name}: {:?}",
            began.elapsed()
        );
        until("it is read again", || here(1) == there(1));
    }
}

#[test]
fn p9_what_is_pending_is_not_read_although_the_server_answers() {
    on!(GROUND, bare);
    let old = bare(1);
    bare(2);
    // The server gets the clear, refuses it, and answers everything else.
    let refused = Answer::to("EVALSHA", b"-NOPERM this user has no permissions\r\n").times(1);
    GROUND.proxy.answer(refused);
    assert!(!bare::clear(1).is_applied());
    let hits = bare::stats().tier_hits[0];
    assert!(bare(1).1 > old.1);
    until("it is applied", || {
        let hits = bare::stats().tier_hits[0];
        bare(1);
        bare::stats().tier_hits[0] > hits
    });
    assert!(bare(1).1 > old.1);
    assert!(bare::stats().tier_hits[0] > hits);
}

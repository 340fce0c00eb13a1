//! Clusters: keys that lie on several nodes, clears that are heard of all of them, slots that move, nodes that die and come back.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_redis;
mod on_store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use on_redis::{HANGS, bare, cached, listen, logged, machine, until};
use on_store::in_a_process;
use quickcache::{Cleared, Memory, QuickCache, Redis, TieredCache, quickcache};
use quickcache_testing::{Cluster, Server};

/// A cluster of a test, never dropped, as statics are not.
struct Fleet {
    all: Mutex<Cluster>,
    addresses: Vec<String>,
}

impl Fleet {
    /// Three primaries, each with so many replicas. Nodes serve what they have when others are gone.
    fn start(replicas: usize) -> Fleet {
        let mut all = Cluster::start(replicas);
        for node in all.nodes() {
            let set = node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
            set.expect("set");
        }
        Fleet {
            addresses: all.addresses(),
            all: Mutex::new(all),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.all.lock().expect("no test panics with it")
    }

    /// It, on a machine of its own, by two of its nodes.
    fn redis(&self) -> Redis {
        let urls: Vec<String> = self.addresses[..2]
            .iter()
            .map(|at| format!("redis://{at}"))
            .collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        Redis::cluster(&urls).timeout("2h").folder(machine())
    }

    /// In which slot the one value is that there is of the function whose keys begin so.
    fn slot_of_the_value(&self) -> u16 {
        let mut all = self.lock();
        let keys = all.nodes().iter().flat_map(keys);
        // A replica has it too.
        let keys: BTreeSet<String> = keys.filter(|key| is_value(key)).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let [key] = &keys[..] else {
            panic!("{keys:?}");
        };
        all.slot(key)
    }
}

/// What is in memory is there for longer than any test waits.
fn with_memory(redis: Redis) -> QuickCache {
    QuickCache::new(TieredCache::new([
        Memory::new().timeout("1h").into(),
        redis.into(),
    ]))
}

fn keys(node: &Server) -> Vec<String> {
    let keys = node.command(&["KEYS", "*"]).expect("keys");
    keys.items().iter().map(|key| key.text()).collect()
}

/// Not a function's own, and not what was agreed upon.
fn is_value(key: &str) -> bool {
    key.starts_with("qc:{") && key.len() > 46
}

/// Ends those who go on until they are told to, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// So many connections listen to a node.
fn ears(node: &Server) -> usize {
    let list = node.command(&["CLIENT", "LIST"]).expect("a list").text();
    let subscribed = |line: &&str| line.contains(" ssub=") && !line.contains(" ssub=0");
    list.lines().filter(subscribed).count()
}

const MANY: u64 = 60;

#[test]
fn what_one_machine_stores_another_finds_on_every_node() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = bare(FLEET.redis());
        THERE there = bare(FLEET.redis());
    }
    for n in 0..MANY {
        until("hits", || here(n) == there(n));
    }
    for node in FLEET.lock().nodes() {
        let values = keys(node)
            .iter()
            .filter(|key| key.starts_with("qc:{"))
            .count();
        assert!(values > 5, "{:?}", keys(node));
        let strange: Vec<String> = keys(node);
        let is_ours = |key: &&String| !key.starts_with("qc:{") && !key.starts_with("qc:f:{");
        assert_eq!(strange.iter().find(is_ours), None);
    }
}

#[test]
fn p7_one_execution_over_machines_and_tasks() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    static RUNS: AtomicU64 = AtomicU64::new(0);
    static HERE: LazyLock<QuickCache> = LazyLock::new(|| bare(FLEET.redis().budget("5s")));
    static THERE: LazyLock<QuickCache> = LazyLock::new(|| bare(FLEET.redis().budget("5s")));
    #[quickcache(cache = HERE, name = "runs", version = 1, vary_on = [n], patience = "1m")]
    async fn here(n: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        n * 1000 + RUNS.fetch_add(1, SeqCst)
    }
    #[quickcache(cache = THERE, name = "runs", version = 1, vary_on = [n], patience = "1m")]
    async fn there(n: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        n * 1000 + RUNS.fetch_add(1, SeqCst)
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // Both are connected everywhere.
        let mut first = tokio::task::JoinSet::new();
        for n in 1000..1000 + MANY {
            first.spawn(here(n));
            first.spawn(there(n));
        }
        first.join_all().await;
        let before = RUNS.load(SeqCst);
        let mut all = tokio::task::JoinSet::new();
        for n in 0..MANY {
            for _ in 0..4 {
                all.spawn(async move { (n, here(n).await) });
                all.spawn(async move { (n, there(n).await) });
            }
        }
        let mut values = BTreeMap::new();
        for (n, value) in all.join_all().await {
            assert_eq!(*values.entry(n).or_insert(value), value, "of {n}");
            assert_eq!(value / 1000, n);
        }
        assert_eq!(RUNS.load(SeqCst) - before, MANY);
    });
}

#[test]
fn clears_are_heard_from_every_node_and_what_is_not_cleared_stays_in_memory() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = with_memory(FLEET.redis().staleness("2s"));
        THERE there = bare(FLEET.redis().staleness("2s"));
    }
    let in_memory = |n: u64| {
        until("it is in memory", || {
            let before = here::stats().memory_hits;
            here(n);
            here::stats().memory_hits > before
        });
        here(n)
    };
    let before: Vec<_> = (0..MANY).map(in_memory).collect();
    for n in (0..MANY).filter(|n| n % 2 == 0) {
        until("it is cleared", || there::clear(n) == Cleared::Applied);
        until("that is heard of", || here(n) != before[n as usize]);
    }
    for n in (0..MANY).filter(|n| n % 2 == 1) {
        let hits = here::stats().memory_hits;
        assert_eq!(here(n), before[n as usize]);
        assert!(here::stats().memory_hits > hits, "all was thrown away");
    }
    let before: Vec<_> = (0..MANY).map(in_memory).collect();
    assert_eq!(there::clear_all(), Cleared::Applied);
    for n in 0..MANY {
        until("all are cleared", || here(n) != before[n as usize]);
        until("both agree", || here(n) == there(n));
    }
    for node in FLEET.lock().nodes() {
        assert_eq!(ears(node), 1);
    }
}

#[test]
fn a_key_whose_slot_is_on_its_way_can_be_cleared_and_that_is_heard_of() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = with_memory(FLEET.redis());
        THERE there = bare(FLEET.redis());
    }
    until("it is in memory", || {
        here(1);
        here::stats().memory_hits > 0 && here(1) == there(1)
    });
    let slot = FLEET.slot_of_the_value();
    let from = FLEET.lock().owner(slot);
    let to = (from + 1) % 3;
    FLEET.lock().begin_move(slot, to);
    let before = here(1);
    assert_eq!(before, here(1));
    // The first of them takes it away from where it is, the others find that it is not there.
    for _ in 0..3 {
        let before = here(1);
        until("it is kept", || {
            let hits = here::stats().memory_hits;
            here(1) == before && here::stats().memory_hits > hits
        });
        assert_eq!(there::clear(1), Cleared::Applied);
        until("that is heard of", || here(1) != before);
    }
    assert_eq!(there::clear_all(), Cleared::Applied);
    FLEET.lock().finish_move(slot, to);
    until("hits", || here(1) == there(1));
    let before = here(1);
    until("it is cleared", || there::clear(1) == Cleared::Applied);
    until("that is heard of", || here(1) != before);
    until("memory serves", || {
        let hits = here::stats().memory_hits;
        here(1);
        here::stats().memory_hits > hits
    });
}

/// Calls and clears go on of one key, at a machine without memory and one with it, while `meddle` does something to the cluster.
macro_rules! while_calls_go_on {
    ($FLEET:ident, $meddle:expr) => {{
        static NOW: AtomicU64 = AtomicU64::new(1);
        static STOP: AtomicBool = AtomicBool::new(false);
        static ONE: LazyLock<QuickCache> = LazyLock::new(|| bare($FLEET.redis()));
        static TWO: LazyLock<QuickCache> = LazyLock::new(|| with_memory($FLEET.redis()));
        static THREE: LazyLock<QuickCache> = LazyLock::new(|| bare($FLEET.redis()));
        #[quickcache(cache = ONE, name = "now", version = 1, vary_on = [])]
        fn one() -> u64 {
            NOW.load(SeqCst)
        }
        #[quickcache(cache = TWO, name = "now", version = 1, vary_on = [])]
        fn two() -> u64 {
            NOW.load(SeqCst)
        }
        #[quickcache(cache = THREE, name = "now", version = 1, vary_on = [])]
        fn three() -> u64 {
            NOW.load(SeqCst)
        }
        let bound = Duration::from_millis(250);
        until("memory serves", || {
            two();
            two::stats().memory_hits > 0
        });
        // What was cleared, and applied, and when that was known.
        let floor = Mutex::new((0, Vec::<(Instant, u64)>::new()));
        let last = || floor.lock().expect("nobody panics with it").0;
        thread::scope(|scope| {
            let _stop = Stop(&STOP);
            scope.spawn(|| {
                while !STOP.load(SeqCst) {
                    let least = last();
                    let got = one();
                    assert!(got >= least, "{got} after {least} was cleared");
                    thread::sleep(Duration::from_millis(1));
                }
            });
            scope.spawn(|| {
                while !STOP.load(SeqCst) {
                    let began = Instant::now();
                    let least = {
                        let floor = floor.lock().expect("nobody panics with it");
                        let is_past = |(at, _): &&(Instant, u64)| *at + bound < began;
                        let past = floor.1.iter().rev().find(is_past);
                        past.map_or(0, |(_, version)| *version)
                    };
                    let got = two();
                    assert!(
                        got >= least,
                        "memory gave {got} long after {least} was cleared"
                    );
                    thread::sleep(Duration::from_millis(1));
                }
            });
            scope.spawn(|| {
                while !STOP.load(SeqCst) {
                    let now = NOW.fetch_add(1, SeqCst) + 1;
                    if three::clear() == Cleared::Applied {
                        let mut floor = floor.lock().expect("nobody panics with it");
                        floor.0 = now;
                        floor.1.push((Instant::now(), now));
                    }
                    thread::sleep(Duration::from_millis(4));
                }
            });
            let progress = || {
                let before = last();
                until("clears are applied", || last() > before + 5);
                let before = two::stats().memory_hits;
                until("memory serves", || two::stats().memory_hits > before);
            };
            progress();
            #[allow(clippy::redundant_closure_call)]
            ($meddle)(&progress);
        });
        // Each may still have what a pending clear was to remove, until that is applied.
        until("all agree", || {
            let now = NOW.load(SeqCst);
            [one(), two(), three()] == [now; 3] || three::clear() != Cleared::Applied
        });
    }};
}

#[test]
fn p3_p4_a_slot_moves_while_calls_go_on() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    while_calls_go_on!(FLEET, |progress: &dyn Fn()| {
        let mut slot = None;
        until("there is a value", || {
            let mut all = FLEET.lock();
            let keys: Vec<String> = all.nodes().iter().flat_map(keys).collect();
            let value = keys.iter().find(|key| is_value(key));
            slot = value.map(|key| all.slot(key));
            slot.is_some()
        });
        let slot = slot.expect("there is one");
        for _ in 0..4 {
            let from = FLEET.lock().owner(slot);
            let to = (from + 1) % 3;
            FLEET.lock().begin_move(slot, to);
            thread::sleep(Duration::from_millis(300));
            FLEET.lock().finish_move(slot, to);
            progress();
        }
    });
}

#[test]
fn p3_p4_a_replica_takes_the_place_of_its_primary_while_calls_go_on() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(1));
    while_calls_go_on!(FLEET, |progress: &dyn Fn()| {
        for dead in 0..3 {
            FLEET.lock().kill(dead);
            FLEET.lock().wait();
            progress();
            FLEET.lock().restart(dead);
            FLEET.lock().wait();
            progress();
        }
    });
}

#[test]
fn p3_what_was_cleared_is_not_read_from_a_replica_that_has_not_heard_of_it() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(1));
    cached! {
        HERE here = bare(FLEET.redis());
        THERE there = bare(FLEET.redis());
    }
    until("hits", || here(1) == there(1));
    let before = here(1);
    let slot = FLEET.slot_of_the_value();
    let primary = FLEET.lock().owner(slot);
    let replica = primary + 3;
    until("the replica has it", || {
        let has = keys(&FLEET.lock().nodes()[replica]);
        has.iter().any(|key| is_value(key))
    });
    let mut all = FLEET.lock();
    all.nodes()[replica].stop();
    let cut = all.nodes()[primary].command(&["CLIENT", "KILL", "TYPE", "replica"]);
    cut.expect("cut");
    until("it is cleared", || there::clear(1) == Cleared::Applied);
    all.kill(primary);
    all.nodes()[replica].cont();
    all.wait();
    assert!(keys(&all.nodes()[replica]).iter().any(|key| is_value(key)));
    drop(all);
    until("hits", || {
        let value = here(1);
        assert_ne!(value, before, "it was cleared");
        value == there(1)
    });
}

#[test]
fn p9_with_a_part_of_it_gone_the_rest_serves_and_what_was_cleared_is_not_read_when_it_is_back() {
    listen();
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = bare(FLEET.redis().budget("3s"));
        THERE there = bare(FLEET.redis().budget("3s"));
        MEMORY memory = with_memory(FLEET.redis().budget("3s"));
    }
    for n in 0..MANY {
        until("hits", || here(n) == there(n));
    }
    until("memory serves", || {
        memory(1);
        memory::stats().memory_hits > 0
    });
    let before: Vec<_> = (0..MANY).map(here).collect();
    // It has all that it had when it goes on.
    FLEET.lock().nodes()[0].stop();
    until("it is known to be gone", || {
        for n in 0..MANY {
            here(n);
            there(n);
            memory(n);
        }
        !logged("WARN", &FLEET.addresses[0]).is_empty()
    });
    let is_gone = |n: &u64| here(*n) != here(*n);
    let (gone, rest): (Vec<u64>, Vec<u64>) = (0..MANY).partition(is_gone);
    assert!(gone.len() > 5 && rest.len() > 5, "{gone:?} {rest:?}");
    for n in &rest {
        assert_eq!(here(*n), before[*n as usize]);
        assert_eq!(there(*n), before[*n as usize]);
    }
    // Nobody knows what is cleared there.
    until("memory is off", || {
        let hits = memory::stats().memory_hits;
        rest.iter().for_each(|n| assert_eq!(memory(*n).0, *n));
        memory::stats().memory_hits == hits
    });
    let began = Instant::now();
    for n in &gone {
        assert!(matches!(here::clear(*n), Cleared::Pending(_)));
    }
    for n in &rest[..3] {
        assert_eq!(here::clear(*n), Cleared::Applied);
        until("that is seen", || there(*n) != before[*n as usize]);
    }
    assert!(matches!(here::clear_all(), Cleared::Pending(_)));
    assert!(began.elapsed() < HANGS / 4, "{:?}", began.elapsed());

    FLEET.lock().nodes()[0].cont();
    until("it is back", || {
        gone.iter().all(|n| {
            let value = here(*n);
            assert_ne!(value, before[*n as usize], "it was cleared");
            value == here(*n)
        })
    });
    for n in 0..MANY {
        until("all know what was cleared", || {
            here(n) == there(n) && here(n) == memory(n) && here(n) != before[n as usize]
        });
    }
    until("memory serves", || {
        let hits = memory::stats().memory_hits;
        memory(1);
        memory::stats().memory_hits > hits
    });
}

#[test]
fn memory_that_serves_while_redis_is_gone_does_so_while_a_part_of_it_is() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        OFF off = with_memory(FLEET.redis());
        ON on = with_memory(FLEET.redis().serve_while_unreachable(true));
        OTHER other = bare(FLEET.redis());
    }
    let serves = |call: fn(u64) -> (u64, u64), hits: fn() -> u64| {
        let before = hits();
        (0..MANY).for_each(|n| assert_eq!(call(n).0, n));
        hits() >= before + MANY
    };
    let off_hits = || off::stats().memory_hits;
    let on_hits = || on::stats().memory_hits;
    until("memory serves", || {
        serves(off, off_hits) && serves(on, on_hits)
    });
    FLEET.lock().kill(0);
    // Only then is nothing proven any more.
    until("the other's memory is off", || {
        let before = off_hits();
        off(1);
        off_hits() == before
    });
    // That other nodes answer changes nothing.
    until("memory serves all along", || {
        (0..20).all(|_| {
            thread::sleep(Duration::from_millis(50));
            serves(on, on_hits)
        })
    });
    FLEET.lock().restart(0);
    FLEET.lock().wait();
    until("memory serves", || {
        serves(off, off_hits) && serves(on, on_hits)
    });
    for n in 0..MANY {
        let before = on(n);
        until("it is cleared", || other::clear(n) == Cleared::Applied);
        until("that is heard of", || on(n) != before);
    }
}

#[test]
fn nodes_that_are_named_and_dead_are_passed_over() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(1));
    cached! {
        HERE here = bare(FLEET.redis());
        THERE there = bare(FLEET.redis());
    }
    // That which is asked first.
    FLEET
        .lock()
        .kill(usize::from(FLEET.addresses[1] < FLEET.addresses[0]));
    FLEET.lock().wait();
    for n in 0..MANY {
        until("hits", || here(n) == there(n));
    }
}

#[test]
fn a_cluster_that_is_none_is_out_of_reach() {
    listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! {
        HERE here = bare(Redis::cluster(&[&SERVER.url()]).budget("5s").timeout("5m").folder(machine()));
    }
    until("it is told", || {
        assert_ne!(here(1), here(1));
        let lines = logged("WARN", &SERVER.address());
        lines
            .iter()
            .any(|line| line.contains("cluster support disabled"))
    });
}

#[test]
fn what_is_wrong_with_the_urls_of_a_cluster_is_said() {
    for (urls, says) in [
        (&["redis://one/3"][..], "database 0 only"),
        (&["redis+unix:///tmp/it"], "socket"),
        (&[], "no URL"),
        (&["redis://one", "rediss://two"], "TLS"),
    ] {
        let made = std::panic::catch_unwind(|| Redis::cluster(urls));
        let why = made.expect_err("it is refused");
        let why = why.downcast_ref::<String>().expect("a text");
        assert!(why.contains(says), "{why}");
    }
}

/// What a user of a cluster must be allowed, as `docs/redis.md` has it.
const RIGHTS: &[&str] = &[
    "~qc:*",
    "&qc:*",
    "+info",
    "+script|load",
    "+evalsha",
    "+get",
    "+mget",
    "+set",
    "+del",
    "+pttl",
    "+pexpire",
    "+getrange",
    "+setrange",
    "+ping",
    "+scan",
    "+cluster|nodes",
    "+ssubscribe",
    "+spublish",
    "+asking",
];

#[test]
fn the_rights_that_are_documented_suffice() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    fn as_user() -> Redis {
        let urls = FLEET
            .addresses
            .iter()
            .map(|at| format!("redis://me:word@{at}"));
        let urls: Vec<String> = urls.collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        Redis::cluster(&urls).timeout("2h").folder(machine())
    }
    cached! {
        HERE here = with_memory(as_user());
        THERE there = bare(as_user());
    }
    for node in FLEET.lock().nodes() {
        let user = [&["ACL", "SETUSER", "me", "on", ">word"], RIGHTS].concat();
        node.command(&user).expect("a user");
    }
    for n in 0..MANY {
        until("hits", || here(n) == there(n));
    }
    until("memory serves", || {
        here(1);
        here::stats().memory_hits > 0
    });
    let before = here(1);
    until("it is cleared", || there::clear(1) == Cleared::Applied);
    until("that is heard of", || here(1) != before);
    assert_eq!(there::clear_all(), Cleared::Applied);
    for node in FLEET.lock().nodes() {
        node.command(&["FLUSHALL"]).expect("flushed");
    }
    until("hits", || there(1) == there(1));
    let slot = FLEET.slot_of_the_value();
    let to = (FLEET.lock().owner(slot) + 1) % 3;
    FLEET.lock().begin_move(slot, to);
    for _ in 0..2 {
        assert_eq!(there::clear(1), Cleared::Applied);
    }
    for node in FLEET.lock().nodes() {
        let log = node.command(&["ACL", "LOG"]).expect("what was refused");
        assert!(log.items().is_empty(), "{log:?}");
    }
}

#[test]
fn p11_a_child_of_a_fork_has_connections_of_its_own_to_every_node() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = with_memory(FLEET.redis().budget("5s"));
        PLAIN plain = bare(FLEET.redis().budget("5s"));
    }
    for n in 0..MANY {
        until("hits", || here(n) == plain(n));
    }
    let before: Vec<_> = (0..MANY).map(plain).collect();
    until("memory serves", || {
        here(1);
        here::stats().memory_hits > 0
    });
    assert!(in_a_process(|| {
        let errors = plain::stats().tier_errors;
        for n in 0..MANY {
            assert_eq!(plain(n), before[n as usize]);
        }
        assert_eq!(plain::clear(1), Cleared::Applied);
        assert_eq!(plain::stats().tier_errors, errors);
    }));
    until("the parent has heard of it", || here(1) != before[1]);
    for n in 2..MANY {
        assert_eq!(plain(n), before[n as usize]);
    }
}

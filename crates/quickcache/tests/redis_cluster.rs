//! Clusters: keys that lie on several nodes, clears that are heard of all of them, a part that is gone and comes back. How they change while calls go
//! on is in `redis_cluster_moves`, what nodes are called in `redis_cluster_names`.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_cluster;
mod on_redis;
mod on_store;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use on_cluster::{Fleet, MANY, ears, is_value, keys};
use on_redis::{HANGS, agree, bare, cached, listen, logged, machine, until, with_memory};
use on_store::in_a_process;
use quickcache::{Cleared, QuickCache, Redis, quickcache};
use quickcache_testing::Server;

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
        agree(|| here(n) == there(n), || there::clear(n));
    }
    for node in FLEET.lock().nodes() {
        assert_eq!(ears(node), 1);
    }
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
fn memory_that_serves_while_all_of_it_is_gone_has_what_is_cleared_here_and_nothing_of_before_when_it_is_back()
 {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        ON on = with_memory(FLEET.redis().serve_while_unreachable(true));
        OTHER other = bare(FLEET.redis());
    }
    let is_served = |n: u64| {
        let hits = on::stats().memory_hits;
        on(n);
        on::stats().memory_hits > hits
    };
    until("memory serves", || (0..MANY).all(is_served));
    let before: Vec<_> = (0..MANY).map(on).collect();
    (0..3).for_each(|node| FLEET.lock().kill(node));
    until("what is cleared is pending", || {
        matches!(on::clear(0), Cleared::Pending(_))
    });
    // For longer than anything is proven.
    let end = Instant::now() + Duration::from_secs(1);
    until("it is served all along", || {
        for n in 1..MANY {
            assert_eq!(on(n), before[n as usize]);
        }
        Instant::now() > end
    });
    assert_ne!(on(0), before[0], "it was cleared");
    assert!(matches!(on::clear_all(), Cleared::Pending(_)));
    for n in 1..MANY {
        assert_ne!(on(n), before[n as usize], "it was cleared");
    }
    (0..3).for_each(|node| FLEET.lock().restart(node));
    FLEET.lock().wait();
    for n in 0..MANY {
        assert_ne!(on(n), before[n as usize], "it was cleared");
        agree(|| on(n) == other(n), || other::clear(n));
    }
    until("memory serves", || (0..MANY).all(is_served));
    for n in 0..MANY {
        let before = on(n);
        until("it is cleared", || other::clear(n) == Cleared::Applied);
        until("that is heard of", || on(n) != before);
    }
}

#[test]
fn a_failure_gives_the_last_value_wherever_it_lies_and_none_that_was_cleared_or_has_moved() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    static DOWN: AtomicBool = AtomicBool::new(false);
    fn stale() -> QuickCache {
        let redis = FLEET.redis().timeout("1h").budget("3s");
        QuickCache::builder(redis).stale_timeout("1h").build()
    }
    static HERE: LazyLock<QuickCache> = LazyLock::new(stale);
    static THERE: LazyLock<QuickCache> = LazyLock::new(stale);
    fn ask(n: u64) -> Result<(u64, u64), String> {
        match DOWN.load(SeqCst) {
            true => Err("down".to_owned()),
            false => Ok((n, on_redis::next())),
        }
    }
    #[quickcache(cache = HERE, name = "stale", version = 1, vary_on = [n])]
    fn here(n: u64) -> Result<(u64, u64), String> {
        ask(n)
    }
    #[quickcache(cache = THERE, name = "stale", version = 1, vary_on = [n])]
    fn there(n: u64) -> Result<(u64, u64), String> {
        ask(n)
    }
    for n in 0..MANY {
        until("hits", || here(n) == there(n));
    }
    let before: Vec<_> = (0..MANY).map(here).collect();
    for node in FLEET.lock().nodes() {
        for key in keys(node).iter().filter(|key| is_value(key)) {
            // Its timeout was over a second ago.
            let left = node.command(&["PEXPIRE", key, "3599000"]);
            assert_eq!(left.expect("a time").int(), 1);
        }
    }
    DOWN.store(true, SeqCst);
    let hits = here::stats().stale_hits;
    for n in 0..MANY {
        assert_eq!(here(n), before[n as usize]);
    }
    assert_eq!(here::stats().stale_hits - hits, MANY);
    let (cleared, rest) = (0..MANY / 2, MANY / 2..MANY);
    for n in cleared.clone() {
        assert_eq!(there::clear(n), Cleared::Applied);
        assert!(here(n).is_err(), "it was cleared");
    }
    for n in rest.clone() {
        assert_eq!(here(n), before[n as usize]);
    }
    // What came with a slot is of another node, which could be asked.
    FLEET.lock().move_slots(0..=2730, 1);
    let errors = here::stats().tier_errors;
    let moved = rest.filter(|n| here(*n).is_err()).count();
    assert!((1..MANY as usize / 2).contains(&moved), "{moved}");
    assert_eq!(here::stats().tier_errors, errors);
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
        agree(|| here(n) == there(n), || there::clear(n));
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

//! Clusters that change while calls go on: slots that move, nodes that join, replicas that take the places of their primaries.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_cluster;
mod on_redis;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use on_cluster::{Fleet, MANY, ears, is_value, keys, while_calls_go_on};
use on_redis::{Stop, bare, cached, until, with_memory};
use quickcache::{Cleared, QuickCache, quickcache};
use quickcache_testing::Connection;

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

#[test]
fn p3_p4_a_slot_moves_while_calls_go_on() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    while_calls_go_on!(FLEET, |progress: &dyn Fn()| {
        let slot = FLEET.slot_of_some_value();
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
fn p3_p4_nodes_join_until_there_are_nine_while_calls_go_on() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    while_calls_go_on!(FLEET, |progress: &dyn Fn()| {
        let slot = FLEET.slot_of_some_value();
        for new in 3..9 {
            assert_eq!(FLEET.lock().join(), new);
            FLEET.lock().move_slot(slot, new);
            // Each has some of the slots that we use.
            let first = new as u16 * 1024;
            FLEET.lock().move_slots(first..=first + 127, new);
            progress();
            assert!(ears(&FLEET.lock().nodes()[new]) > 0, "{new}");
        }
    });
}

/// Of many keys at once, by tasks, on two machines.
#[test]
fn p3_a_replica_is_promoted_while_many_are_asked_for_at_once() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(1));
    static NOW: AtomicU64 = AtomicU64::new(0);
    static HERE: LazyLock<QuickCache> = LazyLock::new(|| bare(FLEET.redis()));
    static THERE: LazyLock<QuickCache> = LazyLock::new(|| bare(FLEET.redis()));
    #[quickcache(cache = HERE, name = "batch", version = 1, vary_on = [n])]
    async fn here(n: u64) -> (u64, u64) {
        (n, NOW.load(SeqCst))
    }
    #[quickcache(cache = THERE, name = "batch", version = 1, vary_on = [n])]
    async fn there(n: u64) -> (u64, u64) {
        (n, NOW.load(SeqCst))
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    /// All of them at once; what each was given at least, and was given.
    async fn all(least: &[u64]) -> bool {
        let mut calls = tokio::task::JoinSet::new();
        for (n, least) in (0..MANY).zip(least.iter().copied()) {
            calls.spawn(async move { (n, least, here(n).await) });
            calls.spawn(async move { (n, least, there(n).await) });
        }
        let mut agree = BTreeMap::new();
        let mut same = true;
        for (n, least, (of, version)) in calls.join_all().await {
            assert_eq!(n, of);
            assert!(version >= least, "{n}: {version} after {least} was cleared");
            same &= *agree.entry(n).or_insert(version) == version;
        }
        same
    }
    for primary in 0..3 {
        let mut least = vec![0; MANY as usize];
        let now = NOW.fetch_add(1, SeqCst) + 1;
        for (n, least) in (0..MANY).zip(&mut least) {
            if runtime.block_on(there::clear(n)) == Cleared::Applied {
                *least = now;
            }
        }
        assert!(least.iter().any(|least| *least > 0), "none was cleared");
        // Those who take its place have all that it has.
        FLEET.lock().wait();
        let replica = FLEET.lock().nodes()[primary + 3].connect();
        let mut replica = replica.expect("a connection");
        replica.command(&["CLUSTER", "FAILOVER"]).expect("promoted");
        let is_promoted = |replica: &mut Connection| {
            let role = replica.command(&["ROLE"]).expect("a role");
            role.items()[0].text() == "master"
        };
        until("it is promoted", || {
            runtime.block_on(all(&least));
            is_promoted(&mut replica)
        });
        FLEET.lock().wait();
        until("all is stored and found again", || {
            runtime.block_on(all(&least))
        });
    }
}

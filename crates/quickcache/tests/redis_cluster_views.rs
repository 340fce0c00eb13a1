//! What the nodes of a cluster say of it when they do not agree, or know no answer; and what concerns all of them.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_cluster;
mod on_redis;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use on_cluster::{Fleet, MANY, behind_proxies};
use on_redis::{bare, cached, machine, until, with_memory};
use quickcache::Cleared;
use quickcache_testing::{Answer, Door, Mode};

/// A journal that cannot be read: what is pending may be anything.
fn damage_journals(machine: &Path) {
    let files = std::fs::read_dir(machine).expect("the machine's folder");
    let mut damaged = 0;
    for file in files {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if name.starts_with("journal-") || name.starts_with("replaying-") {
            let length = path.metadata().expect("a length").len() as usize;
            std::fs::write(&path, vec![0xA5; length]).expect("written");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "nothing was pending");
}

#[test]
fn p9_everything_is_cleared_on_every_node_if_it_is_not_known_what_is_pending() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    static MACHINE: LazyLock<PathBuf> = LazyLock::new(machine);
    cached! {
        HERE here = bare(FLEET.redis().folder(&*MACHINE));
        THERE there = with_memory(FLEET.redis());
    }
    for n in 0..MANY {
        until("it is in memory", || {
            let hits = there::stats().memory_hits;
            here(n) == there(n) && there::stats().memory_hits > hits
        });
    }
    let before: Vec<_> = (0..MANY).map(there).collect();
    FLEET.lock().nodes()[0].stop();
    for n in 0..MANY {
        until("it is pending", || {
            // Those of the other nodes are not touched.
            here(n) == before[n as usize] || matches!(here::clear(n), Cleared::Pending(_))
        });
    }
    damage_journals(&MACHINE);
    FLEET.lock().nodes()[0].cont();
    for n in 0..MANY {
        until("it is cleared", || here(n) != before[n as usize]);
        until("that is heard of", || here(n) == there(n));
    }
}

#[test]
fn of_two_views_that_differ_the_older_one_is_not_believed() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(1));
    cached! {
        HERE here = with_memory(FLEET.redis().budget("5s"));
    }
    let proxies = behind_proxies(&FLEET);
    let view = FLEET.lock().nodes()[2].command(&["CLUSTER", "NODES"]);
    let view = view.expect("a view").text();
    let old = format!("${}\r\n{view}\r\n", view.len());
    for n in 0..MANY {
        until("hits", || here(n) == here(n));
    }
    FLEET.lock().kill(0);
    FLEET.lock().wait();
    let answered = || proxies[2].counts().answered;
    proxies[2].answer(Answer::to("CLUSTER NODES", old));
    for n in 0..MANY {
        until("its place is known", || here(n) == here(n));
    }
    let before: Vec<_> = (0..MANY).map(here).collect();
    let asked = answered();
    until("the old view was told often", || {
        for n in 0..MANY {
            assert_eq!(here(n), before[n as usize]);
        }
        answered() > asked + 20
    });
}

#[test]
fn a_slot_that_nobody_has_takes_nothing_else_with_it() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = bare(FLEET.redis().budget("5s"));
        THERE there = bare(FLEET.redis().budget("5s"));
    }
    until("hits", || here(0) == there(0));
    let slot = FLEET.slot_of_the_value();
    let owner = FLEET.lock().owner(slot);
    for n in 1..MANY {
        until("hits", || here(n) == there(n));
    }
    let before: Vec<_> = (0..MANY).map(here).collect();
    let number = slot.to_string();
    for node in FLEET.lock().nodes() {
        let gone = node.command(&["CLUSTER", "DELSLOTS", &number]);
        gone.expect("forgotten");
    }
    for n in 1..MANY {
        assert_ne!(here(0), here(0), "it is nowhere");
        // Those of the same bucket are nowhere, too.
        let (one, two) = (here(n), here(n));
        assert!(one == before[n as usize] || one != two, "{n}");
    }
    let rest = (1..MANY).filter(|n| here(*n) == before[*n as usize]);
    assert!(rest.count() > MANY as usize - 5);
    assert!(matches!(here::clear(0), Cleared::Pending(_)));
    assert_eq!(here::clear(1), Cleared::Applied);
    let given = FLEET.lock().nodes()[owner].command(&["CLUSTER", "ADDSLOTS", &number]);
    given.expect("given");
    until("hits", || {
        assert_ne!(here(0), before[0], "it was cleared");
        here(0) == here(0) && here(0) == there(0)
    });
}

#[test]
fn nothing_is_proven_while_a_node_answers_only_those_who_listen() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = with_memory(FLEET.redis());
    }
    let proxies = behind_proxies(&FLEET);
    let serves = || {
        let hits = here::stats().memory_hits;
        (0..MANY).for_each(|n| assert_eq!(here(n).0, n));
        here::stats().memory_hits > hits
    };
    until("memory serves", serves);
    until("all listen by way of them", || {
        proxies
            .iter()
            .all(|proxy| proxy.only(b"SSUBSCRIBE").set(Mode::Pass) > 0)
    });
    proxies[1].door(Door::Closed);
    proxies[1].only(b"SCRIPT").reset();
    until("memory is off", || !serves());
    assert!(proxies[1].counts().live > 0, "nobody listens");
    // Not for a moment only.
    for _ in 0..20 {
        assert!(!serves());
    }
    proxies[1].heal();
    until("memory serves", serves);
}

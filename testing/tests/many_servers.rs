//! Sentinels and clusters: what is there at the start, and what a failure makes of it.
#![cfg(unix)]

use std::time::{Duration, Instant};

use quickcache_testing::{Cluster, Connection, Error, Reply, Sentinel, Server};

fn get(server: &Server, key: &str) -> Result<String, Error> {
    match server.command(&["GET", key])? {
        Reply::Nil => Ok("nothing".into()),
        value => Ok(value.text()),
    }
}

fn refusal(server: &Server, words: &[&str]) -> String {
    match server.command(words) {
        Err(Error::Reply(text)) => text,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sentinels_name_another_primary_when_one_is_killed_and_put_it_in_its_place_when_it_is_back() {
    let mut sentinel = Sentinel::start(2);
    let first = sentinel.primary().port();
    assert_eq!(first, sentinel.servers()[0].port());
    for address in sentinel.addresses() {
        let named = Connection::tcp(address)
            .expect("a connection to a sentinel")
            .command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinel::NAME])
            .expect("the primary's address");
        assert_eq!(named.items()[1].text(), first.to_string());
    }
    sentinel
        .primary()
        .command(&["SET", "key", "1"])
        .expect("SET");
    let acknowledged = sentinel.primary().command(&["WAIT", "2", "5000"]);
    assert_eq!(acknowledged.expect("WAIT").int(), 2);

    assert_eq!(sentinel.kill_primary().port(), first);
    let second = sentinel.primary().port();
    assert_ne!(second, first);
    assert_eq!(get(sentinel.primary(), "key").expect("GET"), "1");

    sentinel.servers()[0].restart();
    let old = &sentinel.servers()[0];
    until("the old one is a replica", || old.info("role") == "slave");
    assert_eq!(sentinel.primary().port(), second);
}

#[test]
fn sentinels_name_another_primary_on_demand() {
    let mut sentinel = Sentinel::start(1);
    let first = sentinel.primary().port();
    sentinel.fail_over();
    let second = sentinel.primary();
    assert_ne!(second.port(), first);
    second.command(&["SET", "key", "1"]).expect("SET");
    let old = &sentinel.servers()[0];
    until("the old one is a replica", || old.info("role") == "slave");
    until("it has what is new", || {
        get(old, "key").is_ok_and(|value| value == "1")
    });
}

#[test]
fn the_slots_of_a_cluster_have_owners_and_can_be_moved() {
    let mut cluster = Cluster::start(0);
    assert_eq!(cluster.addresses().len(), 3);
    let slot = cluster.slot("key");
    assert_eq!(
        (slot, cluster.owner(0), cluster.owner(16_383)),
        (12_539, 0, 2)
    );
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    let (old, new) = (cluster.nodes()[from].port(), cluster.nodes()[to].port());
    for number in 0..250 {
        let key = format!("{{key}}{number}");
        let set = cluster.nodes()[from].command(&["SET", &key, "1"]);
        set.expect("SET at the owner");
    }
    assert_eq!(
        refusal(&cluster.nodes()[to], &["GET", "key"]),
        format!("MOVED 12539 127.0.0.1:{old}")
    );
    assert_eq!(cluster.begin_move(slot, to), from);
    assert_eq!(
        refusal(&cluster.nodes()[from], &["GET", "key"]),
        format!("ASK 12539 127.0.0.1:{new}")
    );
    assert_eq!(get(&cluster.nodes()[from], "{key}7").expect("GET"), "1");
    cluster.finish_move(slot, to);
    assert_eq!(cluster.owner(slot), to);
    assert_eq!(
        refusal(&cluster.nodes()[from], &["GET", "key"]),
        format!("MOVED 12539 127.0.0.1:{new}")
    );
    for number in 0..250 {
        let key = format!("{{key}}{number}");
        assert_eq!(get(&cluster.nodes()[to], &key).expect("GET"), "1");
    }
    cluster.move_slot(slot, from);
    assert_eq!(cluster.owner(slot), from);
    assert_eq!(get(&cluster.nodes()[from], "{key}249").expect("GET"), "1");
}

#[test]
fn a_replica_of_a_cluster_takes_over_from_a_primary_that_is_killed() {
    let mut cluster = Cluster::start(1);
    let slot = cluster.slot("key");
    let old = cluster.owner(slot);
    cluster.nodes()[old]
        .command(&["SET", "key", "1"])
        .expect("SET");
    let acknowledged = cluster.nodes()[old].command(&["WAIT", "1", "5000"]);
    assert_eq!(acknowledged.expect("WAIT").int(), 1);
    cluster.kill(old);
    cluster.wait();
    let new = cluster.owner(slot);
    assert_eq!(new, old + 3);
    assert_eq!(get(&cluster.nodes()[new], "key").expect("GET"), "1");
    cluster.restart(old);
    cluster.wait();
    assert_eq!(cluster.owner(slot), new);
}

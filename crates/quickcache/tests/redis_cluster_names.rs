//! What the nodes of a cluster say that they are called: addresses behind which others stand, host names, certificates.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_cluster;
mod on_redis;

use std::sync::LazyLock;
use std::time::Instant;

use on_cluster::{
    Fleet, MANY, addresses, announce, behind_proxies, is_value, keys, until_all_know,
};
use on_redis::{HANGS, bare, cached, listen, logged, machine, until, with_memory};
use quickcache::{Cleared, Redis};
use quickcache_testing::{Certificates, Cluster, Door, Proxy};

/// The slot of what is stored then, and nothing else.
fn slot_of(fleet: &Fleet, call: impl Fn()) -> u16 {
    for node in fleet.lock().nodes() {
        let _replicas_refuse = node.command(&["FLUSHALL"]);
    }
    let mut slot = None;
    until("there is one value", || {
        call();
        let mut all = fleet.lock();
        let keys: Vec<String> = all.nodes().iter().flat_map(keys).collect();
        let value = keys.iter().find(|key| is_value(key));
        slot = value.map(|key| all.slot(key));
        slot.is_some()
    });
    slot.expect("there is one")
}

/// Everything that a cluster is asked for: values of all nodes, clears that others hear of, a slot that has moved.
macro_rules! all_works {
    ($FLEET:ident, $here:ident, $there:ident) => {{
        for n in 0..MANY {
            // A fill that did not get through leaves a value in memory that no other has.
            until("one value", || {
                let agree = $here(n) == $there(n);
                if !agree {
                    let _applied_or_not = $there::clear(n);
                }
                agree
            });
        }
        for node in $FLEET.lock().nodes() {
            let values = keys(node).iter().filter(|key| is_value(key)).count();
            assert!(values > 5, "{:?}", keys(node));
        }
        until("memory serves", || {
            let hits = $here::stats().memory_hits;
            $here(1);
            $here::stats().memory_hits > hits
        });
        let before = $here(1);
        until("it is cleared", || $there::clear(1) == Cleared::Applied);
        until("that is heard of", || $here(1) != before);
        let slot = slot_of(&$FLEET, || {
            $there(1);
        });
        let to = ($FLEET.lock().owner(slot) + 1) % 3;
        $FLEET.lock().move_slot(slot, to);
        until("hits", || $here(1) == $there(1));
        assert_eq!($there::clear(1), Cleared::Applied);
    }};
}

fn cluster(scheme: &str, addresses: &[String]) -> Redis {
    let urls = addresses.iter().map(|at| format!("{scheme}://{at}"));
    let urls: Vec<String> = urls.collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Redis::cluster(&urls).timeout("2h").folder(machine())
}

// ---- TLS ----

fn with_tls(certificates: &Certificates, replicas: usize) -> Fleet {
    Fleet::of(Cluster::of(replicas, |node| {
        node.tls(certificates)
            .config(&["tls-cluster", "yes"])
            .config(&["tls-replication", "yes"])
    }))
}

fn tls_cluster(fleet: &Fleet, host: &str) -> Redis {
    let hosts = fleet.addresses[..2].iter();
    let hosts: Vec<String> = hosts.map(|at| at.replace("127.0.0.1", host)).collect();
    let authority = fleet.lock().node(0).authority();
    // A handshake takes longer than the usual budget on a machine that is kept busy.
    cluster("rediss", &hosts).ca_file(authority).budget("2s")
}

#[test]
fn a_cluster_that_speaks_tls() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| with_tls(&Certificates::new(), 1));
    cached! {
        HERE here = with_memory(tls_cluster(&FLEET, "127.0.0.1"));
        THERE there = bare(tls_cluster(&FLEET, "127.0.0.1"));
    }
    all_works!(FLEET, here, there);
    let slot = slot_of(&FLEET, || {
        there(1);
    });
    let dead = FLEET.lock().owner(slot);
    FLEET.lock().kill(dead);
    FLEET.lock().wait();
    until("hits", || here(1) == there(1));
    until("it is cleared", || there::clear(1) == Cleared::Applied);
}

#[test]
fn nodes_that_speak_tls_are_called_by_their_host_names_once_they_say_them() {
    listen();
    static FLEET: LazyLock<Fleet> =
        LazyLock::new(|| with_tls(&Certificates::for_names(&["localhost"]), 0));
    cached! {
        HERE here = with_memory(tls_cluster(&FLEET, "localhost"));
        THERE there = bare(tls_cluster(&FLEET, "localhost"));
    }
    until("it is told", || {
        assert_ne!(here(1), here(1));
        let lines = logged("WARN", "node 127.0.0.1");
        lines
            .iter()
            .any(|line| line.contains("certificate not valid for name"))
    });
    announce(&FLEET, "cluster-announce-hostname", |_| {
        "localhost".to_owned()
    });
    until_all_know(&FLEET, &[(); 3].map(|()| ",localhost".to_owned()));
    all_works!(FLEET, here, there);
}

#[test]
fn nodes_that_speak_tls_behind_others() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| with_tls(&Certificates::new(), 0));
    cached! {
        HERE here = with_memory(tls_cluster(&FLEET, "127.0.0.1"));
        THERE there = bare(tls_cluster(&FLEET, "127.0.0.1"));
    }
    let proxies: Vec<Proxy> = FLEET.addresses.iter().map(Proxy::to).collect();
    let port = |place: usize| proxies[place].port().to_string();
    announce(&FLEET, "cluster-announce-tls-port", port);
    until_all_know(&FLEET, &addresses(&proxies));
    all_works!(FLEET, here, there);
    assert!(proxies.iter().all(|proxy| proxy.counts().to_client > 0));
}

// ---- addresses and names ----

#[test]
fn nodes_are_reached_where_they_say_that_they_are() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = with_memory(FLEET.redis());
        THERE there = bare(FLEET.redis());
    }
    let proxies = behind_proxies(&FLEET);
    all_works!(FLEET, here, there);
    for proxy in &proxies {
        proxy.door(Door::Closed);
        assert!(proxy.reset() > 0, "nobody was there");
    }
    until("it is out of reach", || {
        there(1) != there(1) && here(1) != here(1)
    });
    assert!(matches!(there::clear(1), Cleared::Pending(_)));
    proxies.iter().for_each(Proxy::heal);
    all_works!(FLEET, here, there);
}

/// Where clients cannot come, and nodes can.
const INNER: &str = "127.0.0.9";

#[test]
fn nodes_that_cannot_be_reached_at_their_addresses_are_by_their_host_names() {
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
        let both = |node: quickcache_testing::Builder| node.config(&["bind", "127.0.0.1", INNER]);
        Fleet::of(Cluster::of(0, both))
    });
    static PROXIES: LazyLock<Vec<Proxy>> = LazyLock::new(|| behind_proxies(&FLEET));
    fn outer() -> Redis {
        let ports = PROXIES[..2].iter().map(Proxy::port);
        let hosts: Vec<String> = ports.map(|port| format!("localhost:{port}")).collect();
        cluster("redis", &hosts)
    }
    cached! {
        HERE here = with_memory(outer());
        THERE there = bare(outer());
    }
    LazyLock::force(&PROXIES);
    announce(&FLEET, "cluster-announce-ip", |_| INNER.to_owned());
    announce(&FLEET, "cluster-announce-hostname", |_| {
        "localhost".to_owned()
    });
    let inner = |proxy: &Proxy| format!("{INNER}:{}@", proxy.port());
    until_all_know(&FLEET, &PROXIES.iter().map(inner).collect::<Vec<_>>());
    until_all_know(&FLEET, &[(); 3].map(|()| ",localhost".to_owned()));
    for preferred in ["hostname", "ip", "unknown-endpoint"] {
        let setting = "cluster-preferred-endpoint-type";
        announce(&FLEET, setting, |_| preferred.to_owned());
        all_works!(FLEET, here, there);
    }
}

#[test]
fn a_node_whose_address_leads_nowhere_is_out_of_reach_and_the_others_serve() {
    listen();
    static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::start(0));
    cached! {
        HERE here = bare(FLEET.redis());
        THERE there = bare(FLEET.redis());
    }
    let proxies = behind_proxies(&FLEET);
    let lost = proxies[0].address().to_string();
    proxies[0].door(Door::Closed);
    until("it is told", || {
        for n in 0..MANY {
            here(n);
            there(n);
        }
        !logged("WARN", &lost).is_empty()
    });
    let is_gone = |n: &u64| here(*n) != here(*n);
    let (gone, rest): (Vec<u64>, Vec<u64>) = (0..MANY).partition(is_gone);
    assert!(gone.len() > 5 && rest.len() > 5, "{gone:?} {rest:?}");
    let began = Instant::now();
    for n in &gone {
        assert!(matches!(here::clear(*n), Cleared::Pending(_)));
    }
    for n in &rest {
        until("hits", || here(*n) == there(*n));
    }
    assert!(began.elapsed() < HANGS / 4, "{:?}", began.elapsed());
    // It says where it is.
    let port = FLEET.addresses[0].split_once(':').expect("a port").1;
    let place = |at: usize| match at {
        0 => port.to_owned(),
        at => proxies[at].port().to_string(),
    };
    announce(&FLEET, "cluster-announce-port", place);
    for n in 0..MANY {
        until("hits", || here(n) == there(n));
    }
}

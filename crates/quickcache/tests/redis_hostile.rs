//! What a server that answers wrongly, or whoever else may write to it, can do to a call: cost executions, and nothing else.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_redis;

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use on_redis::{bare, cached, machine, redis, until, with_memory};
use quickcache::{Cleared, Redis};
use quickcache_testing::{Answer, Connection, Direction, Door, Mode, Port, Proxy, Reply, Server};

/// By way of a proxy, on a machine of its own, patiently.
fn by_way_of(proxy: &Proxy) -> Redis {
    redis(&format!("redis://{}", proxy.address())).budget("5s")
}

/// A key of a value, or one of a function's own.
fn key(server: &mut Connection, is_own: bool) -> String {
    let Ok(Reply::Array(all)) = server.command(&["KEYS", "qc:*"]) else {
        panic!("no list of keys")
    };
    let mut keys = all.into_iter().map(|key| key.text());
    keys.find(|key| key.contains(":f:") == is_own && !key.ends_with("staleness"))
        .expect("a key")
}

#[test]
fn p9_a_clear_counts_only_if_the_server_says_that_it_was_done() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! { BARE f = bare(by_way_of(&PROXY)); }
    f(1);
    for reply in ["$-1\r\n", "+QUEUED\r\n", ":0\r\n", "*0\r\n", "$1\r\n1\r\n"] {
        let clears: [fn() -> Cleared; 2] = [|| f::clear(1), || f::clear_all()];
        for clear in clears {
            PROXY.answer(Answer::to("EVALSHA", reply).times(1));
            assert!(!clear().is_applied(), "{reply:?}");
            until("it is made up for", || clear().is_applied());
        }
    }
}

/// Without a memory tier the promise has no bound.
#[test]
fn f_a_follower_takes_nothing_that_a_claim_found_of_a_function_that_was_cleared_after_the_look() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! {
        HERE here = bare(by_way_of(&PROXY));
        THERE there = bare(redis(&SERVER.url()).budget("5s"));
    }
    there(0);
    here(0);
    let looks = || {
        let stats = SERVER
            .command(&["INFO", "commandstats"])
            .expect("statistics")
            .text();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_mget:"));
        line.map(str::to_owned)
    };
    let before = looks();
    PROXY.set(Mode::Delay(Direction::ToClient, Duration::from_millis(700)));
    let leads = thread::spawn(|| here(1));
    until("the server was asked", || looks() != before);
    let old = there(1);
    assert!(there::clear_all().is_applied());
    let follows = thread::spawn(|| here(1));
    leads.join().expect("a value");
    let value = follows.join().expect("a value");
    assert!(value.1 > old.1, "{value:?} of before the clear: {old:?}");
}

#[test]
fn p10_a_lease_that_no_call_would_have_is_not_waited_for() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! { BARE f = bare(redis(&SERVER.url()).budget("5s")); }
    f(1);
    let mut server = SERVER.connect().expect("a connection");
    let key = key(&mut server, false);
    let Ok(Reply::Bulk(record)) = server.command(&["GET", &key]) else {
        panic!("no value")
    };
    let lease = [b"L", &record[1..33], &[7; 16], b"-"].concat();
    let not_a_number = [b"P", &record[1..50], b"nan         nan         "].concat();
    for (bytes, life) in [(&lease, "0"), (&lease, "3600000"), (&not_a_number, "60000")] {
        let command: &[&[u8]] = &[b"SET", key.as_bytes(), bytes, b"PX", life.as_bytes()];
        let command = if life == "0" { &command[..3] } else { command };
        server.command(command).expect("it is set");
        assert_eq!(f(1), f(1), "nobody stores it: {life}");
    }
}

#[test]
fn p10_what_is_no_text_under_a_key_or_a_functions_own_is_replaced() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! { BARE f = bare(redis(&SERVER.url()).budget("5s")); }
    let mut last = f(1);
    let mut server = SERVER.connect().expect("a connection");
    for is_own in [false, true] {
        for other in [["LPUSH", "x"], ["SADD", "x"], ["SET", "short"]] {
            let key = key(&mut server, is_own);
            server.command(&["DEL", &key]).expect("deleted");
            server
                .command(&[other[0], &key, other[1]])
                .expect("foreign");
            let now = f(1);
            assert!(now.1 > last.1);
            assert_eq!(f(1), now, "{is_own} {other:?}");
            last = now;
        }
    }
    assert_eq!(f::stats().tier_errors, 0);
}

#[test]
fn p9_what_takes_long_to_apply_is_applied_and_the_server_is_back() {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        Server::builder()
            .config(&["enable-debug-command", "yes"])
            .start()
    });
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    static MACHINE: LazyLock<std::path::PathBuf> = LazyLock::new(machine);
    cached! { BARE f = bare(by_way_of(&PROXY).folder(&*MACHINE)); }
    f(1);
    PROXY.set(Mode::Blackhole(Direction::Both));
    assert!(!f::clear(1).is_applied());
    // It is not known any more of what key: everything is pending, which is found among all keys of the server.
    let files = std::fs::read_dir(&*MACHINE).expect("a folder");
    let journal = files.map(|file| file.expect("a file").path());
    let journal = journal
        .into_iter()
        .find(|path| path.to_string_lossy().contains("journal-"));
    let journal = journal.expect("a journal");
    let mut bytes = std::fs::read(&journal).expect("read");
    bytes[20] ^= 1;
    std::fs::write(&journal, bytes).expect("written");
    let many = ["DEBUG", "POPULATE", "300000", "other"];
    SERVER.command(&many).expect("other keys");
    PROXY.set(Mode::Delay(Direction::ToClient, Duration::from_millis(5)));
    until("there are hits", || f(1) == f(1));
}

#[test]
fn a_server_that_fails_at_every_call_is_warned_about_once_and_asked_ever_more_rarely() {
    on_redis::listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! { BARE f = bare(by_way_of(&PROXY)); }
    f(1);
    let accepted = PROXY.counts().accepted;
    PROXY.answer(Answer::to("MGET", "").and_close());
    until("it has been connected to again and again", || {
        f(1);
        PROXY.counts().accepted >= accepted + 5
    });
    on_redis::warned_once(&PROXY.address().to_string(), "functions run without it");
    PROXY.answer_no_more();
    until("there are hits", || f(1) == f(1));
}

/// Nobody else asks it.
#[tokio::test]
async fn tasks_alone_have_another_thread_begun_when_one_has_ended() {
    on_redis::listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    static BARE: LazyLock<quickcache::QuickCache> =
        LazyLock::new(|| bare(by_way_of(&PROXY).budget("100ms")));
    #[quickcache::quickcache(cache = BARE, name = "f", version = 1, vary_on = [n])]
    async fn f(n: u64) -> (u64, u64) {
        (n, on_redis::next())
    }
    let about = PROXY.address().to_string();
    *on_redis::FATAL.lock().unwrap() = Some(format!("{about}: "));
    PROXY.door(Door::Closed);
    while on_redis::logged("WARN", &about).is_empty() {
        f(1).await;
    }
    *on_redis::FATAL.lock().unwrap() = None;
    PROXY.door(Door::Open);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while f(1).await != f(1).await {
        assert!(std::time::Instant::now() < end, "it is never back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

// ---- clusters ----

/// A cluster of one node, which calls itself by the proxy in front of it.
struct OneNode {
    _server: Server,
    proxy: Proxy,
}

impl OneNode {
    fn start() -> OneNode {
        let bus = Port::free();
        let server = Server::builder()
            .config(&["cluster-enabled", "yes"])
            .config(&["cluster-port", &bus.number().to_string()])
            .start();
        let proxy = Proxy::to(server.address());
        for words in [
            &[
                "CONFIG",
                "SET",
                "cluster-announce-port",
                &proxy.port().to_string(),
            ][..],
            &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"],
        ] {
            server.command(words).expect("it is done");
        }
        until("the cluster is there", || {
            let info = server.command(&["CLUSTER", "INFO"]).expect("information");
            info.text().contains("cluster_state:ok")
        });
        OneNode {
            _server: server,
            proxy,
        }
    }

    fn redis(&self) -> Redis {
        let url = format!("redis://{}", self.proxy.address());
        Redis::cluster(&[&url])
            .timeout("5m")
            .budget("5s")
            .folder(machine())
    }
}

#[test]
fn what_is_told_while_a_listener_is_let_in_ends_it_not() {
    static NODE: LazyLock<OneNode> = LazyLock::new(OneNode::start);
    cached! { CACHE f = with_memory(NODE.redis()); }
    // A clear that comes between two of the 256 confirmations.
    let (first, second) = ("$15\r\nqc:{460}:clears\r\n", "$14\r\nqc:{14}:clears\r\n");
    let told = format!("*3\r\n$8\r\nsmessage\r\n{first}$9\r\nA12345678\r\n");
    let confirmed = format!("*3\r\n$10\r\nssubscribe\r\n{second}:2\r\n");
    NODE.proxy
        .answer(Answer::to("SSUBSCRIBE qc:{14}:clears", told + &confirmed));
    until("memory serves", || {
        let hits = f::stats().memory_hits;
        f(1);
        f::stats().memory_hits > hits
    });
}

#[test]
fn nodes_that_have_nothing_have_no_threads() {
    static NODE: LazyLock<OneNode> = LazyLock::new(OneNode::start);
    cached! { CACHE f = bare(NODE.redis().budget("200ms")); }
    f(0);
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        // What the system keeps of the name.
        tasks
            .filter_map(name)
            .filter(|name| name.starts_with("quickcache-redi"))
            .count()
    };
    let before = threads();
    for n in 1..=40_u64 {
        let answered = NODE.proxy.counts().answered;
        let moved = format!("-MOVED 5 127.0.0.77:{n}\r\n");
        NODE.proxy.answer(Answer::to("MGET", moved).times(1));
        until("it is sent elsewhere", || {
            f(n);
            NODE.proxy.counts().answered > answered
        });
    }
    // Other tests have some.
    until("they have ended", || threads() < before + 20);
    until("there are hits", || f(1) == f(1));
}

#[test]
fn a_bound_that_nobody_would_agree_on_is_not_waited_for() {
    on_redis::listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! { BARE f = bare(redis(&SERVER.url()).budget("5s")); }
    let about = SERVER.address();
    for agreed in ["18446744073709551615", "86400001", "-1", "soon"] {
        SERVER
            .command(&["SET", "qc:staleness", agreed])
            .expect("it is set");
        let warnings = on_redis::logged("WARN", &about).len();
        let killed = SERVER.command(&["CLIENT", "KILL", "USER", "default"]);
        killed.expect("it is connected to anew");
        until("there is a warning", || {
            f(1);
            on_redis::logged("WARN", &about).len() > warnings
        });
        assert!(!f::clear(1).wait().is_applied());
        let warning = on_redis::logged("WARN", &about).pop().expect("a warning");
        assert!(
            warning.contains("qc:staleness is no number of milliseconds up to a day"),
            "{warning}"
        );
        SERVER
            .command(&["DEL", "qc:staleness"])
            .expect("it is gone");
        until("there are hits", || f(1) == f(1));
    }
}

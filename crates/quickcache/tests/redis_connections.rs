//! The ways to a Redis: TLS, passwords, sockets, databases, namespaces; what is said of a way that leads nowhere, and what never is.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_redis;

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use on_redis::*;
use quickcache::{Cleared, Redis};
use quickcache_testing::{Answer, Certificates, Direction, Mode, Proxy, Server};

/// Calls of a function whose server cannot be used: they run it, and are not delayed by more than one budget in all.
fn is_not_delayed(mut call: impl FnMut(u64) -> (u64, u64)) {
    let began = Instant::now();
    let values: Vec<_> = (0..20).map(|n| call(n % 2)).collect();
    assert!(values.windows(2).all(|two| two[0].1 < two[1].1));
    // The rest is for a machine that is busy.
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
}

// ---- TLS ----

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::new);
static SECURE: LazyLock<Server> = LazyLock::new(|| {
    Server::builder()
        .tls(&CERTIFICATES)
        .password("sesame")
        .start()
});

fn secure() -> Redis {
    redis(&SECURE.url()).ca_file(SECURE.authority())
}

#[test]
fn a_server_with_tls_is_used_as_any_other() {
    cached! {
        ONE one = with_memory(secure());
        TWO two = bare(redis(&SECURE.url().replace("127.0.0.1", "localhost")).ca_file(SECURE.authority()));
    }
    until("a hit in memory", || {
        one(1);
        one::stats().memory_hits > 0
    });
    assert_eq!(two(1), one(1));
    assert_eq!(two::clear(1), Cleared::Applied);
    thread::sleep(Duration::from_millis(250));
    assert!(one(1).1 > 1);
    assert_eq!(one(1), two(1));
    assert_eq!(one::stats().tier_errors + two::stats().tier_errors, 0);
}

#[test]
fn a_certificate_for_another_name_is_refused_with_one_warning_that_says_so() {
    listen();
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let certificates = Certificates::for_names(&["elsewhere.example"]);
        Server::builder().tls(&certificates).start()
    });
    cached! { BARE_ONE bare_one = bare(redis(&SERVER.url()).ca_file(SERVER.authority())); }
    LazyLock::force(&SERVER);
    is_not_delayed(bare_one);
    thread::sleep(Duration::from_millis(500));
    warned_once(&SERVER.address(), "not valid for name");
    assert!(!bare_one::clear(1).is_applied());
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    listen();
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::builder().tls(&Certificates::new()).start());
    LazyLock::force(&SECURE);
    cached! {
        OF_ANOTHER of_another = bare(redis(&SERVER.url()).ca_file(SECURE.authority()));
    }
    LazyLock::force(&SERVER);
    is_not_delayed(of_another);
    warned_once(&SERVER.address(), "invalid peer certificate");
}

#[test]
fn a_file_of_certificates_that_is_none_is_named() {
    listen();
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::builder().tls(&CERTIFICATES).start());
    cached! { LACKS lacks = bare(redis(&SERVER.url()).ca_file("/nowhere/ca.pem")); }
    LazyLock::force(&SERVER);
    is_not_delayed(lacks);
    warned_once(&SERVER.address(), "/nowhere/ca.pem");
}

#[test]
fn a_server_without_tls_is_not_spoken_to_where_it_is_expected() {
    listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! { EXPECTS expects = bare(redis(&SERVER.url().replace("redis:", "rediss:"))); }
    LazyLock::force(&SERVER);
    is_not_delayed(expects);
    warned_once(&SERVER.address(), "TLS");
}

#[test]
fn a_server_with_tls_is_out_of_reach_without() {
    listen();
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::builder().tls(&CERTIFICATES).start());
    cached! { PLAIN plain = bare(redis(&SERVER.url().replace("rediss:", "redis:"))); }
    LazyLock::force(&SERVER);
    is_not_delayed(plain);
    warned_once(&SERVER.address(), "functions run without it");
}

#[test]
fn p8_a_handshake_that_hangs_or_drips_delays_no_call_for_long() {
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SECURE.address()));
    static URL: LazyLock<String> =
        LazyLock::new(|| format!("rediss://:sesame@{}/0", PROXY.address()));
    cached! { SLOW slow = bare(redis(&URL).ca_file(SECURE.authority())); }
    let drip = Mode::Drip {
        direction: Direction::ToClient,
        bytes: 1,
        every: Duration::from_millis(30),
    };
    for mode in [
        Mode::Blackhole(Direction::Both),
        Mode::Blackhole(Direction::ToClient),
        drip,
    ] {
        // While it connects, and while it is connected.
        for connected in [false, true] {
            if connected {
                PROXY.heal();
                until("hits", || slow(9) == slow(9));
                PROXY.set(mode.clone());
            } else {
                PROXY.set(mode.clone());
                PROXY.drop_connections();
            }
            is_not_delayed(slow);
            // Whoever connects has given up by then, and tries again.
            thread::sleep(Duration::from_millis(1200));
            let accepted = PROXY.counts().accepted;
            until("it is tried again", || PROXY.counts().accepted > accepted);
        }
        PROXY.heal();
        let began = Instant::now();
        until("hits", || slow(9) == slow(9));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{mode:?}: {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_that_of_the_client() {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let server = Server::builder().tls(&CERTIFICATES);
        server.config(&["tls-auth-clients", "yes"]).start()
    });
    static FILES: LazyLock<[std::path::PathBuf; 2]> =
        LazyLock::new(|| ["server.pem", "key.pem"].map(|name| SERVER.folder().join(name)));
    listen();
    cached! {
        KNOWN known = bare(redis(&SERVER.url()).ca_file(SERVER.authority()).client_cert(&FILES[0], &FILES[1]));
        UNKNOWN unknown = bare(redis(&SERVER.url()).ca_file(SERVER.authority()));
        WITHOUT_KEY without_key = bare(redis(&SERVER.url().replace("127.0.0.1", "localhost")).ca_file(SERVER.authority()).client_cert(&FILES[0], &FILES[0]));
    }
    assert_eq!(known(1), known(1));
    assert_eq!(known::stats().tier_hits, [1]);
    is_not_delayed(unknown);
    assert_eq!(unknown::stats().tier_hits, [0]);
    is_not_delayed(without_key);
    let localhost = SERVER.address().replace("127.0.0.1", "localhost");
    warned_once(&localhost, "server.pem");
    assert!(!logged("WARN", &SERVER.address()).is_empty());
}

// ---- passwords ----

#[test]
fn users_and_passwords_are_those_of_the_url() {
    listen();
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let server = Server::builder().password("ses@me/1");
        server.acl("me on >word~2 ~* &* +@all").start()
    });
    fn url(of: &str) -> String {
        format!("redis://{of}{}/0", SERVER.address())
    }
    cached! {
        BY_DEFAULT by_default = bare(redis(&url(":ses%40me%2F1@")));
        BY_NAME by_name = bare(redis(&url("me:word~2@")));
        BY_NOBODY by_nobody = bare(redis(&url("")).namespace("nobody"));
        WRONGLY wrongly = bare(redis(&url("me:swordfish@")).namespace("wrongly"));
    }
    assert_eq!(by_default(1), by_name(1));
    assert_eq!(
        (by_default(2), by_name::stats().tier_errors),
        (by_name(2), 0)
    );
    is_not_delayed(by_nobody);
    is_not_delayed(wrongly);
    thread::sleep(Duration::from_millis(300));
    let lines = logged("WARN", &SERVER.address());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("NOAUTH"), "{lines:?}");
    assert!(lines[1].contains("WRONGPASS"), "{lines:?}");
    for level in ["WARN", "INFO", "DEBUG"] {
        assert!(logged(level, "swordfish").is_empty());
    }
}

#[test]
fn no_password_is_ever_shown() {
    let secret = Redis::new("rediss://me:swordfish@host.example:7000/3")
        .sentinel_password("swordfish")
        .client_cert("/a", "/b")
        .secrets(&[b"swordfish", b"sword"]);
    let all = format!("{secret:?} {:?}", bare(secret.clone()));
    let bytes = format!("{:?}", b"sword".as_slice());
    assert!(
        all.contains("host.example") && !all.contains("sword") && !all.contains(&bytes),
        "{all}"
    );
    for url in [
        "http://me:swordfish@host/0",
        "redis://me:swordfish@host:70000/0",
        "redis://me:swordfish@host/swordfish",
        "redis://:swordfish#@host/0",
        "me:swordfish@host",
    ] {
        let panic = std::panic::catch_unwind(|| Redis::new(url)).unwrap_err();
        let why = panic.downcast_ref::<String>().expect("a message");
        assert!(
            why.starts_with("Redis: url ") && !why.contains("swordfish"),
            "{why}"
        );
    }
    let mixed = || Redis::sentinel(&["redis://a", "rediss://b"], "main");
    assert!(std::panic::catch_unwind(mixed).is_err());
    assert!(std::panic::catch_unwind(|| Redis::new("redis://a").ca_file("/a")).is_err());
    for none in [&[][..], &[&b""[..]]] {
        assert!(std::panic::catch_unwind(|| Redis::new("redis://a").secrets(none)).is_err());
    }
}

// ---- places ----

#[test]
fn a_server_is_reached_by_its_socket() {
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::builder().password("sesame").start());
    fn url() -> String {
        let socket = SERVER.socket();
        format!("redis+unix://{}?db=2&pass=sesame", socket.display())
    }
    cached! {
        BY_SOCKET by_socket = with_memory(redis(&url()));
        BY_PORT by_port = bare(redis(&SERVER.url().replace("/0", "/2")));
    }
    until("a hit in memory", || {
        by_socket(1);
        by_socket::stats().memory_hits > 0
    });
    assert_eq!(by_socket(1), by_port(1));
}

#[test]
fn p8_a_stopped_server_behind_a_full_socket_is_left_when_another_takes_its_place() {
    use std::os::unix::net::{UnixListener, UnixStream};
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
        let at = machine().with_file_name("sockets");
        std::fs::create_dir_all(&at).expect("a folder");
        at
    });
    let path = FOLDER.join("socket");
    // It accepts nobody, and its queue is full.
    let silent = UnixListener::bind(&path).expect("a socket");
    let mut clients = Vec::new();
    let backlog = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("of Linux");
    let backlog: usize = backlog.trim().parse().expect("a number");
    for _ in 0..=backlog.min(4096) {
        let (done, is_done) = std::sync::mpsc::channel();
        let to = path.clone();
        thread::spawn(move || done.send(UnixStream::connect(to)));
        match is_done.recv_timeout(Duration::from_millis(500)) {
            Ok(client) => clients.push(client),
            Err(_) => break,
        }
    }
    cached! { FULL full = bare(redis(&format!("redis+unix://{}", FOLDER.join("socket").display()))); }
    is_not_delayed(full);
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink(SERVER.socket(), &path).expect("another");
    until("hits", || full(9) == full(9));
    drop((silent, clients));
}

#[test]
fn databases_and_namespaces_share_nothing() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    fn url(database: u32) -> String {
        SERVER.url().replace("/0", &format!("/{database}"))
    }
    cached! {
        ZERO zero = with_memory(redis(&url(0)));
        ONE one = with_memory(redis(&url(1)));
        OTHER other = with_memory(redis(&url(0)).namespace("other"));
        ZERO_BARE zero_bare = bare(redis(&url(0)));
    }
    let hits = || [zero::stats(), one::stats(), other::stats()].map(|stats| stats.memory_hits);
    until("hits in all memories", || {
        let _values = (zero(1), one(1), other(1));
        hits().iter().all(|hits| *hits > 0)
    });
    let before = (zero(1), one(1), other(1));
    assert!(before.0 != before.1 && before.0 != before.2 && before.1 != before.2);
    assert_eq!(zero_bare(1), before.0);
    // Neither keys nor channels.
    assert_eq!(zero_bare::clear(1), Cleared::Applied);
    assert_eq!(zero_bare::clear_all(), Cleared::Applied);
    thread::sleep(Duration::from_millis(300));
    assert!(zero(1).1 > before.0.1);
    let executions = (one::stats().executions, other::stats().executions);
    assert_eq!((one(1), other(1)), (before.1, before.2));
    assert_eq!(executions, (1, 1));
}

// ---- services that hide who they are ----

#[test]
fn a_server_that_hides_its_run_id_is_used_with_one_warning() {
    listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! {
        HIDDEN hidden = with_memory(redis(&format!("redis://{}", PROXY.address())));
        HIDDEN_BARE hidden_bare = bare(redis(&format!("redis://{}", PROXY.address())).budget("1s"));
    }
    let info = "# Server\r\nredis_version:7.0.0\r\n";
    let reply = format!("${}\r\n{info}\r\n", info.len());
    PROXY.answer(Answer::to("INFO", reply));
    until("a hit in memory", || {
        hidden(1);
        hidden::stats().memory_hits > 0
    });
    assert_eq!(hidden_bare(1), hidden(1));
    assert_eq!(hidden_bare::clear(1), Cleared::Applied);
    PROXY.drop_connections();
    until("hits", || hidden(2) == hidden(2));
    thread::sleep(Duration::from_millis(300));
    let about = PROXY.address().to_string();
    let lines = logged("WARN", &about);
    let hides = lines.iter().filter(|line| line.contains("run_id")).count();
    // One for each Redis that was said.
    assert_eq!(hides, 2, "{lines:?}");
}

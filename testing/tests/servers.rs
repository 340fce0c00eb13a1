//! Real servers: what each setting makes of them, and that none is left behind.
#![cfg(unix)]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quickcache_testing::{Certificates, Connection, Error, Folder, Reply, Server};

fn runs(pid: u32) -> bool {
    Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("kill -0")
        .success()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_answers_on_its_port_and_on_its_socket() {
    let server = Server::start();
    assert_eq!(
        server.url(),
        format!("redis://127.0.0.1:{}/0", server.port())
    );
    let mut client = Connection::tcp(server.address()).expect("a connection");
    client.command(&["SET", "key", "value"]).expect("SET");
    let read = Connection::unix(&server.socket())
        .expect("a connection by the socket")
        .command(&["GET", "key"]);
    assert_eq!(read.expect("GET"), Reply::Bulk(b"value".to_vec()));
    assert_eq!(server.info("process_id"), server.pid().to_string());
    match server.command(&["INCR", "key"]) {
        Err(Error::Reply(text)) => {
            assert!(text.starts_with("ERR value is not an integer"), "{text}")
        }
        other => panic!("INCR of a text: {other:?}"),
    }
}

#[test]
fn a_server_is_gone_with_its_folder_at_drop_and_when_a_test_panics() {
    let server = Server::start();
    let (pid, folder) = (server.pid(), server.folder().to_owned());
    assert!(runs(pid) && folder.exists());
    drop(server);
    assert!(!runs(pid) && !folder.exists());

    let server = Server::start();
    let (pid, folder) = (server.pid(), server.folder().to_owned());
    let thread = std::thread::spawn(move || {
        server.stop(); // a stopped process is killed as well
        panic!("as a test that fails does");
    });
    assert!(thread.join().is_err());
    assert!(!runs(pid) && !folder.exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(Server::start).join().expect("a server");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.command(&["PING"]).expect("PING").text(), "PONG");
}

/// The test below, as the process that is killed: its server tells where it is, and then it waits.
#[test]
#[ignore = "is started by a_killed_test_leaves_no_server_behind"]
fn waits_to_be_killed() {
    let server = Server::start();
    eprintln!("pid {}\nfolder {}", server.pid(), server.folder().display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_test_leaves_no_server_behind() {
    use std::io::{BufRead, BufReader};
    let mut test = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "waits_to_be_killed", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program as a process of its own");
    let lines = BufReader::new(test.stderr.take().expect("its output")).lines();
    let mut words = lines.map_while(Result::ok);
    let mut after = |name: &str| {
        let found = words.find_map(|line| line.strip_prefix(name).map(str::to_string));
        found.unwrap_or_else(|| panic!("no {name} of the server"))
    };
    let pid = after("pid ").parse().expect("a number of a process");
    let folder = after("folder ");
    assert!(runs(pid));
    test.kill().expect("SIGKILL");
    test.wait().expect("its end");
    until("the server's end", || !runs(pid));
    // Its folder is removed by whoever makes one next; ours, which somebody has, are not.
    let own = Folder::new();
    let next = Command::new(env!("CARGO_BIN_EXE_quickcache-testing"))
        .args(["certificates", &own.path().to_string_lossy()])
        .status();
    assert!(next.expect("the program").success());
    assert!(!std::path::Path::new(&folder).exists() && own.path().exists());
}

#[test]
fn a_restart_is_on_the_same_port_with_what_was_saved() {
    let mut server = Server::start();
    let (port, pid, run) = (server.port(), server.pid(), server.info("run_id"));
    server.command(&["SET", "saved", "1"]).expect("SET");
    server.save();
    server.command(&["SET", "lost", "1"]).expect("SET");
    server.command(&["DEL", "saved"]).expect("DEL");
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_ne!(server.info("run_id"), run);
    assert_eq!(
        server.command(&["EXISTS", "saved"]).expect("EXISTS").int(),
        1
    );
    assert_eq!(
        server.command(&["EXISTS", "lost"]).expect("EXISTS").int(),
        0
    );
}

#[test]
fn an_append_only_server_loses_nothing() {
    let mut server = Server::builder().appendonly().start();
    server.command(&["SET", "key", "1"]).expect("SET");
    server.restart();
    assert_eq!(server.command(&["EXISTS", "key"]).expect("EXISTS").int(), 1);
}

#[test]
fn the_port_of_a_server_that_is_down_refuses_and_is_nobody_elses() {
    let mut server = Server::start();
    server.kill();
    assert!(!runs(server.pid()));
    let refused = TcpStream::connect(server.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    if cfg!(target_os = "linux") {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        let other = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let address: std::net::SocketAddr = server.address().parse().expect("an address");
        assert_eq!(bind(&other, &address), Err(rustix::io::Errno::ADDRINUSE));
    }
    server.restart();
    server.shutdown();
    assert!(!runs(server.pid()));
    server.restart();
    assert_eq!(server.command(&["PING"]).expect("PING").text(), "PONG");
}

#[test]
fn a_stopped_server_takes_connections_and_answers_when_it_goes_on() {
    let server = Server::start();
    server.stop();
    let mut client = Connection::tcp(server.address()).expect("a connection to a stopped server");
    client.patience(Duration::from_millis(50)).expect("a limit");
    assert!(matches!(
        client.command(&["INCR", "key"]),
        Err(Error::Io(_))
    ));
    server.cont();
    client.patience(Duration::from_secs(5)).expect("a limit");
    assert_eq!(client.receive().expect("the late answer"), Reply::Int(1));
}

#[test]
fn a_password_and_users_are_asked_for() {
    let server = Server::builder()
        .password("wo\"rd")
        .acl("reader on >other ~app:* &* -@all +get")
        .start();
    assert!(server.url().starts_with("redis://:wo\"rd@127.0.0.1:"));
    let mut client = Connection::tcp(server.address()).expect("a connection");
    let mut refusal = |words: &[&str]| match client.command(words) {
        Err(Error::Reply(text)) => text.split(' ').next().expect("a code").to_string(),
        other => panic!("{words:?}: {other:?}"),
    };
    assert_eq!(refusal(&["GET", "key"]), "NOAUTH");
    assert_eq!(refusal(&["AUTH", "word"]), "WRONGPASS");
    client.command(&["AUTH", "wo\"rd"]).expect("AUTH");
    client.command(&["SET", "app:key", "1"]).expect("SET");
    client.command(&["AUTH", "reader", "other"]).expect("AUTH");
    assert_eq!(
        client.command(&["GET", "app:key"]).expect("GET").text(),
        "1"
    );
    let mut refusal = |words: &[&str]| matches!(client.command(words), Err(Error::Reply(_)));
    assert!(refusal(&["GET", "key"]) && refusal(&["DEL", "app:key"]));
}

#[test]
fn a_small_server_evicts() {
    let server = Server::builder().maxmemory("2mb", "allkeys-lru").start();
    let mut client = server.connect().expect("a connection");
    for number in 0..3000 {
        let key = number.to_string();
        client
            .command(&["SET", &key, &"x".repeat(1000)])
            .expect("SET");
    }
    assert!(client.command(&["DBSIZE"]).expect("DBSIZE").int() < 3000);
    let policy = server
        .command(&["CONFIG", "GET", "maxmemory-policy"])
        .expect("CONFIG");
    assert_eq!(policy.items()[1].text(), "allkeys-lru");
}

#[test]
fn a_replica_has_what_its_primary_has_also_by_password() {
    let primary = Server::builder().password("word").start();
    primary.command(&["SET", "key", "1"]).expect("SET");
    let replica = Server::builder().replica_of(&primary).start();
    assert_eq!(replica.command(&["GET", "key"]).expect("GET").text(), "1");
    assert_eq!(primary.info("connected_slaves"), "1");
    primary.command(&["SET", "key", "2"]).expect("SET");
    until("the replica's copy", || {
        replica.command(&["GET", "key"]).expect("GET").text() == "2"
    });
}

#[test]
fn a_server_speaks_tls_and_a_replica_checks_its_authority() {
    let certificates = Certificates::new();
    let primary = Server::builder().tls(&certificates).start();
    assert!(primary.url().starts_with("rediss://127.0.0.1:"));
    let mut client = Connection::tcp(primary.address()).expect("a connection");
    assert!(matches!(
        client.command(&["PING"]),
        Err(Error::Io(_) | Error::Malformed(_))
    ));

    let replica = Server::builder().replica_of(&primary).start();
    assert_eq!(replica.info("master_link_status"), "up");
    // Another authority than the one that signed.
    let other = Certificates::new();
    let file = replica.folder().join("other.pem");
    std::fs::write(&file, other.authority()).expect("a file");
    let set = |words: &[&str]| replica.command(words).expect("a setting");
    let file = file.to_str().expect("a path of UTF-8");
    set(&["CONFIG", "SET", "tls-ca-cert-file", file]);
    set(&["REPLICAOF", "NO", "ONE"]);
    set(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    until("a handshake that fails", || {
        replica.log().contains("certificate verify failed")
    });
    assert_eq!(replica.info("master_link_status"), "down");
}

//! The program: what it is told by lines is what the proxy does.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use quickcache_testing::{Connection, Error, Folder, Server};

struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(target: &str) -> (Program, u16) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quickcache-testing"))
            .args(["proxy", target])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut program = Program {
            child,
            input,
            output,
        };
        let port = program.line().parse().expect("its port");
        (program, port)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("a line of the program");
        line.trim_end_matches('\n').to_string()
    }

    fn tell(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("its input");
        writeln!(input, "{line}").expect("to tell the program");
        self.line()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lost<T>(reply: Result<T, Error>) -> bool {
    matches!(reply, Err(Error::Io(_)))
}

#[test]
fn a_proxy_does_what_lines_say() {
    let server = Server::start();
    let (mut program, port) = Program::start(&server.address());
    let connect = || {
        let mut client = Connection::tcp(("127.0.0.1", port)).expect("a connection");
        client
            .patience(Duration::from_millis(100))
            .expect("a limit");
        client
    };
    let mut client = connect();
    client.command(&["SET", "key", "1"]).expect("SET");
    assert_eq!(
        program.tell("counts"),
        "ok accepted=1 live=1 to-server=29 to-client=5 answered=0"
    );
    assert_eq!(program.tell("blackhole both"), "ok 1");
    assert!(lost(client.command(&["PING"])));
    assert_eq!(program.tell("pass"), "ok 1");
    assert_eq!(client.receive().expect("the late answer").text(), "PONG");

    assert_eq!(program.tell("only SUBSCRIBE delay both 5000"), "ok 0");
    client.command(&["PING"]).expect("PING");
    assert!(lost(client.command(&["SUBSCRIBE", "one"])));
    assert_eq!(program.tell("only SUBSCRIBE reset"), "ok 1");

    let mut client = connect();
    assert_eq!(
        program.tell(r"answer times=1 GET -LOADING for \x22a\x22 while\r\n"),
        "ok"
    );
    match client.command(&["GET", "key"]) {
        Err(Error::Reply(text)) => assert_eq!(text, "LOADING for \"a\" while"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.command(&["GET", "key"]).expect("GET").text(), "1");
    assert_eq!(
        program.tell(r"answer executed close config\x20set $5\r\n"),
        "ok"
    );
    assert!(lost(client.command(&["CONFIG", "SET", "maxclients", "77"])));
    let set = server.command(&["CONFIG", "GET", "maxclients"]);
    assert_eq!(set.expect("CONFIG GET").items()[1].text(), "77");
    assert_eq!(program.tell("answer-no-more"), "ok");

    let mut client = connect();
    assert_eq!(program.tell("cut to-client 3"), "ok 1");
    assert!(lost(client.command(&["PING"])));
    assert_eq!(program.tell("drip both 1 200"), "ok 0");
    assert!(lost(connect().command(&["PING"])));
    assert_eq!(program.tell("corrupt to-server every 1"), "ok 1");
    assert!(connect().command(&["PING"]).is_err());
    assert_eq!(
        program
            .tell("corrupt to-client random 7 1")
            .split(' ')
            .next(),
        Some("ok")
    );
    assert!(connect().command(&["PING"]).is_err());
    assert_eq!(program.tell("door closed"), "ok");
    assert!(Connection::tcp(("127.0.0.1", port)).is_err());
    assert_eq!(program.tell("heal"), "ok");
    program.tell("drop");
    let mut client = connect();
    client.command(&["PING"]).expect("PING");
    assert_eq!(program.tell("half-close to-client"), "ok 1");
    assert!(lost(client.command(&["PING"])));
    assert_eq!(program.tell("aim 127.0.0.1:1"), "ok");
    assert!(lost(connect().command(&["PING"])));
}

#[test]
fn a_line_that_says_nothing_is_an_error_and_changes_nothing() {
    let server = Server::start();
    let (mut program, port) = Program::start(&server.address());
    for (line, said) in [
        ("", "error `` is nothing that can be done"),
        (
            "delay both",
            "error `delay both` is nothing that can be done",
        ),
        (
            "delay both soon",
            "error `soon` is not a number that fits here",
        ),
        (
            "blackhole up",
            "error a direction is to-server, to-client or both, not `up`",
        ),
        (
            "door ajar",
            "error a door is open, reset, closed or greet, not `ajar`",
        ),
        (
            "answer executed",
            "error answer .. COMMAND TEXT: there is no command",
        ),
        (
            r"answer GET \q",
            r"error `\q`: \r, \n, \\ and \xHH are known",
        ),
        (r"answer GET \xfg", r"error \xfg is no byte"),
    ] {
        assert_eq!(program.tell(line), said);
    }
    let mut client = Connection::tcp(("127.0.0.1", port)).expect("a connection");
    client.command(&["GET", "key"]).expect("GET");
}

#[test]
fn a_program_ends_with_its_input() {
    let (mut program, _) = Program::start("127.0.0.1:1");
    program.input = None;
    let end = Instant::now() + Duration::from_secs(10);
    while program.child.try_wait().expect("its state").is_none() {
        assert!(Instant::now() < end, "it runs on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn certificates_are_written_and_nonsense_is_told_the_usage() {
    let folder = Folder::new();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quickcache-testing"));
        command.args(words).output().expect("the program")
    };
    let path = folder.path().to_str().expect("a path of UTF-8");
    assert!(run(&["certificates", path]).status.success());
    for (name, head) in [
        ("ca.pem", "CERTIFICATE"),
        ("server.pem", "CERTIFICATE"),
        ("key.pem", "PRIVATE KEY"),
    ] {
        let text = std::fs::read_to_string(folder.path().join(name)).expect("a file");
        assert!(
            text.starts_with(&format!("-----BEGIN {head}-----")),
            "{text}"
        );
    }
    let verify = |check: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-CAfile", "ca.pem"]).args(check);
        let done = openssl.arg("server.pem").current_dir(folder.path());
        done.output().expect("openssl").status.success()
    };
    assert!(verify(&["-verify_ip", "127.0.0.1"]) && verify(&["-verify_hostname", "localhost"]));
    assert!(!verify(&["-verify_hostname", "elsewhere.example"]));
    let refused = run(&["prox"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).starts_with("quickcache-testing proxy HOST:PORT")
    );
    let refused = run(&["proxy", "nowhere"]);
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("`nowhere` is no HOST:PORT"));
}

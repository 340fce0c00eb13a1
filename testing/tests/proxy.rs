//! The proxy: each way in which its network fails, seen from both ends.
#![cfg(unix)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use quickcache_testing::{Connection, Direction, Door, Error, Flips, Mode, Port, Proxy, Server};

const SOON: Duration = Duration::from_millis(40);
const LATE: Duration = Duration::from_secs(10);

/// A proxy with both ends in the test's hands.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
}

impl Line {
    fn new() -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let proxy = Proxy::to(listener.local_addr().expect("its address"));
        Line { proxy, listener }
    }

    /// The client's end and the server's end of a connection through the proxy.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.address()).expect("the proxy");
        let (server, _) = self.listener.accept().expect("the proxy's connection");
        for end in [&client, &server] {
            end.set_read_timeout(Some(LATE)).expect("a limit");
            end.set_nodelay(true).expect("no delay");
        }
        (client, server)
    }
}

fn send(mut to: &TcpStream, text: &str) {
    to.write_all(text.as_bytes()).expect("to send");
}

/// So many bytes, waited for.
fn take(mut from: &TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).expect("bytes that must arrive");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the next read says: `Ok(0)` is an end.
fn next(mut from: &TcpStream) -> Result<usize, ErrorKind> {
    from.read(&mut [0; 100]).map_err(|error| error.kind())
}

fn nothing_arrives(from: &TcpStream) {
    from.set_read_timeout(Some(SOON)).expect("a limit");
    assert!(matches!(
        next(from),
        Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)
    ));
    from.set_read_timeout(Some(LATE)).expect("a limit");
}

#[test]
fn bytes_pass_both_ways_and_are_counted() {
    let line = Line::new();
    let (client, server) = line.connect();
    send(&client, "question");
    assert_eq!(take(&server, 8), "question");
    send(&server, "answer");
    assert_eq!(take(&client, 6), "answer");
    let counts = line.proxy.counts();
    assert_eq!((counts.accepted, counts.live), (1, 1));
    assert_eq!((counts.to_server, counts.to_client), (8, 6));
    drop(client);
    assert_eq!(next(&server), Ok(0));
    drop(server);
    let end = Instant::now() + LATE;
    while line.proxy.counts().live > 0 {
        assert!(
            Instant::now() < end,
            "a connection that has ended is still there"
        );
    }
    assert_eq!(line.proxy.counts().accepted, 1);
}

#[test]
fn much_passes_also_to_a_receiver_that_is_slow() {
    let line = Line::new();
    let (client, server) = line.connect();
    let sent: Vec<u8> = (0..12_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let copy = sent.clone();
    let sender = std::thread::spawn(move || {
        (&client).write_all(&copy).expect("to send");
        client
    });
    std::thread::sleep(SOON); // by now every buffer on the way is full
    let mut arrived = vec![0; sent.len()];
    (&server)
        .read_exact(&mut arrived)
        .expect("all that was sent");
    assert!(arrived == sent);
    drop(sender.join().expect("the sender"));
}

#[test]
fn a_delay_takes_its_time_and_lets_as_much_through() {
    let line = Line::new();
    let (client, server) = line.connect();
    line.proxy
        .set(Mode::Delay(Direction::ToServer, Duration::from_millis(150)));
    let start = Instant::now();
    for _ in 0..20 {
        send(&client, "x");
        std::thread::sleep(Duration::from_millis(2));
    }
    take(&server, 1);
    assert!(start.elapsed() >= Duration::from_millis(150));
    take(&server, 19);
    // One after another they would take 3 s.
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    let start = Instant::now();
    send(&server, "y");
    take(&client, 1);
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );

    send(&client, "z");
    line.proxy
        .set(Mode::Delay(Direction::Both, Duration::from_secs(60)));
    nothing_arrives(&server);
    line.proxy.heal();
    assert_eq!(take(&server, 1), "z");
}

#[test]
fn a_black_hole_holds_back_one_way_or_both_and_gives_it_all_when_it_heals() {
    let line = Line::new();
    let (client, server) = line.connect();
    for (direction, passes_up, passes_down) in [
        (Direction::ToServer, false, true),
        (Direction::ToClient, true, false),
        (Direction::Both, false, false),
    ] {
        assert_eq!(line.proxy.set(Mode::Blackhole(direction)), 1);
        send(&client, "up");
        send(&server, "down");
        for (passes, end, text) in [(passes_up, &server, "up"), (passes_down, &client, "down")] {
            if passes {
                assert_eq!(take(end, text.len()), text);
            } else {
                nothing_arrives(end);
            }
        }
        line.proxy.heal();
        for (passes, end, text) in [(passes_up, &server, "up"), (passes_down, &client, "down")] {
            if !passes {
                assert_eq!(take(end, text.len()), text);
            }
        }
    }
    line.proxy.set(Mode::Blackhole(Direction::Both));
    drop(client);
    nothing_arrives(&server); // not even that it is gone
    line.proxy.heal();
    assert_eq!(next(&server), Ok(0));
}

#[test]
fn what_was_sent_before_a_mode_was_set_is_not_under_it() {
    let line = Line::new();
    let (client, server) = line.connect();
    for _ in 0..50 {
        send(&client, "before");
        line.proxy.set(Mode::Blackhole(Direction::Both));
        send(&client, "after");
        assert_eq!(take(&server, 6), "before");
        line.proxy.set(Mode::Pass);
        assert_eq!(take(&server, 5), "after");
    }
}

#[test]
fn a_door_that_is_not_open_turns_new_connections_away_and_leaves_the_others() {
    let line = Line::new();
    let (client, server) = line.connect();
    line.proxy.door(Door::Closed);
    let refused = TcpStream::connect(line.proxy.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    line.proxy.door(Door::Reset);
    let reset = TcpStream::connect(line.proxy.address()).and_then(|mut end| {
        end.set_read_timeout(Some(LATE))?;
        end.read(&mut [0])
    });
    assert_eq!(
        reset.expect_err("a reset").kind(),
        ErrorKind::ConnectionReset
    );
    send(&client, "alive");
    assert_eq!(take(&server, 5), "alive");
    assert_eq!(line.proxy.counts().accepted, 1);
    line.proxy.door(Door::Closed);
    line.proxy.heal();
    line.connect();
    assert_eq!(line.proxy.counts().accepted, 2);
}

#[test]
fn connections_are_reset_or_closed_to_both_sides() {
    let line = Line::new();
    let (client, server) = line.connect();
    let (other, far) = line.connect();
    assert_eq!(line.proxy.reset(), 2);
    for end in [&client, &server, &other, &far] {
        assert_eq!(next(end), Err(ErrorKind::ConnectionReset));
    }
    let (client, server) = line.connect();
    assert_eq!(line.proxy.drop_connections(), 1);
    assert_eq!((next(&client), next(&server)), (Ok(0), Ok(0)));
    assert_eq!(line.proxy.counts().live, 0);
}

#[test]
fn a_reset_goes_through_to_the_other_side() {
    let line = Line::new();
    let (client, server) = line.connect();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("SO_LINGER");
    drop(client);
    assert_eq!(next(&server), Err(ErrorKind::ConnectionReset));
}

#[test]
fn half_a_connection_ends_and_the_other_half_goes_on() {
    let line = Line::new();
    let (client, server) = line.connect();
    line.proxy.half_close(Direction::ToClient);
    assert_eq!(next(&client), Ok(0));
    send(&client, "still");
    assert_eq!(take(&server, 5), "still");

    let (client, server) = line.connect();
    assert_eq!(line.proxy.half_close(Direction::ToServer), 2);
    assert_eq!(next(&server), Ok(0));
    send(&server, "still");
    assert_eq!(take(&client, 5), "still");
}

#[test]
fn bytes_drip() {
    let line = Line::new();
    let (client, server) = line.connect();
    line.proxy.set(Mode::Drip {
        direction: Direction::ToClient,
        bytes: 2,
        every: Duration::from_millis(10),
    });
    let start = Instant::now();
    send(&server, "0123456789");
    let (mut arrived, mut reads) = (Vec::new(), 0);
    while arrived.len() < 10 {
        let mut part = [0; 10];
        let count = (&client).read(&mut part).expect("drops");
        arrived.extend_from_slice(&part[..count]);
        reads += 1;
    }
    assert_eq!(arrived, b"0123456789");
    assert!(reads > 1 && start.elapsed() >= Duration::from_millis(40));
    send(&client, "0123456789");
    assert_eq!(next(&server), Ok(10));
}

#[test]
fn bits_flip() {
    let line = Line::new();
    let (client, server) = line.connect();
    let zeros = "\0".repeat(400);
    line.proxy
        .set(Mode::Corrupt(Direction::ToServer, Flips::EveryNth(3)));
    send(&client, &zeros[..7]);
    assert_eq!(take(&server, 7).as_bytes(), [0, 0, 1, 0, 0, 2, 0]);
    send(&client, &zeros[..2]);
    assert_eq!(take(&server, 2).as_bytes(), [0, 4]);
    send(&server, &zeros[..7]);
    assert_eq!(take(&client, 7).as_bytes(), [0; 7]);

    let flipped = |seed| {
        let flips = Flips::Random { seed, one_in: 10 };
        line.proxy.set(Mode::Corrupt(Direction::Both, flips));
        send(&client, &zeros);
        let mut bytes = vec![0; 400];
        (&server).read_exact(&mut bytes).expect("corrupt bytes");
        bytes
    };
    let first = flipped(7);
    let hits = first.iter().filter(|&&byte| byte != 0).count();
    assert!((20..60).contains(&hits), "{hits} of 400");
    assert!(first.iter().all(|byte| byte.count_ones() <= 1));
    assert_eq!(flipped(7), first);
    assert_ne!(flipped(8), first);
}

#[test]
fn a_connection_is_cut_after_so_many_bytes() {
    let line = Line::new();
    let (client, server) = line.connect();
    send(&server, "not counted");
    assert_eq!(take(&client, 11), "not counted");
    line.proxy.set(Mode::Cut(Direction::ToClient, 5));
    send(&client, "a long question");
    assert_eq!(take(&server, 15), "a long question");
    send(&server, "012");
    assert_eq!(take(&client, 3), "012");
    send(&server, "3456789");
    assert_eq!(take(&client, 2), "34");
    assert_eq!((next(&client), next(&server)), (Ok(0), Ok(0)));
    // Each connection has its own count.
    let (client, server) = line.connect();
    send(&server, "0123456789");
    assert_eq!(take(&client, 5), "01234");
    assert_eq!(next(&client), Ok(0));
    // Of none at all the first is the one too many.
    line.proxy.set(Mode::Cut(Direction::ToServer, 0));
    let (client, server) = line.connect();
    send(&server, "hello");
    assert_eq!(take(&client, 5), "hello");
    send(&client, "x");
    assert_eq!(next(&server), Ok(0));
}

#[test]
fn only_connections_that_have_sent_a_string_are_concerned() {
    let line = Line::new();
    let (subscriber, messages) = line.connect();
    let (reader, values) = line.connect();
    send(&subscriber, "SUBS");
    take(&messages, 4);
    send(&subscriber, "CRIBE clears");
    send(&reader, "GET key");
    assert_eq!(take(&messages, 12), "CRIBE clears");
    let subscribers = line.proxy.only(b"SUBSCRIBE");
    assert_eq!(subscribers.set(Mode::Blackhole(Direction::ToClient)), 1);
    send(&messages, "clear");
    send(&values, "value");
    assert_eq!(take(&reader, 5), "value");
    nothing_arrives(&subscriber);
    // Who comes later is one of them from the moment on when it sends it, those bytes included.
    subscribers.set(Mode::Corrupt(Direction::ToServer, Flips::EveryNth(1)));
    let (late, far) = line.connect();
    send(&late, "PING");
    assert_eq!(take(&far, 4), "PING");
    send(&late, "SUBSCRIBE");
    assert_ne!(take(&far, 9), "SUBSCRIBE");
    drop((late, far));
    // What was said last decides, and what is said to all is said to these too.
    assert_eq!(
        line.proxy
            .only(b"GET")
            .set(Mode::Blackhole(Direction::Both)),
        1
    );
    line.proxy.set(Mode::Pass);
    assert_eq!(take(&subscriber, 5), "clear");
    send(&values, "value");
    assert_eq!(take(&reader, 5), "value");
    assert_eq!(subscribers.half_close(Direction::ToClient), 1);
    assert_eq!(next(&subscriber), Ok(0));
    assert_eq!(subscribers.reset(), 1);
    assert_eq!(next(&messages), Err(ErrorKind::ConnectionReset));
    assert_eq!(line.proxy.only(b"GET").drop_connections(), 1);
    assert_eq!(next(&reader), Ok(0));
}

#[test]
fn all_but_those_that_have_sent_a_string_are_concerned() {
    let line = Line::new();
    let (subscriber, messages) = line.connect();
    let (reader, values) = line.connect();
    let (silent, _far) = line.connect();
    send(&subscriber, "SUBSCRIBE");
    send(&reader, "GET key");
    assert_eq!(take(&messages, 9) + &take(&values, 7), "SUBSCRIBEGET key");
    let others = line.proxy.all_but(b"SUBSCRIBE");
    assert_eq!(others.set(Mode::Blackhole(Direction::ToClient)), 2);
    send(&messages, "clear");
    send(&values, "value");
    assert_eq!(take(&subscriber, 5), "clear");
    nothing_arrives(&reader);
    // Until they send it.
    send(&reader, "SUBSCRIBE");
    assert_eq!(take(&reader, 5), "value");
    assert_eq!(others.reset(), 1);
    assert_eq!(next(&silent), Err(ErrorKind::ConnectionReset));
    assert_eq!(line.proxy.counts().live, 2);
}

#[test]
fn where_connections_lead_is_counted_also_when_others_lead_elsewhere() {
    let line = Line::new();
    let first = line.listener.local_addr().expect("its address");
    let (client, server) = line.connect();
    send(&client, "GET");
    assert_eq!(take(&server, 3), "GET");
    let nobody = Port::free().address();
    line.proxy.aim(nobody);
    assert_eq!(line.proxy.only(b"").to(first), 1);
    assert_eq!(line.proxy.only(b"GET").to(first), 1);
    assert_eq!(line.proxy.all_but(b"GET").to(first), 0);
    assert_eq!(line.proxy.only(b"").to(nobody), 0);
}

#[test]
fn a_server_that_is_not_there_is_a_reset_and_the_proxy_can_aim_elsewhere() {
    let line = Line::new();
    let nobody = Port::free();
    line.proxy.aim(nobody.address());
    let client = TcpStream::connect(line.proxy.address()).expect("the proxy");
    client.set_read_timeout(Some(LATE)).expect("a limit");
    assert_eq!(next(&client), Err(ErrorKind::ConnectionReset));
    line.proxy
        .aim(line.listener.local_addr().expect("its address"));
    let (client, server) = line.connect();
    send(&client, "found");
    assert_eq!(take(&server, 5), "found");
}

#[test]
fn a_proxy_ends_at_once_whatever_it_is_doing() {
    let forever = Duration::from_secs(3600);
    let modes = [
        Mode::Pass,
        Mode::Delay(Direction::Both, forever),
        Mode::Blackhole(Direction::Both),
        Mode::Drip {
            direction: Direction::Both,
            bytes: 1,
            every: forever,
        },
    ];
    for mode in modes {
        let line = Line::new();
        line.proxy.set(mode.clone());
        let (client, server) = line.connect();
        client.set_nonblocking(true).expect("no waiting");
        // More than every buffer takes, and nobody reads.
        while (&client).write(&[0; 64 << 10]).is_ok() {}
        send(&server, "x");
        let start = Instant::now();
        drop(line.proxy);
        assert!(start.elapsed() < Duration::from_secs(1), "{mode:?}");
    }
}

#[test]
fn a_real_server_behind_it_is_cut_off_and_is_there_again() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut client = Connection::tcp(proxy.address()).expect("a connection");
    client.command(&["SET", "key", "1"]).expect("SET");
    proxy.set(Mode::Blackhole(Direction::ToClient));
    client.patience(SOON).expect("a limit");
    assert!(matches!(
        client.command(&["INCR", "key"]),
        Err(Error::Io(_))
    ));
    // It was executed, and nobody was told.
    assert_eq!(server.command(&["GET", "key"]).expect("GET").text(), "2");
    proxy.heal();
    client.patience(LATE).expect("a limit");
    assert_eq!(client.receive().expect("the late answer").int(), 2);
    server.kill();
    assert!(client.command(&["GET", "key"]).is_err());
    server.restart();
    let mut client = Connection::tcp(proxy.address()).expect("a connection");
    client.command(&["PING"]).expect("PING");
}

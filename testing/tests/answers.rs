//! Answers in the server's place: to the right commands, in the right order, in RESP 2 and 3.
#![cfg(unix)]

use std::io::Write;
use std::time::Duration;

use quickcache_testing::resp::command;
use quickcache_testing::{Answer, Connection, Door, Error, Proxy, Reply, Server};

fn behind_a_proxy() -> (Server, Proxy, Connection) {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Connection::tcp(proxy.address()).expect("a connection");
    (server, proxy, client)
}

fn error(reply: Result<Reply, Error>) -> String {
    match reply {
        Err(Error::Reply(text)) => text,
        other => panic!("an error was expected, not {other:?}"),
    }
}

#[test]
fn a_command_is_answered_in_the_servers_place_as_often_as_said() {
    let (server, proxy, mut client) = behind_a_proxy();
    client.command(&["SET", "key", "1"]).expect("SET");
    proxy.answer(Answer::to("set", Answer::READONLY).times(2));
    proxy.answer(Answer::to("GET", Answer::LOADING));
    let readonly = "READONLY You can't write against a read only replica.";
    assert_eq!(error(client.command(&["SET", "key", "2"])), readonly);
    let mut other = Connection::tcp(proxy.address()).expect("a connection");
    assert_eq!(error(other.command(&["SET", "key", "3"])), readonly);
    assert!(error(client.command(&["GET", "key"])).starts_with("LOADING "));
    assert_eq!(server.command(&["GET", "key"]).expect("GET").text(), "1");
    client.command(&["SET", "key", "4"]).expect("the third SET");
    assert!(error(client.command(&["GET", "key"])).starts_with("LOADING "));
    proxy.answer_no_more();
    assert_eq!(client.command(&["GET", "key"]).expect("GET").text(), "4");
    assert_eq!(proxy.counts().answered, 4);
}

#[test]
fn several_words_and_no_word_can_be_asked_for() {
    let (_server, proxy, mut client) = behind_a_proxy();
    proxy.answer(Answer::to("CLIENT ID", ":-5\r\n"));
    client
        .command(&["CLIENT", "SETNAME", "me"])
        .expect("SETNAME");
    assert_eq!(
        client.command(&["client", "id"]).expect("ID"),
        Reply::Int(-5)
    );
    proxy.answer(Answer::to("", Answer::NOAUTH));
    assert_eq!(
        client.command(&["CLIENT", "ID"]).expect("ID"),
        Reply::Int(-5)
    );
    assert!(error(client.command(&["PING"])).starts_with("NOAUTH"));
    client.send(b"PING\r\n").expect("a command by hand");
    assert!(matches!(client.receive(), Ok(Reply::Error(_))));
}

#[test]
fn an_executed_command_has_had_its_effect() {
    let (server, proxy, mut client) = behind_a_proxy();
    proxy.answer(Answer::to("INCR", Answer::OOM).executed());
    assert!(error(client.command(&["INCR", "key"])).starts_with("OOM"));
    assert_eq!(server.command(&["GET", "key"]).expect("GET").text(), "1");
    assert_eq!(client.command(&["GET", "key"]).expect("GET").text(), "1");
}

#[test]
fn a_pipeline_gets_its_answers_in_order() {
    let (_server, proxy, mut client) = behind_a_proxy();
    proxy.answer(Answer::to("GET", "$6\r\nforged\r\n"));
    proxy.answer(Answer::to("INCR", ":-1\r\n").executed());
    let words: [&[&str]; 8] = [
        &["SET", "a", "1"],
        &["GET", "a"],
        &["INCR", "a"],
        &["STRLEN", "a"],
        &["GET", "a"],
        &["GET", "b"],
        &["INCR", "a"],
        &["MGET", "a", "b"],
    ];
    let pipeline: Vec<u8> = words.iter().flat_map(|words| command(words)).collect();
    let forged = Reply::Bulk(b"forged".to_vec());
    // Whole, and cut anywhere: what comes in pieces is put together.
    for piece in [pipeline.len(), 1, 7, 30] {
        for part in pipeline.chunks(piece) {
            client.send(part).expect("a part of a pipeline");
            proxy.counts();
        }
        let mut next = || client.receive().expect("a reply");
        assert_eq!(next(), Reply::Simple("OK".into()));
        assert_eq!(next(), forged);
        assert_eq!(next(), Reply::Int(-1));
        assert_eq!(next(), Reply::Int(1));
        assert_eq!((next(), next()), (forged.clone(), forged.clone()));
        assert_eq!(next(), Reply::Int(-1));
        let last = Reply::Array(vec![Reply::Bulk(b"3".to_vec()), Reply::Nil]);
        assert_eq!(next(), last);
    }
}

#[test]
fn half_a_reply_garbage_and_nothing_are_given_as_they_are() {
    let (_server, proxy, mut client) = behind_a_proxy();
    proxy.answer(Answer::to("GET", "$10\r\nhalf").and_close());
    match client.command(&["GET", "key"]) {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        other => panic!("half a reply: {other:?}"),
    }
    let mut client = Connection::tcp(proxy.address()).expect("a connection");
    proxy.answer(Answer::to("ECHO", [0xff, 0, 0x16]));
    assert!(matches!(
        client.command(&["ECHO", "x"]),
        Err(Error::Malformed(_))
    ));
    let mut client = Connection::tcp(proxy.address()).expect("a connection");
    client.patience(Duration::from_millis(40)).expect("a limit");
    proxy.answer(Answer::to("TTL", ""));
    assert!(matches!(client.command(&["TTL", "key"]), Err(Error::Io(_))));
    // Nothing is not a reply that comes late: the next one is the next command's.
    assert_eq!(client.command(&["PING"]).expect("PING").text(), "PONG");
}

#[test]
fn messages_are_no_replies() {
    let (server, proxy, mut client) = behind_a_proxy();
    proxy.answer(Answer::to("PING", "+FORGED\r\n").executed());
    let forged = Reply::Simple("FORGED".into());
    client
        .send(&command(&["SUBSCRIBE", "one", "two"]))
        .expect("to send");
    assert_eq!(
        client.receive().expect("the first").items()[1].text(),
        "one"
    );
    assert_eq!(
        client.receive().expect("the second").items()[1].text(),
        "two"
    );
    server.command(&["PUBLISH", "one", "x"]).expect("PUBLISH");
    assert_eq!(client.receive().expect("a message").items()[2].text(), "x");
    client.send(&command(&["PING"])).expect("to send");
    assert_eq!(client.receive().expect("PING"), forged);

    let mut client = Connection::tcp(proxy.address()).expect("a connection");
    client.command(&["HELLO", "3"]).expect("HELLO");
    client
        .command(&["CLIENT", "TRACKING", "ON"])
        .expect("TRACKING");
    client.command(&["GET", "key"]).expect("GET");
    client
        .send(&command(&["SUBSCRIBE", "one"]))
        .expect("to send");
    assert!(matches!(client.receive(), Ok(Reply::Push(_))));
    server.command(&["SET", "key", "1"]).expect("SET");
    server.command(&["PUBLISH", "one", "y"]).expect("PUBLISH");
    client.send(&command(&["PING"])).expect("to send");
    assert_eq!(
        client.receive().expect("a message").items()[0].text(),
        "invalidate"
    );
    assert_eq!(client.receive().expect("a message").items()[2].text(), "y");
    assert_eq!(client.receive().expect("PING"), forged);
    assert_eq!(client.command(&["GET", "key"]).expect("GET").text(), "1");
}

#[test]
fn a_message_between_a_command_and_its_reply_is_not_taken_for_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let proxy = Proxy::to(listener.local_addr().expect("its address"));
    let mut client = Connection::tcp(proxy.address()).expect("a connection");
    let (mut server, _) = listener.accept().expect("the proxy's connection");
    proxy.answer(Answer::to("PING", "+FORGED\r\n").executed());
    client
        .send(&command(&["SUBSCRIBE", "one"]))
        .expect("to send");
    client.send(&command(&["PING"])).expect("to send");
    proxy.counts(); // it has seen both
    for reply in [
        command(&["subscribe", "one"]),
        command(&["message", "one", "x"]),
        command(&["pong", ""]),
        command(&["message", "one", "y"]),
    ] {
        server.write_all(&reply).expect("to answer");
    }
    let mut next = || client.receive().expect("a reply");
    assert_eq!(next().items()[0].text(), "subscribe");
    assert_eq!(next().items()[2].text(), "x");
    assert_eq!(next(), Reply::Simple("FORGED".into()));
    assert_eq!(next().items()[2].text(), "y");
}

#[test]
fn a_value_of_many_packets_goes_through_while_commands_are_watched() {
    let (_server, proxy, mut client) = behind_a_proxy();
    proxy.answer(Answer::to("DEL", Answer::NOAUTH));
    let value = "v".repeat(3_000_000);
    client.command(&["SET", "key", &value]).expect("SET");
    assert!(client.command(&["GET", "key"]).expect("GET").text() == value);
    proxy.answer(Answer::to("GET", "$-1\r\n").executed());
    assert_eq!(client.command(&["GET", "key"]).expect("GET"), Reply::Nil);
    assert_eq!(
        client.command(&["STRLEN", "key"]).expect("STRLEN"),
        Reply::Int(3_000_000)
    );
}

#[test]
fn one_connection_too_many_is_told_so() {
    let (_server, proxy, mut client) = behind_a_proxy();
    client.command(&["PING"]).expect("PING");
    proxy.door(Door::Greet(Answer::MAXCLIENTS.to_vec()));
    let mut late = Connection::tcp(proxy.address()).expect("a connection");
    let told = Reply::Error("ERR max number of clients reached".into());
    assert_eq!(late.receive().expect("what it is told"), told);
    assert!(late.receive().is_err());
    client.command(&["PING"]).expect("PING");
}

//! The commands and replies of one connection, kept in step so that an answer takes the place of the right reply, also in a pipeline. What
//! is not RESP goes through as it is.

use std::collections::VecDeque;

use super::answer::{self, Answer};
use crate::resp::{self, Reply};

/// A line longer than this is no inline command.
const LONGEST_LINE: usize = 64 << 10;

#[derive(Default)]
pub struct Dialogue {
    commands: Stream,
    replies: Stream,
    /// What the client waits for, in order.
    expected: VecDeque<Expected>,
    /// Messages may come that no command asked for, as arrays (RESP 2).
    subscribed: bool,
    /// It is not RESP, or replies cannot be told apart any more.
    raw: bool,
    /// The connection ends behind what was given out.
    pub closes: bool,
    /// How many replies were replaced.
    pub answered: u64,
}

/// What has come in one direction and is not a whole command or reply yet.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// So many of them have been passed on already.
    passed: usize,
}

enum Expected {
    Reply,
    /// So many confirmations.
    Subscriptions(usize),
    /// The server's reply, which is replaced.
    Replaced(Answer),
    /// The server has not seen the command.
    Invented(Answer),
}

impl Dialogue {
    /// What of these bytes of the client goes to the server. [`Dialogue::invented`] is to be asked next.
    pub fn client_sent(&mut self, bytes: &[u8], answers: &mut Vec<Answer>) -> Vec<u8> {
        self.commands.bytes.extend_from_slice(bytes);
        let mut out = Vec::new();
        while !self.raw {
            match first_command(&self.commands.bytes) {
                Ok(Some((words, length))) => {
                    let begun = self.commands.passed > 0;
                    let rest = self.commands.take(length);
                    // One that has gone to the server in part is the server's.
                    let found = match begun || words.is_empty() {
                        true => None,
                        false => answer::find(answers, &words),
                    };
                    match found {
                        Some(answer) if !answer.executed => {
                            self.expected.push_back(Expected::Invented(answer));
                            continue;
                        }
                        Some(answer) => self.expected.push_back(Expected::Replaced(answer)),
                        None => self.expect(&words),
                    }
                    out.extend(rest);
                }
                Ok(None) => {
                    if answers.is_empty() || self.commands.passed > 0 {
                        out.extend(self.commands.pass());
                    }
                    return out;
                }
                Err(()) => self.raw = true,
            }
        }
        out.extend(self.commands.flush());
        out
    }

    /// What of these bytes of the server goes to the client, with the answers that are due behind them.
    pub fn server_sent(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.replies.bytes.extend_from_slice(bytes);
        let mut out = Vec::new();
        while !self.raw {
            match resp::parse(&self.replies.bytes) {
                Ok(Some((reply, length))) => {
                    let begun = self.replies.passed > 0;
                    let rest = self.replies.take(length);
                    match self.answers(&reply) {
                        Some(answer) if !begun => self.give(answer, &mut out),
                        _ => out.extend(rest),
                    }
                    out.extend(self.invented());
                }
                Ok(None) => {
                    let replaced = matches!(self.expected.front(), Some(Expected::Replaced(_)));
                    if !replaced || self.replies.passed > 0 {
                        out.extend(self.replies.pass());
                    }
                    return out;
                }
                Err(_) => self.raw = true,
            }
        }
        out.extend(self.replies.flush());
        out
    }

    /// The answers that are due now without a reply of the server.
    pub fn invented(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        // Not in the middle of a message.
        while self.replies.passed == 0 && !self.closes {
            match self.expected.pop_front() {
                Some(Expected::Invented(answer)) => self.give(answer, &mut out),
                Some(other) => {
                    self.expected.push_front(other);
                    break;
                }
                None => break,
            }
        }
        out
    }

    /// The client has ended: what is left of it for the server.
    pub fn client_ended(&mut self) -> Vec<u8> {
        self.commands.flush()
    }

    /// The server has ended: what is left of it for the client.
    pub fn server_ended(&mut self) -> Vec<u8> {
        self.replies.flush()
    }

    fn give(&mut self, answer: Answer, out: &mut Vec<u8>) {
        out.extend_from_slice(&answer.reply);
        self.closes |= answer.closes;
        self.answered += 1;
    }

    fn expect(&mut self, words: &[Vec<u8>]) {
        let is = |place: usize, names: &[&str]| {
            words.get(place).is_some_and(|word| {
                (names.iter()).any(|name| name.as_bytes().eq_ignore_ascii_case(word))
            })
        };
        let expected = if words.is_empty() {
            return;
        } else if is(0, &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"]) {
            self.subscribed = true;
            Expected::Subscriptions(words.len() - 1)
        } else if is(0, &["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]) {
            // Without a name there is one for each subscription; those behind the first are let through.
            Expected::Subscriptions((words.len() - 1).max(1))
        } else {
            // From here on replies do not follow commands.
            self.raw |=
                is(0, &["MONITOR", "SYNC", "PSYNC"]) || (is(0, &["CLIENT"]) && is(1, &["REPLY"]));
            Expected::Reply
        };
        self.expected.push_back(expected);
    }

    /// The server has sent this: whether something else is answered in its place.
    fn answers(&mut self, reply: &Reply) -> Option<Answer> {
        let confirms = match reply {
            Reply::Push(items) => Some(items),
            Reply::Array(items) if self.subscribed => Some(items),
            _ => None,
        }
        .and_then(|items| match items.first() {
            Some(Reply::Bulk(kind)) => Some(kind),
            _ => None,
        });
        let kind = confirms.map(Vec::as_slice).unwrap_or_default();
        let message = matches!(kind, b"message" | b"pmessage" | b"smessage");
        let confirmation = kind.ends_with(b"subscribe");
        match self.expected.front_mut() {
            Some(Expected::Subscriptions(left))
                if confirmation || matches!(reply, Reply::Error(_)) =>
            {
                *left = left.saturating_sub(1);
                if *left == 0 || !confirmation {
                    self.expected.pop_front();
                }
                return None;
            }
            _ if message || confirmation || matches!(reply, Reply::Push(_)) => return None,
            _ => {}
        }
        match self.expected.pop_front() {
            Some(Expected::Replaced(answer)) => Some(answer),
            _ => None,
        }
    }
}

impl Stream {
    /// The first `length` bytes are a whole one: what of it has not been passed on yet.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.bytes[self.passed.min(length)..length].to_vec();
        self.bytes.drain(..length);
        self.passed = 0;
        rest
    }

    /// What has not been passed on yet, of one that is not whole.
    fn pass(&mut self) -> Vec<u8> {
        let rest = self.bytes[self.passed..].to_vec();
        self.passed = self.bytes.len();
        rest
    }

    /// What has not been passed on yet, and nothing is kept.
    fn flush(&mut self) -> Vec<u8> {
        let rest = self.pass();
        *self = Stream::default();
        rest
    }
}

type Words = Vec<Vec<u8>>;

/// The words of the first command and its length; none while it is not all there, an error if it is no command.
fn first_command(bytes: &[u8]) -> Result<Option<(Words, usize)>, ()> {
    match bytes.first() {
        None => Ok(None),
        Some(b'*') => match resp::parse(bytes) {
            Ok(Some((Reply::Array(items), length))) => {
                let words = items.into_iter().map(|item| match item {
                    Reply::Bulk(word) => Ok(word),
                    _ => Err(()),
                });
                Ok(Some((words.collect::<Result<_, ()>>()?, length)))
            }
            Ok(Some((Reply::Nil, length))) => Ok(Some((Vec::new(), length))),
            Ok(None) => Ok(None),
            _ => Err(()),
        },
        // A line by hand, as PING.
        Some(letter) if letter.is_ascii_alphabetic() || b"\r\n".contains(letter) => {
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let words = bytes[..end].split(u8::is_ascii_whitespace);
                    let words = words.filter(|word| !word.is_empty()).map(<[u8]>::to_vec);
                    Ok(Some((words.collect(), end + 1)))
                }
                None if bytes.len() > LONGEST_LINE => Err(()),
                None => Ok(None),
            }
        }
        Some(_) => Err(()),
    }
}

//! Replies as they come over the wire, piece by piece: the second version of the protocol, which is what a server speaks with whoever does not
//! ask for another. What is too large to be ours is not kept: it is as if nothing were there. (The parser of the `redis` crate keeps whatever
//! it is sent, and took a tenth of what an async call costs.)

use std::io::{self, Read};
use std::mem;

use redis::Value;

use crate::entry;

/// The largest string that is kept: an entry, and what is before it in its record.
const LARGEST: usize = entry::LARGEST + 4096;

/// The most elements of an array, and how deep arrays are within each other.
const MOST: usize = 1 << 20;
const DEEPEST: usize = 16;

/// The longest line: an error, a number.
const LONGEST: usize = 64 << 10;

/// What is read at once, at least, and what is kept to read into.
const CHUNK: usize = 16 << 10;
const KEPT: usize = 256 << 10;

/// The replies of one connection.
#[derive(Default)]
pub struct Replies {
    buffer: Vec<u8>,
    /// What of the buffer has come, and is not read yet.
    start: usize,
    end: usize,
    /// The arrays that have begun, and how many elements each lacks.
    arrays: Vec<(Vec<Value>, usize)>,
    /// How many bytes to come are left out.
    skipped: usize,
}

enum Step {
    Value(Value),
    /// An array has begun, or what is left out.
    Goes,
    /// So many bytes are needed for the next step.
    Needs(usize),
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it sends {what}"))
}

impl Replies {
    /// The next reply. If that takes too long what has come of it is kept.
    pub fn next(&mut self, mut source: impl Read) -> io::Result<Value> {
        loop {
            if self.skipped > 0 {
                let some = self.skipped.min(self.end - self.start);
                self.start += some;
                self.skipped -= some;
                if self.skipped > 0 {
                    self.fill(&mut source, 1)?;
                } else if let Some(reply) = self.add(Value::Nil) {
                    return Ok(reply);
                }
                continue;
            }
            match self.step()? {
                Step::Value(value) => {
                    if let Some(reply) = self.add(value) {
                        return Ok(reply);
                    }
                }
                Step::Goes => {}
                Step::Needs(bytes) => self.fill(&mut source, bytes)?,
            }
        }
    }

    /// Whether nothing has come that was not read.
    pub fn is_empty(&self) -> bool {
        self.start == self.end && self.arrays.is_empty() && self.skipped == 0
    }

    fn step(&mut self) -> io::Result<Step> {
        let bytes = &self.buffer[self.start..self.end];
        let Some(line_end) = bytes.iter().position(|byte| *byte == b'\n') else {
            if bytes.len() > LONGEST {
                return Err(wrong("a line that does not end"));
            }
            return Ok(Step::Needs(bytes.len() + 1));
        };
        let next = line_end + 1;
        let Some((kind, text)) = bytes[..line_end]
            .strip_suffix(b"\r")
            .and_then(<[u8]>::split_first)
        else {
            return Err(wrong("an empty line"));
        };
        let step = match kind {
            b'+' if text == b"OK" => Step::Value(Value::Okay),
            b'+' => Step::Value(Value::SimpleString(
                String::from_utf8_lossy(text).into_owned(),
            )),
            b'-' => {
                let error = redis::parse_redis_value(&bytes[..next]);
                Step::Value(error.map_err(|_| wrong("an error that is none"))?)
            }
            b':' => Step::Value(Value::Int(number(text)?)),
            b'$' => match length(text)? {
                None => Step::Value(Value::Nil),
                Some(length) if length > LARGEST => {
                    self.skipped = length + 2;
                    Step::Goes
                }
                Some(length) => {
                    let whole = next + length + 2;
                    let Some(string) = bytes.get(next..whole) else {
                        return Ok(Step::Needs(whole));
                    };
                    let Some(string) = string.strip_suffix(b"\r\n") else {
                        return Err(wrong("a string of another length"));
                    };
                    let string = Value::BulkString(string.to_vec());
                    self.start += whole;
                    return Ok(Step::Value(string));
                }
            },
            b'*' => match length(text)? {
                None => Step::Value(Value::Nil),
                Some(0) => Step::Value(Value::Array(Vec::new())),
                Some(many) if many > MOST || self.arrays.len() == DEEPEST => {
                    return Err(wrong("an array that is too large"));
                }
                Some(many) => {
                    self.arrays.push((Vec::with_capacity(many.min(512)), many));
                    Step::Goes
                }
            },
            _ => return Err(wrong("what is no reply")),
        };
        self.start += next;
        Ok(step)
    }

    /// Where a value belongs; if to nothing else, it is the reply.
    fn add(&mut self, mut value: Value) -> Option<Value> {
        loop {
            let Some((array, lacking)) = self.arrays.last_mut() else {
                return Some(value);
            };
            array.push(value);
            *lacking -= 1;
            if *lacking > 0 {
                return None;
            }
            value = Value::Array(mem::take(array));
            self.arrays.pop();
        }
    }

    /// Reads some, so that there may be as many as are needed.
    fn fill(&mut self, source: &mut impl Read, needed: usize) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT {
                self.buffer = Vec::new();
            }
        }
        let room = needed.max(self.end - self.start + CHUNK);
        if self.buffer.len() < self.start + room {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() < room {
                self.buffer.resize(room, 0);
            }
        }
        loop {
            match source.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    let ended = "it has ended the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended));
                }
                Ok(read) => {
                    self.end += read;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn number(text: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("a number that is none"))
}

/// `None`: there is nothing.
fn length(text: &[u8]) -> io::Result<Option<usize>> {
    match number(text)? {
        -1 => Ok(None),
        length => usize::try_from(length)
            .map(Some)
            .map_err(|_| wrong("a length that is none")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that come in pieces of these lengths, with a timeout between them.
    struct Pieces<'a>(&'a [u8], Vec<usize>, bool);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let most = self.1.pop().unwrap_or(usize::MAX);
            let some = most.min(buffer.len()).min(self.0.len());
            buffer[..some].copy_from_slice(&self.0[..some]);
            self.0 = &self.0[some..];
            Ok(some)
        }
    }

    fn read(replies: &mut Replies, pieces: &mut Pieces<'_>) -> io::Result<Value> {
        loop {
            match replies.next(&mut *pieces) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                reply => return reply,
            }
        }
    }

    /// What a server sends.
    fn sent() -> impl Strategy<Value = Vec<u8>> {
        let bulk = |bytes: Vec<u8>| {
            let head = format!("${}\r\n", bytes.len()).into_bytes();
            [head, bytes, b"\r\n".to_vec()].concat()
        };
        let leaf = prop_oneof![
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            Just(b"*0\r\n".to_vec()),
            Just(b"+OK\r\n".to_vec()),
            "[a-zA-Z ]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
            "[A-Z]{1,9}( [a-z ]{0,20})?".prop_map(|text| format!("-{text}\r\n").into_bytes()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(bulk),
            Just(bulk(vec![b'x'; 40_000])),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop::collection::vec(inner, 1..6).prop_map(|all| {
                let head = format!("*{}\r\n", all.len()).into_bytes();
                [head, all.concat()].concat()
            })
        })
    }

    proptest! {
        #[test]
        fn replies_are_read_as_the_redis_crate_reads_them(
            all in prop::collection::vec(sent(), 1..5),
            lengths in prop::collection::vec(1_usize..200, 0..200),
        ) {
            let bytes = all.concat();
            let mut pieces = Pieces(&bytes, lengths, false);
            let mut replies = Replies::default();
            for one in &all {
                let expected = redis::parse_redis_value(one).expect("a reply");
                prop_assert_eq!(read(&mut replies, &mut pieces).expect("a reply"), expected);
            }
            prop_assert!(replies.is_empty());
            let ended = read(&mut replies, &mut pieces).unwrap_err();
            prop_assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
        }

        #[test]
        fn whatever_comes_is_a_reply_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut pieces = Pieces(&bytes, Vec::new(), false);
            let mut replies = Replies::default();
            while read(&mut replies, &mut pieces).is_ok() {}
        }
    }

    #[test]
    fn what_is_too_large_is_left_out_and_not_kept() {
        let large = LARGEST + 1;
        let head = format!("*3\r\n$1\r\na\r\n${large}\r\n");
        let bytes = [head.as_bytes(), &vec![b'x'; large], b"\r\n:7\r\n+next\r\n"].concat();
        let mut pieces = Pieces(&bytes, Vec::new(), false);
        let mut replies = Replies::default();
        assert_eq!(
            read(&mut replies, &mut pieces).expect("a reply"),
            Value::Array(vec![
                Value::BulkString(b"a".to_vec()),
                Value::Nil,
                Value::Int(7)
            ])
        );
        assert!(replies.buffer.len() <= KEPT);
        assert_eq!(
            read(&mut replies, &mut pieces).expect("a reply"),
            Value::SimpleString("next".to_owned())
        );
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let deep = b"*1\r\n".repeat(DEEPEST + 1);
        for bytes in [
            &b"x\r\n"[..],
            b"\r\n",
            b"\n",
            b":\r\n",
            b":1x\r\n",
            b"$-2\r\n",
            b"$99999999999999999999\r\n",
            b"$3\r\nabcd\r\n",
            b"*1048577\r\n",
            &deep,
            &vec![b'+'; LONGEST + CHUNK],
        ] {
            let mut pieces = Pieces(bytes, Vec::new(), false);
            let error = read(&mut Replies::default(), &mut pieces).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }
}

//! RESP 2 and 3, as far as tests need it: replies are read, commands are written. No connection lives here.

use crate::error::{Error, Result};

/// What a server answers. A set of RESP 3 is an array, a verbatim string is a bulk, attributes are left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Simple(String),
    /// The error's text, its code first.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// What nobody asked for: messages and invalidations of RESP 3.
    Push(Vec<Reply>),
    Double(f64),
    Bool(bool),
}

impl Reply {
    /// The number that this is. Panics if it is none.
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    /// The text that this is. Panics if it is none.
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) => text.clone(),
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// The elements of the array (or push) that this is. Panics if it is none.
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) | Reply::Push(items) => items,
            other => panic!("an array was expected, not {other:?}"),
        }
    }
}

/// A command as clients send it: an array of bulk strings.
pub fn command<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first reply in `bytes` and how many bytes it takes; `None` while it is not all there.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    let mut reader = Reader { bytes, at: 0 };
    Ok(reader.reply(0)?.map(|reply| (reply, reader.at)))
}

/// Deeper replies and longer strings no server sends: what says so is something else than RESP.
const DEEPEST: usize = 32;
const LONGEST: i64 = 512 << 20;

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// `None` goes up as "not all there".
macro_rules! there {
    ($read:expr) => {
        match $read? {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

impl Reader<'_> {
    fn reply(&mut self, depth: usize) -> Result<Option<Reply>> {
        if depth > DEEPEST {
            return Err(Error::Malformed("arrays nested too deeply"));
        }
        let Some(&kind) = self.bytes.get(self.at) else {
            return Ok(None);
        };
        if !b"+-:$*_,#(!=%~>|".contains(&kind) {
            return Err(Error::Malformed("a reply of no kind"));
        }
        self.at += 1;
        let line = there!(self.line());
        Ok(Some(match kind {
            b'+' | b'(' => Reply::Simple(line),
            b'-' => Reply::Error(line),
            b':' => Reply::Int(number(&line)?),
            b',' => Reply::Double(
                line.parse()
                    .map_err(|_| Error::Malformed("a double that is none"))?,
            ),
            b'#' => Reply::Bool(line == "t"),
            b'_' => Reply::Nil,
            b'$' | b'=' | b'!' => {
                let length = number(&line)?;
                if length < 0 {
                    return Ok(Some(Reply::Nil));
                }
                let bytes = there!(self.bulk(length));
                match kind {
                    b'!' => Reply::Error(String::from_utf8_lossy(&bytes).into_owned()),
                    // "txt:" stands before the text.
                    b'=' => Reply::Bulk(bytes.get(4..).unwrap_or_default().to_vec()),
                    _ => Reply::Bulk(bytes),
                }
            }
            b'%' | b'|' => {
                let mut pairs = Vec::new();
                for _ in 0..number(&line)? {
                    let name = there!(self.reply(depth + 1));
                    pairs.push((name, there!(self.reply(depth + 1))));
                }
                if kind == b'|' {
                    there!(self.reply(depth + 1))
                } else {
                    Reply::Map(pairs)
                }
            }
            _ => {
                let count = number(&line)?;
                if count < 0 {
                    return Ok(Some(Reply::Nil));
                }
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(there!(self.reply(depth + 1)));
                }
                match kind {
                    b'>' => Reply::Push(items),
                    _ => Reply::Array(items),
                }
            }
        }))
    }

    fn line(&mut self) -> Result<Option<String>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        self.at += end + 2;
        Ok(Some(String::from_utf8_lossy(&rest[..end]).into_owned()))
    }

    fn bulk(&mut self, length: i64) -> Result<Option<Vec<u8>>> {
        if length > LONGEST {
            return Err(Error::Malformed("a string longer than any server's"));
        }
        let end = self.at + length as usize;
        match self.bytes.get(end..end + 2) {
            None => Ok(None),
            Some(b"\r\n") => {
                let bytes = self.bytes[self.at..end].to_vec();
                self.at = end + 2;
                Ok(Some(bytes))
            }
            Some(_) => Err(Error::Malformed("a string that does not end at its length")),
        }
    }
}

fn number(line: &str) -> Result<i64> {
    line.parse()
        .map_err(|_| Error::Malformed("a number that is none"))
}

//! What can go wrong when a test speaks to a server.

use std::fmt;
use std::io;

/// A command that got no good answer.
#[derive(Debug)]
pub enum Error {
    /// The connection could not be made, broke, or was silent for longer than its patience.
    Io(io::Error),
    /// The server answered with this error, its code first: `WRONGTYPE Operation against ..`.
    Reply(String),
    /// What arrived is not RESP.
    Malformed(&'static str),
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(out, "no answer from the server: {error}"),
            Error::Reply(text) => write!(out, "the server answered: {text}"),
            Error::Malformed(what) => write!(out, "the server's answer is not RESP: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

//! A connection that tests speak to servers by. It shares no code with the library under test, so that both cannot be wrong alike.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::resp::{self, Reply};

/// How long a connection waits for an answer, unless [`Connection::patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// A blocking connection to a server, for what one command is not enough: transactions, subscriptions, pipelines.
pub struct Connection {
    stream: Stream,
    arrived: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Over TCP, for example to a [`Proxy`](crate::Proxy).
    pub fn tcp(address: impl ToSocketAddrs) -> Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Connection::over(Stream::Tcp(stream))
    }

    /// Over a Unix socket.
    pub fn unix(path: &Path) -> Result<Connection> {
        Connection::over(Stream::Unix(UnixStream::connect(path)?))
    }

    fn over(stream: Stream) -> Result<Connection> {
        let mut connection = Connection {
            stream,
            arrived: Vec::new(),
        };
        connection.patience(PATIENCE)?;
        Ok(connection)
    }

    /// How long to wait for an answer, or for room to send: an [`Error::Io`] comes after that.
    pub fn patience(&mut self, patience: Duration) -> Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
            }
        }
        Ok(())
    }

    /// How many leases there are, in the namespace `qc`. (A function's own key has 16 random bytes, of which the first may be any.)
    pub fn leases(&mut self) -> Result<i64> {
        const COUNT: &str = r"
local n = 0
for _, key in ipairs(redis.call('KEYS', 'qc:*')) do
  local held = redis.call('TYPE', key).ok == 'string' and redis.call('GET', key) or ''
  if #held == 50 and string.sub(held, 1, 1) == 'L' then n = n + 1 end
end
return n";
        Ok(self.command(&["EVAL", COUNT, "0"])?.int())
    }

    /// One command and its reply; an error that the server answers is an [`Error::Reply`].
    pub fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Reply> {
        self.send(&resp::command(words))?;
        match self.receive()? {
            Reply::Error(text) => Err(Error::Reply(text)),
            reply => Ok(reply),
        }
    }

    /// Sends these bytes, whatever they are. Commands are made by [`resp::command`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes)?,
            Stream::Unix(stream) => stream.write_all(bytes)?,
        }
        Ok(())
    }

    /// The next reply, or message; errors that the server answers are replies here.
    pub fn receive(&mut self) -> Result<Reply> {
        loop {
            if let Some((reply, length)) = resp::parse(&self.arrived)? {
                self.arrived.drain(..length);
                return Ok(reply);
            }
            let mut part = [0; 16 << 10];
            let count = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut part)?,
                Stream::Unix(stream) => stream.read(&mut part)?,
            };
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.arrived.extend_from_slice(&part[..count]);
        }
    }
}

//! One blocking connection: bytes out, replies in, and never longer than until a given moment, however slowly the bytes come.
//! (The blocking connection of the `redis` crate has a timeout for each read only.) How it comes about is in `socket` and `tls`.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use redis::Value;
use rustls::ClientConnection;

use super::commands::Commands;
use super::options::{Address, Options};
use super::reply::Replies;
use super::socket::{self, Socket};
use super::tls;

/// How long is waited for what the system has.
const GLANCE: Duration = Duration::from_millis(2);

pub struct Wire {
    stream: Stream,
    replies: Replies,
}

struct Stream {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

/// A socket until a moment: each read and each write is given what is left of the time. TLS may need many of them for one byte.
pub(super) struct Until<'a> {
    pub(super) socket: &'a Socket,
    pub(super) end: Instant,
}

impl Until<'_> {
    /// What is left of the time.
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }

    /// Again, as long as there is time: the system may have waited for less.
    fn again<T>(&self, mut once: impl FnMut(Duration) -> io::Result<T>) -> io::Result<T> {
        loop {
            match once(self.left()?) {
                Err(error) if is_timeout(&error) => {}
                done => return done,
            }
        }
    }
}

/// It has two names.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.again(|left| self.socket.read(buffer, left))
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.again(|left| self.socket.write(bytes, left))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is kept back
    }
}

/// The same for what is said on it.
struct Said<'a> {
    tls: Option<&'a mut ClientConnection>,
    until: Until<'a>,
}

impl Read for Said<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.until.read(buffer),
            Some(tls) => rustls::Stream::new(*tls, &mut self.until).read(buffer),
        }
    }
}

impl Write for Said<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.until.write(bytes),
            Some(tls) => rustls::Stream::new(*tls, &mut self.until).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => rustls::Stream::new(*tls, &mut self.until).flush(),
        }
    }
}

impl Stream {
    fn until(&mut self, end: Instant) -> Said<'_> {
        Said {
            tls: self.tls.as_deref_mut(),
            until: Until {
                socket: &self.socket,
                end,
            },
        }
    }
}

/// Why a connection is of no more use.
#[derive(Debug)]
pub struct Broken(pub String);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken(match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                "it does not answer in time".to_owned()
            }
            _ => error.to_string(),
        })
    }
}

impl Wire {
    /// Connects, without a word to the server yet but those of TLS.
    pub fn connect(address: &Address, options: &Options, end: Instant) -> Result<Wire, Broken> {
        let socket = socket::connect(address, end)?;
        let tls = match (address, &options.tls) {
            (Address::Tcp(host, _), Some(tls)) => {
                Some(Box::new(tls::begin(host, tls, &socket, end)?))
            }
            _ => None,
        };
        Ok(Wire {
            stream: Stream { socket, tls },
            replies: Replies::default(),
        })
    }

    /// Whether it is of use still, when nothing is awaited on it. (With TLS, more than replies may come.)
    pub fn is_quiet(&self) -> bool {
        self.replies.is_empty() && (self.stream.tls.is_some() || self.stream.socket.is_quiet())
    }

    /// Sends commands, and awaits a reply to each. Errors of the server are among the replies.
    pub fn ask(&mut self, commands: &Commands, end: Instant) -> Result<Vec<Value>, Broken> {
        self.send(commands.bytes(), end)?;
        (0..commands.count()).map(|_| self.receive(end)).collect()
    }

    pub fn send(&mut self, bytes: &[u8], end: Instant) -> Result<(), Broken> {
        let mut until = self.stream.until(end);
        until.write_all(bytes)?;
        Ok(until.flush()?)
    }

    /// The next reply.
    pub fn receive(&mut self, end: Instant) -> Result<Value, Broken> {
        Ok(self.replies.next(self.stream.until(end))?)
    }

    /// The next message, if it has come already.
    pub fn glance(&mut self) -> Result<Option<Value>, Broken> {
        let now = Instant::now();
        match self.listen(now)? {
            None if !self.stream.socket.is_empty() => self.listen(now + GLANCE),
            listened => Ok(listened),
        }
    }

    /// Waits until something comes on one of several, or until then.
    pub fn wait_for_any(wires: &[&Wire], end: Instant) -> Result<(), Broken> {
        let sockets: Vec<&Socket> = wires.iter().map(|wire| &wire.stream.socket).collect();
        Ok(socket::wait_for_any(&sockets, end)?)
    }

    /// The next message, or `None` if none comes until then; what has come of one is kept.
    pub fn listen(&mut self, end: Instant) -> Result<Option<Value>, Broken> {
        match self.replies.next(self.stream.until(end)) {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

//! One blocking connection: bytes out, replies in, and never longer than until a given moment, however slowly the bytes come. (The
//! `redis` crate packs commands and parses replies; its own blocking connection has a timeout for each read only.)

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Parser, Pipeline, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::options::{Address, Options};

pub struct Wire {
    stream: Stream,
    parser: Parser,
}

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

/// Each kind of stream does the same.
macro_rules! with {
    ($stream:expr, $tcp:ident => $do:expr) => {
        match $stream {
            Stream::Tcp($tcp) => $do,
            #[cfg(unix)]
            Stream::Unix($tcp) => $do,
            Stream::Tls(tls) => {
                let $tcp = tls.get_ref();
                $do
            }
        }
    };
}

/// A stream until a moment.
struct Until<'a> {
    stream: &'a mut Stream,
    end: Instant,
}

impl Until<'_> {
    /// What is left of the time.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }

    /// TLS reads in order to write, and the other way round.
    fn limit(&self, read: bool) -> io::Result<()> {
        let left = self.left()?;
        let both = matches!(self.stream, Stream::Tls(_));
        with!(&*self.stream, stream => {
            if read || both {
                stream.set_read_timeout(left)?;
            }
            if !read || both {
                stream.set_write_timeout(left)?;
            }
        });
        Ok(())
    }
}

/// A timeout has two names.
fn named<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limit(true)?;
        named(match self.stream {
            Stream::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        })
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit(false)?;
        named(match self.stream {
            Stream::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.limit(false)?;
        named(match self.stream {
            Stream::Tcp(stream) => stream.flush(),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        })
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

impl From<redis::RedisError> for Broken {
    fn from(error: redis::RedisError) -> Self {
        match error.is_timeout() {
            true => io::Error::from(io::ErrorKind::TimedOut).into(),
            false => Broken(error.to_string()),
        }
    }
}

impl Wire {
    /// Connects, without a word to the server yet.
    pub fn connect(address: &Address, options: &Options, end: Instant) -> Result<Wire, Broken> {
        let stream = match address {
            Address::Tcp(host, port) => {
                let tcp = connect(host, *port, end)?;
                tcp.set_nodelay(true)?;
                match options.tls {
                    true => Stream::Tls(Box::new(secure(host, tcp, options)?)),
                    false => Stream::Tcp(tcp),
                }
            }
            #[cfg(unix)]
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            #[cfg(not(unix))]
            Address::Unix(_) => {
                return Err(Broken(
                    "there are no such sockets on this platform".to_owned(),
                ));
            }
        };
        Ok(Wire {
            stream,
            parser: Parser::new(),
        })
    }

    /// The number of its socket, by which the child of a fork closes it.
    #[cfg(unix)]
    pub fn fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsRawFd;
        with!(&self.stream, stream => stream.as_raw_fd())
    }

    /// Sends commands, and awaits a reply to each. Errors of the server are among the replies.
    pub fn ask(&mut self, pipeline: &Pipeline, end: Instant) -> Result<Vec<Value>, Broken> {
        self.send(&pipeline.get_packed_pipeline(), end)?;
        (0..pipeline.len()).map(|_| self.receive(end)).collect()
    }

    pub fn send(&mut self, bytes: &[u8], end: Instant) -> Result<(), Broken> {
        let mut until = Until {
            stream: &mut self.stream,
            end,
        };
        until.write_all(bytes)?;
        Ok(until.flush()?)
    }

    /// The next reply.
    pub fn receive(&mut self, end: Instant) -> Result<Value, Broken> {
        let until = Until {
            stream: &mut self.stream,
            end,
        };
        Ok(self.parser.parse_value(until)?)
    }

    /// The next message, or `None` if none comes until then; what has come of one is kept.
    pub fn listen(&mut self, end: Instant) -> Result<Option<Value>, Broken> {
        let until = Until {
            stream: &mut self.stream,
            end,
        };
        match self.parser.parse_value(until) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn connect(host: &str, port: u16, end: Instant) -> Result<TcpStream, Broken> {
    let mut last = None;
    for address in (host, port).to_socket_addrs()? {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Broken("its name leads nowhere".to_owned()), Broken::from))
}

fn secure(
    host: &str,
    tcp: TcpStream,
    options: &Options,
) -> Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>, Broken> {
    let broken = |error: &dyn std::fmt::Display| Broken(format!("TLS: {error}"));
    let mut roots = rustls::RootCertStore::empty();
    match &options.ca_file {
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).map_err(|error| broken(&error))?;
            for certificate in read {
                let certificate = certificate.map_err(|error| broken(&error))?;
                roots.add(certificate).map_err(|error| broken(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(&error))?;
    let connection =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| broken(&error))?;
    Ok(rustls::StreamOwned::new(connection, tcp))
}

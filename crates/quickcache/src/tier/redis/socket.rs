//! A socket: how one is connected until a given moment, and which of them this process has, for the child of a fork to close.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::{AsRawFd, RawFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::Path;
use std::time::{Duration, Instant};

use super::options::Address;
use super::wire::Broken;

/// What the system waits at least: no time at all means for ever to it.
const LEAST: Duration = Duration::from_micros(100);

pub(super) struct Socket {
    // Before the stream, so that a number is taken off the list before another file can have it.
    #[cfg(unix)]
    _listed: Listed,
    stream: Stream,
    /// How long the system lets a read wait, and a write.
    waits: [Cell<Duration>; 2],
}

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Each kind of stream does the same.
macro_rules! with {
    ($stream:expr, $of:ident => $do:expr) => {
        match $stream {
            Stream::Tcp($of) => $do,
            #[cfg(unix)]
            Stream::Unix($of) => $do,
        }
    };
}

impl Socket {
    fn new(stream: Stream) -> Socket {
        Socket {
            #[cfg(unix)]
            _listed: Listed::new(with!(&stream, stream => stream.as_raw_fd())),
            stream,
            waits: Default::default(),
        }
    }

    /// For how long the system is to let a read or a write wait, which ends `left` from now; `None`: as long as it does already. To say so is a
    /// call of the system, and what ends too early is begun again.
    fn wait(&self, which: usize, left: Duration) -> Option<Duration> {
        let said = &self.waits[which];
        if said.get() <= left && said.get() >= left / 4 * 3 {
            return None;
        }
        said.set((left / 8 * 7).max(LEAST));
        Some(said.get())
    }

    /// Whether it is still open, and nothing has come on it that was not read, as far as that is known without waiting.
    pub(super) fn is_quiet(&self) -> bool {
        #[cfg(unix)]
        {
            use rustix::net::{RecvFlags, recv};
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let peeked = with!(&self.stream, stream => recv(stream, &mut [0; 1], flags));
            matches!(peeked, Err(rustix::io::Errno::AGAIN))
        }
        #[cfg(not(unix))]
        true
    }

    /// Whether there is nothing to be read, not even its end.
    pub(super) fn is_empty(&self) -> bool {
        cfg!(unix) && self.is_quiet()
    }

    /// Reads what there is, waiting so long for it, or less.
    pub(super) fn read(&self, buffer: &mut [u8], left: Duration) -> io::Result<usize> {
        let wait = self.wait(0, left);
        with!(&self.stream, stream => {
            if wait.is_some() {
                stream.set_read_timeout(wait)?;
            }
            let mut stream = stream;
            stream.read(buffer)
        })
    }

    /// Writes what there is room for, waiting so long for that, or less.
    pub(super) fn write(&self, bytes: &[u8], left: Duration) -> io::Result<usize> {
        let wait = self.wait(1, left);
        with!(&self.stream, stream => {
            if wait.is_some() {
                stream.set_write_timeout(wait)?;
            }
            let mut stream = stream;
            stream.write(bytes)
        })
    }
}

/// Waits until there is something to be read from one of them, or until then.
#[cfg(unix)]
pub(super) fn wait_for_any(sockets: &[&Socket], end: Instant) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::os::fd::AsFd;
    let mut fds = Vec::with_capacity(sockets.len());
    for socket in sockets {
        let fd = with!(&socket.stream, stream => stream.as_fd());
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
    }
    let left = end.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Where there is no such call each of them is looked at in turn.
#[cfg(not(unix))]
pub(super) fn wait_for_any(_: &[&Socket], end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    std::thread::sleep(left.min(Duration::from_millis(5)));
    Ok(())
}

/// Connects to an address.
pub(super) fn connect(address: &Address, end: Instant) -> Result<Socket, Broken> {
    let stream = match address {
        Address::Tcp(host, port) => {
            let all: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs()?.collect();
            let tcp = connect_to_one(&all, end)?;
            tcp.set_nodelay(true)?;
            Stream::Tcp(tcp)
        }
        #[cfg(unix)]
        Address::Unix(path) => Stream::Unix(connect_to_path(path, end)?),
        #[cfg(not(unix))]
        Address::Unix(_) => {
            return Err(Broken(
                "there are no such sockets on this platform".to_owned(),
            ));
        }
    };
    Ok(Socket::new(stream))
}

/// Connects to the first of the addresses of a name that can be connected to. None of them takes the time of those behind it.
fn connect_to_one(all: &[SocketAddr], end: Instant) -> Result<TcpStream, Broken> {
    let mut last = None;
    for (at, address) in all.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now()) / (all.len() - at) as u32;
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Broken("its name leads nowhere".to_owned()), Broken::from))
}

/// The system would wait without an end for a server that is stopped and has a full queue.
#[cfg(unix)]
fn connect_to_path(path: &Path, end: Instant) -> Result<UnixStream, Broken> {
    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(io::Error::from)?;
        match connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(Errno::AGAIN) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::AGAIN) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

// ---- forks ----

#[cfg(unix)]
use listed::Listed;
#[cfg(unix)]
pub(super) use listed::{forget, hold};

#[cfg(unix)]
mod listed {
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::sync::Mutex;

    use super::RawFd;
    use crate::tier::store::lock;

    /// The sockets of this process.
    static ALL: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

    /// Keeps a socket on the list.
    pub(in super::super) struct Listed(RawFd);

    impl Listed {
        pub(super) fn new(fd: RawFd) -> Listed {
            lock(&ALL).push(fd);
            Listed(fd)
        }
    }

    impl Drop for Listed {
        fn drop(&mut self) {
            let mut all = lock(&ALL);
            if let Some(at) = all.iter().position(|fd| *fd == self.0) {
                all.swap_remove(at);
            }
        }
    }

    /// The lock of the list, held until this is dropped: for the moment of a fork.
    pub(in super::super) fn hold() -> impl Sized {
        lock(&ALL)
    }

    /// In the child of a fork: closes the sockets, without a word on them. Whatever owns one is the parent's, and is never dropped here.
    pub(in super::super) fn forget() {
        for fd in lock(&ALL).drain(..) {
            // SAFETY: its owner is on the stack of a thread that is not in this process, or was forgotten: nobody closes it twice.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

//! Ports of this machine that nobody else is given while a test has them.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// A port of 127.0.0.1 that is ours until drop, whether somebody listens on it or not.
///
/// A socket is bound to it and never listens: who connects is refused, the system gives the port to nobody who asks for any, and a
/// server that sets SO_REUSEADDR (all do) can bind it. Away from Linux the port is only one that was free a moment ago.
pub struct Port {
    number: u16,
    _held: Option<OwnedFd>,
}

impl Port {
    /// A free one. Panics if there is none.
    pub fn free() -> Port {
        let held = tcp_socket(AddressFamily::INET).expect("a socket, to look for a free port");
        sockopt::set_socket_reuseaddr(&held, true).expect("SO_REUSEADDR, to hold a port");
        rustix::net::bind(&held, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .expect("a free port of 127.0.0.1");
        let bound = rustix::net::getsockname(&held).expect("the number of a port just bound");
        let bound = SocketAddr::try_from(bound).expect("an address of TCP");
        Port {
            number: bound.port(),
            _held: cfg!(target_os = "linux").then_some(held),
        }
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

/// A socket that no process we start inherits.
pub(crate) fn tcp_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let socket = rustix::net::socket_with(
        family,
        SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    #[cfg(not(target_os = "linux"))]
    let socket = {
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        socket
    };
    Ok(socket)
}

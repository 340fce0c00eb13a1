//! What tests of quickcache need around it: real servers that are killed, stopped and started again, and a network that fails in every
//! way that a test asks for. Nothing of the library under test is used here.
//!
//! ```no_run
//! use quickcache_testing::{Direction, Mode, Proxy, Server};
//!
//! let mut server = Server::start();
//! let proxy = Proxy::to(server.address());
//! // .. a client of redis://{proxy.address()}/0 ..
//! proxy.set(Mode::Blackhole(Direction::Both));
//! proxy.only(b"SUBSCRIBE").reset();
//! proxy.heal();
//! server.restart();
//! ```
#![cfg(unix)]

pub mod resp;

mod certificates;
mod cluster;
mod connection;
mod error;
mod folder;
mod port;
mod process;
mod proxy;
mod sentinel;
mod server;

pub use certificates::Certificates;
pub use cluster::Cluster;
pub use connection::Connection;
pub use error::{Error, Result};
pub use folder::Folder;
pub use port::Port;
pub use process::Process;
pub use proxy::{Answer, Counts, Direction, Door, Flips, Mode, Proxy, Scope};
pub use resp::Reply;
pub use sentinel::Sentinel;
pub use server::{Builder, Server};

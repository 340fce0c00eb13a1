//! What tests of quickcache need around it: real servers that are killed, stopped and started again. Nothing of the library under test is used here.
#![cfg(unix)]

pub mod resp;

mod certificates;
mod connection;
mod error;
mod folder;
mod port;
mod process;
mod server;

pub use certificates::Certificates;
pub use connection::Connection;
pub use error::{Error, Result};
pub use folder::Folder;
pub use port::Port;
pub use process::Process;
pub use resp::Reply;
pub use server::{Builder, Server};

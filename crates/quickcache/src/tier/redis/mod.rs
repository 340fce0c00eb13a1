//! Redis and Valkey: values, leases and clears that several machines share.
//!
//! `record` is what lies under a key, `scripts` what runs inside Redis, `message` what is told of clears. `url` and `options` are what a user
//! says; `commands`, `look` and `reply` are what is said; `socket`, `tls`, `wire` and `link` are one connection, `server` all of them and whether the server can be reached, `lanes` what asks it for
//! callers that may not wait, `agent` the thread that does what no call waits for. `listener` hears the clears of other machines, in a `seat`; `common`
//! says how far that is proven, and `journal` keeps the clears that could not be told; `meeting` is where the processes of a machine find the two. `at` is
//! a function there, and one call of it, `held` the right to store that a call has. Why the promises follow is told in `docs/redis.md`.

mod agent;
mod at;
mod commands;
mod common;
#[cfg(unix)]
mod fork;
mod held;
pub mod journal;
mod lanes;
mod link;
mod listener;
mod look;
mod meeting;
mod message;
mod options;
mod plain;
mod record;
mod reply;
mod scripts;
mod seat;
mod server;
mod socket;
mod tls;
mod url;
mod wire;

pub use at::{AtRedis, Bell, Hit, InPlace, Looked, Soon, Turn, Via};
pub use common::Common;
pub use held::{Held, Past, Released};
pub use link::{Answer, Out, Outcome};
pub use meeting::Meeting;
pub use options::Redis;
pub use record::{Era, Fence};
pub use server::Server;

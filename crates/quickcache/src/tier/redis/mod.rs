//! Redis and Valkey: values, leases and clears that several machines share.
//!
//! `record` is what lies under a key, `scripts` what runs inside Redis, `message` what is told of clears. `url` and `options` are what a user
//! says; `commands`, `look` and `reply` are what is said; `names` is what keys are called; `socket`, `tls`, `wire` and `link` are one connection, `node` all of them to one server and whether it can be
//! reached, `lanes` what asks it for callers that may not wait, `agent` the thread that does what no call waits for. `server` is what was said of it, or of a cluster of them, in which `slots` and
//! `routes` say who has what, and `ways` how to get there. `listener` hears the clears of other machines, in a `seat`; `common` and `heard`
//! say how far that is proven, and `journal` keeps the clears that could not be told; `meeting` is where the processes of a machine find the two. `at` is
//! a function there, and one call of it, `held` the right to store that a call has. Why the promises follow is told in `docs/redis.md`.

mod agent;
mod at;
mod commands;
mod common;
#[cfg(unix)]
mod fork;
mod heard;
mod held;
pub mod journal;
mod lanes;
mod link;
mod listener;
mod look;
mod meeting;
mod message;
mod names;
mod node;
mod options;
mod plain;
mod record;
mod reply;
mod routes;
mod scripts;
mod seat;
mod server;
mod slots;
mod socket;
mod tls;
mod url;
mod ways;
mod wire;

pub use at::{AtRedis, Bell, Hit, InPlace, Looked, Soon, Turn, Via};
pub use common::Common;
pub use held::{Held, Past, Released};
pub use link::{Answer, Out, Outcome};
pub use meeting::Meeting;
pub use node::Node;
pub use options::{Redis, Way};
pub use record::{Era, Fence};
pub use server::Server;

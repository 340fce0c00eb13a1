//! `Redis`, a server that the processes of several machines share, as Python has it: a tier of cached functions (`at`, and `past` for those that
//! raise, whose questions are `ask`, awaited by a `mailbox` on asyncio), and an ordinary cache for whoever has a text key (`cache`).

mod ask;
mod at;
mod cache;
#[cfg(unix)]
mod mailbox;
mod options;
mod past;
mod values;

pub use ask::{Asking, Job};
pub use at::{At, InRedis, Times, Turn, moment};
#[cfg(unix)]
pub use mailbox::Mailbox;
pub use past::Last;

use crate::clock;
use crate::memory::Memory;
use crate::once::Once;
use options::Given;
use pyo3::prelude::*;
use quickcache::entry::Seal;
use quickcache::tier::memory::NEVER;
use quickcache::tier::redis::Server;
use quickcache::tier::store::Shared;
use std::cell::Cell;
use std::time::Duration;

/// A Redis or Valkey server that the processes of several machines share.
///
/// Put it behind a `Memory`: `TieredCache([Memory(timeout=10), Redis('redis://localhost:6379/0', timeout=300)])`; a `Store` may stand between
/// them. Then a clear on one machine reaches the memory of all others within `staleness`, whatever the network does, and while the server
/// cannot be reached functions run as if they were not cached there: nothing that goes wrong with it is raised, but logged once for each
/// time, and counted.
///
/// `url` is `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or `redis+unix:///path?db=0`; with `primary`, the name of
/// a primary, those of the sentinels that know it; with `cluster=True` those of some nodes of a Redis Cluster, by which the others are found (version 7
/// or newer; all users name the same ones). `timeout`, `budget` (the longest that one operation may take) and `staleness` are in
/// seconds, or timedeltas (`timeout=None`: 30 days). `namespace` is what its keys begin with; users of one namespace say the same
/// `staleness`. `connections` is the most of them for this process; `folder` where the processes of this machine meet, if there is no
/// `Store` before it; `ca_file` the certificates (PEM) that vouch for a server with TLS, in place of the system's; `client_cert` two
/// files (PEM), the certificate that is shown to a server that asks for one, and its private key; `sentinel_password` that of the
/// sentinels themselves.
///
/// When the server has been out of reach for `staleness`, memory and store before it serve nothing, since another machine may have cleared
/// what they have. With `serve_while_unreachable=True` they go on until it is back, each value until its timeout, and keep what is computed
/// meanwhile: clears of other machines are then not heard of in an outage, those of this one are in force as ever.
///
/// Values are stored typed. Only with a `secret` (bytes, the same for all users) those that have no typed form are pickled: without it
/// whoever can write to the server could have any code run here. Of several secrets the first seals, and what any of them has
/// sealed is read: put a new one in front, and take the old one away when its values are gone.
#[pyclass(frozen, module = "quickcache", immutable_type, weakref)]
pub struct Redis {
    given: Given,
    pub(crate) server: &'static Server,
    seal: Seal,
    /// Milliseconds; `NEVER` for no expiry.
    pub(crate) timeout: u64,
    /// Not 0: keys of its own beside those of the server, for a test that wants it new.
    pub(crate) beside: u64,
    /// Values that could not be read or written.
    rejected: Cell<u64>,
    unstored: Cell<u64>,
    /// The memory tier of functions that have no other: it holds nothing.
    nothing: Once<Py<Memory>>,
}

// SAFETY: the cells are touched with the GIL held only.
unsafe impl Sync for Redis {}

/// Milliseconds of the clock that deadlines in entries go by.
fn now() -> u64 {
    clock::fake().unwrap_or_else(quickcache::clock::unix)
}

/// The life of what never expires: the server forgets after this what its function was.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a value may live on the server.
fn life(millis: u64) -> Duration {
    match millis {
        NEVER => LONGEST,
        _ => Duration::from_millis(millis).min(LONGEST),
    }
}

impl Redis {
    fn over(given: Given, timeout: u64, beside: u64) -> Redis {
        Redis {
            server: given.redis.server(),
            seal: given.seal(),
            given,
            timeout,
            beside,
            rejected: Cell::new(0),
            unstored: Cell::new(0),
            nothing: Once::new(),
        }
    }

    /// Whether values that have no typed form are pickled.
    fn pickles(&self) -> bool {
        !self.given.secrets.is_empty()
    }

    /// The table of generations, where there is no store before it.
    pub fn table(&self) -> &'static Shared {
        self.given.redis.table()
    }

    /// A memory tier that holds nothing.
    pub fn nothing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Memory>> {
        let nothing = self
            .nothing
            .get_or_try_init(py, || Py::new(py, Memory::of_nothing()))?;
        Ok(nothing.bind(py).clone())
    }

    fn reject(&self) {
        self.rejected.set(self.rejected.get() + 1);
    }
}

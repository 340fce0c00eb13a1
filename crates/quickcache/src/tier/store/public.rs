//! The store as users of the Rust crate name it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Shared, USUAL_BYTES};
use crate::config::Timeout;

/// A cache in a folder that all processes of the machine and of one user share: no server to run, and a clear in one process is
/// seen by all of them at once, their memory tiers included.
///
/// Put it behind a [`Memory`](crate::Memory), for services of several processes. Values are MessagePack by serde, or what the
/// function's `codec` makes of them, so that they may be read by Python too. Linux only: elsewhere its functions run uncached, with one
/// warning.
///
/// What goes wrong with its files never reaches a caller: it is counted in [`Stats`](crate::Stats), logged once, and mended as soon as it can
/// be. As long as the folder cannot be used its functions run uncached, since the clears of other processes would not be seen.
///
/// ```no_run
/// use quickcache::{Memory, QuickCache, Store, TieredCache};
///
/// let cache = QuickCache::new(TieredCache::new([
///     Memory::new().timeout("10s").into(),
///     Store::new().timeout("5m").into(),
/// ]));
/// # drop(cache);
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    path: Option<PathBuf>,
    max_bytes: u64,
    pub(crate) timeout: Option<Duration>,
    shared: Arc<OnceLock<&'static Shared>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// The store in this user's cache folder by the platform's convention (`~/.cache/quickcache`), of 256 MiB.
    #[must_use]
    pub fn new() -> Self {
        Store {
            path: None,
            max_bytes: USUAL_BYTES,
            timeout: None,
            shared: Arc::default(),
        }
    }

    /// The store in a folder of your own, on a local file system. It is made with mode 0700; one that others may write to is refused. A
    /// folder in a file system in memory (`/dev/shm`) spares the disk the writing.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Store {
            path: Some(path.as_ref().to_owned()),
            ..Self::new()
        }
    }

    /// What its values may take in all, at least 64 KiB: the size of their file, which does not grow. A value may take a fifth of it.
    /// Where processes disagree the last one to start is right. Default: 256 MiB.
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Store {
            max_bytes,
            shared: Arc::default(),
            ..self
        }
    }

    /// How long a value may live in this tier, if the function or the cache says nothing else.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = Some(timeout.into().duration("Store", "timeout"));
        self
    }

    pub(crate) fn shared(&self) -> &'static Shared {
        self.shared
            .get_or_init(|| Shared::of(self.path.as_deref(), self.max_bytes))
    }
}

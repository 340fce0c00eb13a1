//! The store: values that all processes of a machine share, in a folder, with no server.
//!
//! Two files. `generations` says what is fresh, and is all that a clear touches; `values-1` holds the values. Each is safe from whoever is
//! killed, stopped or out of disk at any point, since nothing in them is ever half done: see `generations` and `ring`. How the
//! folder is opened, and left when somebody removed it, is told here and in `folder`.

mod at;
#[cfg(not(unix))]
mod elsewhere;
mod files;
#[cfg(unix)]
pub(in crate::tier) mod folder;
#[cfg(unix)]
mod fork;
mod generations;
mod key;
mod later;
mod leases;
#[cfg(unix)]
mod map;
mod opened;
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "nobody proves anything")
)]
pub(in crate::tier) mod proof;
mod public;
mod ring;
mod shim;
mod turns;
mod workers;

use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::clock;

pub use at::{AtStore, Bound, Next, Seen, Watched};
#[cfg(not(unix))]
use elsewhere::{folder, map};
pub use files::random;
pub use generations::{Guard, Stamp, Watch};
pub use key::StoreKey;
use opened::Aside;
pub use opened::{Opened, Place, Spot, Unstored};
pub use proof::Proven;
pub use public::Store;
pub use turns::{Lease, Patience, Turn, Waiting};
#[cfg(feature = "redis")]
pub(in crate::tier) use turns::{sleep, wake};

/// What a store may hold if nothing is said, in bytes: 256 MiB.
pub const USUAL_BYTES: u64 = 256 << 20;

/// Of a store that is a table of generations and nothing else: for tiers behind it.
pub const TABLE_ONLY: u64 = 0;

/// How often a store looks whether its files are still in their folder, in milliseconds, and how long it waits before it tries again
/// to open a folder that it could not.
const LOOK_AFTER: u64 = 100;
const TRY_AGAIN: u64 = 1000;

/// A store as this process has it: one for each folder, for as long as the process lives.
pub struct Shared {
    path: PathBuf,
    max_bytes: u64,
    /// Null when it is not open.
    opened: AtomicPtr<Opened>,
    opening: Mutex<()>,
    /// When to look after it next, or to try again to open it, in milliseconds of the coarse clock.
    next_look: AtomicU64,
    /// When to try again to open values that could not be.
    next_try: AtomicU64,
    /// Something was cleared while it could not be opened. Changed by who has `opening`.
    owes_a_clear: AtomicBool,
    warned: AtomicBool,
    warned_unstored: AtomicBool,
    failures: AtomicU64,
}

/// Every store of this process, none of which is ever dropped.
fn all() -> MutexGuard<'static, Vec<&'static Shared>> {
    static ALL: Mutex<Vec<&'static Shared>> = Mutex::new(Vec::new());
    lock(&ALL)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This user's folder, by the convention of the platform.
pub fn usual_folder() -> PathBuf {
    folder::usual()
}

impl Shared {
    /// The store of a folder (without one: this user's, by the convention of the platform), which is opened when it is first used.
    /// `max_bytes` bounds its values; the table of generations takes 2.3 MiB beside them. The first in a process to name a folder says how
    /// large it is.
    pub fn of(path: Option<&Path>, max_bytes: u64) -> &'static Shared {
        #[cfg(unix)]
        fork::expect();
        // A relative path means what it means now, wherever the process goes later.
        let path = path.map_or_else(folder::usual, |path| {
            std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
        });
        let shared = Self::named(path, max_bytes);
        if shared.max_bytes != max_bytes {
            log::warn!(
                target: "quickcache",
                "the store in {} has max_bytes {}, since it was so named first in this process, and not {max_bytes}",
                shared.path.display(),
                shared.max_bytes
            );
        }
        shared
    }

    fn named(path: PathBuf, max_bytes: u64) -> &'static Shared {
        let mut all = all();
        if let Some(shared) = all.iter().find(|shared| shared.path == path) {
            return shared;
        }
        let shared = Box::leak(Box::new(Shared {
            path,
            max_bytes,
            opened: AtomicPtr::new(ptr::null_mut()),
            opening: Mutex::new(()),
            next_look: AtomicU64::new(0),
            next_try: AtomicU64::new(0),
            owes_a_clear: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            warned_unstored: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        }));
        all.push(shared);
        shared
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its values may take in all.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What went wrong with its files so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The open store, looked after; `None` if it cannot be opened now, which has been counted and, once, logged. Until it can be
    /// no tier may serve a value: what other processes clear would not be seen.
    #[inline]
    pub fn open(&self) -> Option<&'static Opened> {
        // SAFETY: what is put here is leaked.
        let opened = unsafe { self.opened.load(Ordering::Acquire).as_ref() };
        if let Some(opened) = opened
            && clock::coarse() < self.next_look.load(Ordering::Relaxed)
            && !opened.is_replaced()
        {
            return Some(opened);
        }
        self.look_after(opened)
    }

    /// As `open`, for a clear. One that finds no store is made up for as soon as this process can open it, before anybody here is served
    /// from it: everything is cleared then, for which keys it was is not kept.
    pub fn open_to_clear(&self) -> Option<&'static Opened> {
        self.open().or_else(|| {
            let _opening = lock(&self.opening);
            // Another thread may have opened it meanwhile.
            let opened = self.seen();
            if opened.is_none() {
                self.owes_a_clear.store(true, Ordering::Relaxed);
            }
            opened
        })
    }

    /// Whether `open` would do more than look: an async call lets another thread do that.
    pub fn takes_time(&self) -> bool {
        self.seen().is_none() && clock::coarse() >= self.next_look.load(Ordering::Relaxed)
    }

    /// The store as it was last seen, for hits: their guards say whether it still is.
    #[inline(always)]
    pub fn seen(&self) -> Option<&'static Opened> {
        // SAFETY: as above.
        unsafe { self.opened.load(Ordering::Acquire).as_ref() }
    }

    #[cold]
    fn look_after(&self, seen: Option<&'static Opened>) -> Option<&'static Opened> {
        // Said when the lock is released: a logger may run any code, which may use this store.
        let mut said = Vec::new();
        let opening = match self.opening.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poison)) => poison.into_inner(),
            // Another thread looks: what it is about to replace is poisoned first.
            Err(TryLockError::WouldBlock) if seen.is_some_and(|seen| !seen.is_replaced()) => {
                return seen;
            }
            Err(TryLockError::WouldBlock) => lock(&self.opening),
        };
        let opened = self.open_now(&mut said);
        drop(opening);
        for message in said {
            let what = match self.max_bytes {
                TABLE_ONLY => "what this machine's processes know of a Redis, in",
                _ => "the store in",
            };
            log::warn!(target: "quickcache", "{what} {}{message}", self.path.display());
        }
        opened
    }

    fn open_now(&self, said: &mut Vec<String>) -> Option<&'static Opened> {
        let now = clock::coarse();
        let current = self.seen();
        if let Some(opened) = current {
            self.next_look.store(now + LOOK_AFTER, Ordering::Relaxed);
            let too_soon = now < self.next_try.load(Ordering::Relaxed);
            match opened.look_after(self.max_bytes, too_soon) {
                Ok((true, aside)) => {
                    self.set_aside(aside, said);
                    return current;
                }
                Ok((false, _)) => {}
                Err(error) => {
                    self.has_no_values(now, &error, said);
                    return current;
                }
            }
            self.opened.store(ptr::null_mut(), Ordering::Release);
            opened.leave();
        } else if now < self.next_look.load(Ordering::Relaxed) {
            return None;
        }
        match Opened::open(&self.path, self.max_bytes) {
            Ok(opening) => {
                self.set_aside(opening.set_aside, said);
                if let Some(error) = opening.no_values {
                    self.has_no_values(now, &error, said);
                }
                self.next_look.store(now + LOOK_AFTER, Ordering::Relaxed);
                let opened = Box::leak(Box::new(opening.opened));
                if self.owes_a_clear.swap(false, Ordering::Relaxed) {
                    opened.clear_everything();
                }
                self.opened.store(opened, Ordering::Release);
                Some(opened)
            }
            Err(error) => {
                self.next_look.store(now + TRY_AGAIN, Ordering::Relaxed);
                let until = match self.max_bytes {
                    TABLE_ONLY => {
                        "Until it can memory tiers before the Redis are off, and clears are pending: give the Redis another `folder`"
                    }
                    _ => "Functions that use it run uncached until it can",
                };
                self.failed(&format!("it cannot be used: {error}. {until}"), said);
                None
            }
        }
    }

    /// The table is there, and clears work; values are not, for the time being.
    fn has_no_values(&self, now: clock::Millis, error: &std::io::Error, said: &mut Vec<String>) {
        self.next_try.store(now + TRY_AGAIN, Ordering::Relaxed);
        self.failed(&format!("it keeps no values: {error}"), said);
    }

    /// Counts what went wrong with the files, and says it once.
    fn failed(&self, what: &str, said: &mut Vec<String>) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            said.push(format!(": {what}; it is tried again every second"));
        }
    }

    fn set_aside(&self, aside: impl IntoIterator<Item = Aside>, said: &mut Vec<String>) {
        for Aside(name, why) in aside {
            self.failures.fetch_add(1, Ordering::Relaxed);
            said.push(format!(
                ": the file `{name}` was set aside, and another one begun: {why}"
            ));
        }
    }

    /// Counts a value that was not stored, and says so once. Being crowded out is no news.
    pub fn unstored(&self, why: &Unstored) {
        let text = match why {
            Unstored::Crowded => return,
            Unstored::TooLarge(bytes, most) => format!(
                "it takes {bytes} bytes, and this store takes at most {most}, a quarter of what its `max_bytes` leaves: give it more"
            ),
            Unstored::Io(error) => error.to_string(),
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.warned_unstored.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: "quickcache",
                "a value was not stored in {}: {text}",
                self.path.display()
            );
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

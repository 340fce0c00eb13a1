//! What the tests of connections to real servers have in common: machines, functions, and the log.

#![allow(dead_code, unused_macros, unused_imports)] // each test uses a part of it

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use quickcache::{Cleared, Memory, QuickCache, Redis, TieredCache};
use quickcache_testing::{Folder, Reply, Server};

/// Longer than anything takes that does not hang, on a machine that is kept busy.
pub const HANGS: Duration = Duration::from_secs(60);

/// The folder of a machine of its own; statics are never dropped, so it stays until the next process of tests removes it.
pub fn machine() -> PathBuf {
    let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
    folder.path().join("machine")
}

/// A Redis on a machine of its own.
pub fn redis(url: &str) -> Redis {
    Redis::new(url).timeout("5m").folder(machine())
}

pub fn bare(redis: Redis) -> QuickCache {
    QuickCache::new(redis)
}

pub fn with_memory(redis: Redis) -> QuickCache {
    QuickCache::new(TieredCache::new([
        Memory::new().timeout("1h").into(),
        redis.into(),
    ]))
}

/// Each value is another one.
pub fn next() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(1);
    NOW.fetch_add(1, Ordering::SeqCst)
}

/// Functions of one name, each on a cache of its own.
macro_rules! cached {
    ($($CACHE:ident $name:ident = $make:expr;)*) => {$(
        static $CACHE: std::sync::LazyLock<quickcache::QuickCache> = std::sync::LazyLock::new(|| $make);
        #[quickcache::quickcache(cache = $CACHE, name = "f", version = 1, vary_on = [n])]
        #[allow(dead_code)]
        fn $name(n: u64) -> (u64, u64) {
            (n, on_redis::next())
        }
    )*};
}
pub(crate) use cached;

/// Ends those who go on until they are told to, also when the test fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !holds() {
        if Instant::now() > end {
            let lines = LOG.0.lock().unwrap_or_else(PoisonError::into_inner);
            let last = &lines[lines.len().saturating_sub(10)..];
            panic!("it never came about that {what}; the log ends so: {last:#?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Until there is one value. One who did not hear of it in time, or whose fill did not get through, has another one as long as nobody clears it.
pub fn agree(mut holds: impl FnMut() -> bool, clear: impl Fn() -> Cleared) {
    until("all agree", || {
        let agree = holds();
        if !agree {
            let _pending = clear();
        }
        agree
    });
}

// ---- the log ----

struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

/// The process whose log it is.
static LISTENS: AtomicU32 = AtomicU32::new(0);

/// At what the logger panics.
pub static FATAL: Mutex<Option<String>> = Mutex::new(None);

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        // In the child of a fork a thread that is not there may have its locks.
        std::process::id() == LISTENS.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = format!("{}: {}", record.level(), record.args());
        let fatal = FATAL.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fatal = fatal.as_ref().is_some_and(|about| line.contains(about));
        drop(fatal);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
        drop(lines);
        assert!(!is_fatal, "a logger that panics");
    }

    fn flush(&self) {}
}

/// To be called before what is to be logged.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        LISTENS.store(std::process::id(), Ordering::Relaxed);
        log::set_logger(&LOG).expect("the first logger");
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// What was logged about a server, at a level.
pub fn logged(level: &str, about: &str) -> Vec<String> {
    let lines = LOG.0.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = lines
        .iter()
        .filter(|line| line.starts_with(level) && line.contains(about));
    lines.cloned().collect()
}

/// That there was one warning about a server, which says this. (Who is told that it is out of reach may be told before the log.)
pub fn warned_once(about: &str, says: &str) {
    until("there is a warning", || !logged("WARN", about).is_empty());
    let lines = logged("WARN", about);
    assert!(
        lines.len() == 1 && lines[0].contains(says),
        "{says:?} is not all of {lines:?}"
    );
}

//! Configuration in three stages: at creation, by `but_with`, at the function. Each stage overrides the one before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use crate::Error;
use crate::clock::{Clock, FakeClock};
use crate::function::{Function, all_functions, protocol};
use crate::tier::memory::Memory;
use crate::tier::tiered::TieredCache;

/// The timeout of a function that has no other: 5 minutes.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Times are counted in milliseconds.
const LEAST: Duration = Duration::from_millis(1);

/// A cache with its options: what `#[quickcache(cache = ...)]` names.
///
/// Make one for the program, vary it with [`but_with`](Self::but_with) where some functions want other options, and give
/// the last word to the attribute. Without `cache = ...` a function uses [`QuickCache::shared`].
///
/// ```
/// use quickcache::{Memory, QuickCache, quickcache};
/// use std::sync::LazyLock;
///
/// static CACHE: LazyLock<QuickCache> =
///     LazyLock::new(|| QuickCache::builder(Memory::new()).timeout("5m").build());
/// static LASTING: LazyLock<QuickCache> =
///     LazyLock::new(|| CACHE.but_with(|options| options.timeout("1d")));
///
/// #[quickcache(cache = LASTING, vary_on = [city], timeout = "12h")]
/// fn population(city: &str) -> u64 {
///     city.len() as u64
/// }
/// assert_eq!(population("Rome"), 4);
/// ```
#[derive(Clone, Debug)]
pub struct QuickCache {
    pub(crate) config: Arc<Config>,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) tiers: TieredCache,
    pub(crate) timeout: Option<Duration>,
    pub(crate) memoize_timeout: Option<Duration>,
    pub(crate) stale_timeout: Option<Duration>,
    pub(crate) version: Option<u64>,
    pub(crate) secret: Secret,
    pub(crate) patience: Option<Duration>,
    pub(crate) clock: Clock,
    /// Shared by a cache and all that `but_with` made of it: by it their functions are known, too.
    pub(crate) enabled: Arc<AtomicBool>,
}

/// What keys and tags are keyed with. It is never printed.
#[derive(Clone)]
pub(crate) struct Secret(Arc<[u8]>);

impl Secret {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Secret(secret.into())
    }
}

impl std::ops::Deref for Secret {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl QuickCache {
    /// A cache with the default options.
    ///
    /// # Panics
    /// As [`TieredCache::new`].
    #[must_use]
    pub fn new(tiers: impl Into<TieredCache>) -> Self {
        Self::builder(tiers).build()
    }

    /// A cache whose options are given one by one.
    ///
    /// # Panics
    /// As [`TieredCache::new`].
    pub fn builder(tiers: impl Into<TieredCache>) -> Builder {
        Builder(Config {
            tiers: tiers.into(),
            timeout: None,
            memoize_timeout: None,
            stale_timeout: None,
            version: None,
            secret: Secret(Arc::from([])),
            patience: None,
            clock: Clock::System,
            enabled: Arc::new(AtomicBool::new(true)),
        })
    }

    /// The cache of functions that name none: one memory tier for the process, 10,000 entries, 64 MiB, 5 minutes.
    #[must_use]
    pub fn shared() -> &'static QuickCache {
        static SHARED: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new()));
        &SHARED
    }

    /// This cache with some options changed. The tiers stay the same ones, unless they are what is changed.
    #[must_use]
    pub fn but_with(&self, change: impl FnOnce(Builder) -> Builder) -> Self {
        change(Builder(Config::clone(&self.config))).build()
    }

    /// Turns the cache off, or on again: off, its functions run at every call, and store nothing. It is a switch for tests;
    /// the caches that `but_with` made share it. Entries stay.
    pub fn set_enabled(&self, enabled: bool) {
        self.config.enabled.store(enabled, Ordering::SeqCst);
    }

    /// Clears every entry of this cache's functions in the memory tier, in its Redis, and, in every process, in the machine's store: between two
    /// tests, that neither sees what the other computed. Caches of your own keep theirs; other caches that have the same
    /// [`Memory`] or the same [`Store`](crate::Store) lose their entries in it too.
    pub fn clear_everything(&self) {
        self.clear_in_redis();
        let all = all_functions();
        let own = |function: &&&Function| function.is_of(&self.config.enabled);
        // A store that cannot be opened has been logged, and no function uses it; it is cleared when it can.
        if let Some(table) = self.config.tiers.table()
            && let Some(opened) = table.open_to_clear()
        {
            opened.clear_everything();
        }
        let mut machine = protocol().lock();
        for function in all.iter().filter(own) {
            function.end_epoch(&mut machine);
        }
        // Under the same guard: what is computed from here on stays.
        let left = self.config.tiers.memory().map(Memory::forget);
        drop(machine);
        for function in all.iter().filter(own) {
            function.counters.all_cleared();
        }
        drop(all);
        drop(left); // code of users, which may call cached functions
    }
}

impl QuickCache {
    /// Its functions' entries in its Redis. What is pending then is logged by the Redis.
    fn clear_in_redis(&self) {
        // Not under the lock of all functions: it takes time.
        let sites: Vec<_> = all_functions()
            .iter()
            .filter(|function| function.is_of(&self.config.enabled) && function.redis.is_some())
            .map(|function| function.site)
            .collect();
        for site in sites {
            let _pending = site.clear_redis();
        }
    }
}

/// The options of a [`QuickCache`]. Those that name a time take a `Duration`, or text: `"250ms"`, `"10s"`, `"5m"`, `"1h"`, `"7d"`.
#[derive(Clone, Debug)]
#[must_use = "call `build`"]
pub struct Builder(Config);

impl Builder {
    /// Other tiers.
    ///
    /// # Panics
    /// As [`TieredCache::new`].
    pub fn cache(mut self, tiers: impl Into<TieredCache>) -> Self {
        self.0.tiers = tiers.into();
        self
    }

    /// How long a value may live, counted from the start of the execution that made it. Default: 5 minutes. A function that
    /// takes longer than its timeout is not stored, with one warning.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.0.timeout = Some(timeout.into().duration("QuickCache", "timeout"));
        self
    }

    /// How long a value may live in the memory tier, if there are others behind it. Default: `timeout`.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    pub fn memoize_timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.0.memoize_timeout = Some(timeout.into().duration("QuickCache", "memoize_timeout"));
        self
    }

    /// How long beyond its timeout a value may still be served when the function fails, in place of the error: when it returns an `Err`,
    /// where errors are not kept. (A panic is no such failure.) Each tier keeps a value for so long beyond the deadline that the value has there;
    /// a failure never makes it younger, and what was cleared is never served. `refresh`, and a true `skip_arg`, give the error;
    /// `get_cached_value` gives no such value. What is served so is counted in [`Stats::stale_hits`](crate::Stats::stale_hits). Default, and
    /// zero: not at all. More than a hundred years count as a hundred.
    ///
    /// ```
    /// use quickcache::{FakeClock, Memory, QuickCache, quickcache};
    /// use std::sync::LazyLock;
    /// use std::time::Duration;
    ///
    /// static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    /// static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    ///     QuickCache::builder(Memory::new()).timeout("1m").stale_timeout("1h").clock(&CLOCK).build()
    /// });
    ///
    /// #[quickcache(cache = CACHE, vary_on = [])]
    /// fn rates(server_is_up: bool) -> Result<u64, String> {
    ///     if server_is_up { Ok(7) } else { Err("down".to_owned()) }
    /// }
    /// assert_eq!(rates(true), Ok(7));
    /// CLOCK.advance(Duration::from_secs(60 + 3599));
    /// assert_eq!(rates(false), Ok(7));
    /// CLOCK.advance(Duration::from_secs(1));
    /// assert_eq!(rates(false), Err("down".to_owned()));
    /// ```
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond and not zero.
    pub fn stale_timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.0.stale_timeout = Some(timeout.into().stale("QuickCache"));
        self
    }

    /// A number in every key: another version sees none of the entries of this one. Default: none; then the source text of
    /// a function is in its keys, and entries in tiers outside the process end with a change of it.
    pub fn version(mut self, version: u64) -> Self {
        self.0.version = Some(version);
        self
    }

    /// What keys outside the process are keyed with: who does not know it cannot tell which arguments a key stands for, nor
    /// forge a value. Default: empty.
    pub fn secret(mut self, secret: &[u8]) -> Self {
        self.0.secret = Secret::new(secret);
        self
    }

    /// How long a call waits for another call's execution of the same key before it runs the function itself. Default: five
    /// times what the function has taken on average, and at least a second; a minute as long as that is not known.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    pub fn patience(mut self, patience: impl Into<Timeout>) -> Self {
        self.0.patience = Some(patience.into().duration("QuickCache", "patience"));
        self
    }

    /// A clock for tests.
    pub fn clock(mut self, clock: &FakeClock) -> Self {
        self.0.clock = Clock::Fake(clock.clone());
        self
    }

    /// The cache.
    #[must_use]
    pub fn build(self) -> QuickCache {
        QuickCache {
            config: Arc::new(self.0),
        }
    }
}

/// The times of a function, after all stages: for each of its tiers.
pub(crate) struct Times {
    pub(crate) memory: Duration,
    pub(crate) store: Option<Duration>,
    #[cfg(feature = "redis")]
    pub(crate) redis: Option<Duration>,
    pub(crate) outer: Vec<Duration>,
    /// How long beyond its deadline every tier keeps a value, for calls whose function fails.
    pub(crate) stale: Duration,
}

impl Config {
    /// The three are those of the function.
    pub(crate) fn times(
        &self,
        timeout: Option<Duration>,
        memoize_timeout: Option<Duration>,
        stale_timeout: Option<Duration>,
    ) -> Times {
        let (timeout, memoize) = (
            timeout.or(self.timeout),
            memoize_timeout.or(self.memoize_timeout),
        );
        let behind = |of_tier: Option<Duration>| timeout.or(of_tier).unwrap_or(TIMEOUT);
        let store = self.tiers.store().map(|store| behind(store.timeout));
        #[cfg(feature = "redis")]
        let redis = self.tiers.redis().map(|redis| behind(redis.timeout));
        #[cfg(not(feature = "redis"))]
        let redis = None::<Duration>;
        let outer: Vec<Duration> = (self.tiers.outer().iter())
            .map(|tier| behind(tier.timeout))
            .collect();
        let of_memory = self.tiers.memory().and_then(|memory| memory.timeout);
        let memory = if outer.is_empty() && store.is_none() && redis.is_none() {
            // With one tier, `timeout` is that tier's.
            timeout.or(memoize).or(of_memory)
        } else {
            memoize.or(of_memory).or(timeout)
        };
        Times {
            memory: memory.unwrap_or(TIMEOUT),
            store,
            #[cfg(feature = "redis")]
            redis,
            outer,
            stale: stale_timeout.or(self.stale_timeout).unwrap_or_default(),
        }
    }
}

impl Times {
    /// Those behind memory.
    pub(crate) fn behind(&self) -> impl Iterator<Item = &Duration> {
        #[cfg(feature = "redis")]
        let redis = &self.redis;
        #[cfg(not(feature = "redis"))]
        let redis = &None;
        self.store.iter().chain(redis).chain(&self.outer)
    }

    /// How many tiers of ours are between memory and those of users.
    pub(crate) fn own(&self) -> usize {
        self.behind().count() - self.outer.len()
    }
}

/// A span of time: a `Duration`, or text such as `"10s"`.
#[derive(Clone, Debug)]
pub struct Timeout(Result<Duration, Error>);

impl From<Duration> for Timeout {
    fn from(duration: Duration) -> Self {
        Timeout(Ok(duration))
    }
}

impl From<&str> for Timeout {
    fn from(text: &str) -> Self {
        Timeout(parse(text))
    }
}

impl Timeout {
    /// # Panics
    /// If it is not one, or less than a millisecond: the program's text is wrong, and it is wrong at every start of the program.
    pub(crate) fn duration(self, of: &str, option: &str) -> Duration {
        let duration = match self.0 {
            Ok(duration) => duration,
            Err(error) => panic!("{of}: {option}: {error}"),
        };
        if duration < LEAST {
            let how = if duration.is_zero() {
                "zero".to_owned()
            } else {
                format!("{duration:?}")
            };
            let why = if option == "patience" {
                "no call would wait for another"
            } else {
                "nothing would ever be cached (to turn a cache off use `set_enabled(false)`)"
            };
            panic!("{of}: {option} of {how}: {why}; a millisecond is the least");
        }
        duration
    }

    /// As a `stale_timeout`: zero is one, and none at all.
    ///
    /// # Panics
    /// As [`duration`](Self::duration).
    pub(crate) fn stale(self, of: &str) -> Duration {
        /// So that no deadline is beyond what an entry of the memory tier can tell from none.
        const MOST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
        match self.0 {
            Ok(Duration::ZERO) => Duration::ZERO,
            _ => self.duration(of, "stale_timeout").min(MOST),
        }
    }
}

fn parse(text: &str) -> Result<Duration, Error> {
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..end], trimmed[end..].trim());
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "" => return Err(Error::span(text, "has no unit")),
        _ => return Err(Error::span(text, "is not a span of time")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| Error::span(text, "is not a span of time"))?;
    let millis = number
        .checked_mul(factor)
        .ok_or_else(|| Error::span(text, "is too long"))?;
    Ok(Duration::from_millis(millis))
}

/// What `cache = ...` may name: a `QuickCache`, or a static that holds one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `QuickCache`",
    label = "`cache` takes a `QuickCache`, or a static of `LazyLock<QuickCache>`"
)]
pub trait IsCache {
    /// The cache.
    fn cache(&self) -> &QuickCache;
}

impl IsCache for QuickCache {
    fn cache(&self) -> &QuickCache {
        self
    }
}

impl<F: FnOnce() -> QuickCache> IsCache for LazyLock<QuickCache, F> {
    fn cache(&self) -> &QuickCache {
        self
    }
}

impl IsCache for OnceLock<QuickCache> {
    /// The shared cache until the static is set.
    fn cache(&self) -> &QuickCache {
        self.get().unwrap_or_else(|| QuickCache::shared())
    }
}

impl<C: IsCache + ?Sized> IsCache for &C {
    fn cache(&self) -> &QuickCache {
        (**self).cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_a_span_of_time() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse(" 2 h "), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "5",
            "h",
            "-5s",
            "1.5h",
            "5 minutes",
            "999999999999999999d",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_stage_overrides_an_earlier_one() {
        let seconds = Duration::from_secs;
        let memory = Memory::new().timeout("1s");
        assert_eq!(
            QuickCache::new(memory.clone())
                .config
                .times(None, None, None)
                .memory,
            seconds(1)
        );
        let cache = QuickCache::builder(memory).timeout("2s").build();
        assert_eq!(cache.config.times(None, None, None).memory, seconds(2));
        let cache = cache.but_with(|options| options.timeout("3s"));
        assert_eq!(cache.config.times(None, None, None).memory, seconds(3));
        assert_eq!(
            cache.config.times(Some(seconds(4)), None, None).memory,
            seconds(4)
        );
        assert_eq!(
            QuickCache::shared().config.times(None, None, None).memory,
            seconds(300)
        );
    }
}

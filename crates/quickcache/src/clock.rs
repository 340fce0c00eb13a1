//! The clocks: milliseconds of a monotonic clock that is cheap to read, and one for tests that stands still. Besides, the two
//! that stored entries count by: the wall clock, and the one of the machine.
//!
//! A hit reads the coarse clock of the kernel, which costs 6 ns where `Instant` costs 27. It goes in steps of a few
//! milliseconds, and lags further while the processor that moves it is kept busy or, on a virtual machine, is not run. So it
//! decides only about deadlines that are more than `LAG` and the rest of its second away: nearer ones, and those that have
//! come, are decided by the exact clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds of a monotonic clock.
pub type Millis = u64;

/// A deadline that never comes.
pub(crate) const NEVER: Millis = crate::tier::memory::NEVER;

/// How far the coarse clock may be behind before a value would be handed out after its time, in milliseconds.
const LAG: Millis = 1000;

/// What a cache reads the time from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    Fake(FakeClock),
}

impl Clock {
    /// The time to the millisecond.
    pub(crate) fn now(&self) -> Millis {
        match self {
            Clock::System => now(),
            Clock::Fake(fake) => fake.now(),
        }
    }

    /// The time that all processes of the machine have in common.
    pub(crate) fn of_machine(&self) -> Millis {
        match self {
            Clock::System => boot(),
            Clock::Fake(fake) => fake.now(),
        }
    }

    /// Whether a deadline has come.
    #[inline]
    pub(crate) fn passed(&self, deadline: Millis) -> bool {
        match self {
            Clock::System => passed(deadline),
            Clock::Fake(fake) => fake.now() >= deadline,
        }
    }
}

/// By which clock the entries of a function's memory tier are fresh, and until when.
pub(crate) enum Freshness {
    /// Until their deadlines there.
    System,
    Fake(FakeClock),
    /// Until so long before: stale ones are kept until their deadlines.
    Shorter(Clock, Millis),
}

impl Freshness {
    pub(crate) fn new(clock: &Clock, stale: Duration) -> Self {
        match clock {
            _ if !stale.is_zero() => Freshness::Shorter(clock.clone(), millis(stale)),
            Clock::System => Freshness::System,
            Clock::Fake(fake) => Freshness::Fake(fake.clone()),
        }
    }

    /// Whether an entry is fresh no more, by its deadline: what a hit asks.
    #[inline(always)]
    pub(crate) fn passed(&self, deadline: Millis) -> bool {
        match self {
            Freshness::System => passed(deadline),
            other => other.passed_otherwise(deadline),
        }
    }

    #[inline(never)]
    fn passed_otherwise(&self, deadline: Millis) -> bool {
        match self {
            Freshness::System => passed(deadline),
            Freshness::Fake(fake) => fake.now() >= deadline,
            Freshness::Shorter(clock, stale) => clock.passed(deadline.saturating_sub(*stale)),
        }
    }
}

/// When a value computed from `started` on is too old.
pub(crate) fn deadline(started: Millis, timeout: Duration) -> Millis {
    started.saturating_add(millis(timeout))
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> Millis {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

/// The time to the millisecond: for the start of an execution, and wherever 27 ns do not matter.
#[must_use]
pub fn now() -> Millis {
    system::exact()
}

/// The time, some milliseconds or, on a machine that is kept busy, some more behind: for what is done now and then.
#[must_use]
pub(crate) fn coarse() -> Millis {
    system::coarse()
}

/// The wall clock, in milliseconds since 1970: for entries in tiers that leave the machine. Whoever compares it with the clock of
/// another machine may shorten a life by it, never lengthen one.
#[must_use]
pub fn unix() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the machine was started, asleep or not, the same in all of its processes: for entries in its own store.
/// (Where there is no store it is the monotonic one.)
#[must_use]
pub fn boot() -> Millis {
    system::boot()
}

/// Whether a deadline has come: what a hit asks.
#[inline(always)]
#[must_use]
pub fn passed(deadline: Millis) -> bool {
    // The coarse second at its end: a multiplication is cheaper than the division that the milliseconds take.
    system::coarse_second() * 1000 + 999 + LAG >= deadline && passed_exactly(deadline)
}

#[cold]
#[inline(never)]
fn passed_exactly(deadline: Millis) -> bool {
    system::exact() >= deadline
}

/// A clock for tests: it moves only when told to.
///
/// ```
/// use quickcache::{FakeClock, Memory, QuickCache, quickcache};
/// use std::sync::LazyLock;
/// use std::time::Duration;
///
/// static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
/// static CACHE: LazyLock<QuickCache> =
///     LazyLock::new(|| QuickCache::builder(Memory::new()).timeout("10s").clock(&CLOCK).build());
///
/// #[quickcache(cache = CACHE, vary_on = [n])]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// square(4);
/// CLOCK.advance(Duration::from_secs(9));
/// assert_eq!(square::get_cached_value(4), Some(16));
/// CLOCK.advance(Duration::from_secs(1));
/// assert_eq!(square::get_cached_value(4), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct FakeClock(Arc<AtomicU64>);

impl FakeClock {
    /// A clock that stands at its beginning. Its clones show the same time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock on, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX / 2);
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    fn now(&self) -> Millis {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    fn millis(time: Timespec) -> u64 {
        time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
    }

    #[inline(always)]
    pub(super) fn coarse_second() -> u64 {
        clock_gettime(ClockId::MonotonicCoarse).tv_sec as u64
    }

    pub(super) fn coarse() -> u64 {
        millis(clock_gettime(ClockId::MonotonicCoarse))
    }

    pub(super) fn boot() -> u64 {
        millis(clock_gettime(ClockId::Boottime))
    }

    pub(super) fn exact() -> u64 {
        millis(clock_gettime(ClockId::Monotonic))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::LazyLock;
    use std::time::Instant;

    static BIRTH: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(super) fn coarse_second() -> u64 {
        BIRTH.elapsed().as_secs()
    }

    pub(super) fn coarse() -> u64 {
        exact()
    }

    pub(super) fn boot() -> u64 {
        exact()
    }

    pub(super) fn exact() -> u64 {
        BIRTH.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_a_deadline_has_passed_exactly_when_it_has() {
        let started = now();
        let near = deadline(started, Duration::from_millis(30));
        loop {
            // Before and after: however long this thread sleeps in between, the answer lies between them.
            let before = now();
            let has = passed(near);
            let after = now();
            assert!(
                has || before < near,
                "a value would be served after its time"
            );
            assert!(
                !has || after >= near,
                "a value would be dropped before its time"
            );
            if has {
                break;
            }
        }
        assert!(!passed(deadline(now(), Duration::from_secs(60))));
        assert!(!passed(NEVER));
    }
}

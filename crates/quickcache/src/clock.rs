//! The clocks: milliseconds of a monotonic clock that is cheap to read, and one for tests that stands still.
//!
//! A hit reads the coarse clock of the kernel, which goes in steps of a few milliseconds and costs 6 ns where `Instant`
//! costs 27. What it lags behind is taken off every deadline, so that no value is handed out after its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment, in milliseconds of a monotonic clock.
pub(crate) type Millis = u64;

/// A deadline that never comes.
pub(crate) const NEVER: Millis = crate::tier::memory::NEVER;

/// What a cache reads the time from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    Fake(FakeClock),
}

impl Clock {
    /// The time, at most one step late.
    #[inline]
    pub(crate) fn now(&self) -> Millis {
        match self {
            Clock::System => system::now(),
            Clock::Fake(fake) => fake.now(),
        }
    }

    /// The time to the millisecond, for the start of an execution.
    pub(crate) fn exactly(&self) -> Millis {
        match self {
            Clock::System => system::exactly(),
            Clock::Fake(fake) => fake.now(),
        }
    }

    /// When a value computed from `started` on is too old.
    pub(crate) fn deadline(&self, started: Millis, timeout: Duration) -> Millis {
        let step = match self {
            Clock::System => system::step(),
            Clock::Fake(_) => 0,
        };
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(NEVER);
        started.saturating_add(timeout).saturating_sub(step)
    }
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
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};
    use std::sync::LazyLock;

    fn millis(time: Timespec) -> u64 {
        time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
    }

    #[inline]
    pub(super) fn now() -> u64 {
        millis(clock_gettime(ClockId::MonotonicCoarse))
    }

    pub(super) fn exactly() -> u64 {
        millis(clock_gettime(ClockId::Monotonic))
    }

    /// How far `now` can be behind, rounded up, and one for cutting off what is less than a millisecond.
    pub(super) fn step() -> u64 {
        static STEP: LazyLock<u64> = LazyLock::new(|| {
            (clock_getres(ClockId::MonotonicCoarse).tv_nsec as u64).div_ceil(1_000_000) + 1
        });
        *STEP
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::LazyLock;
    use std::time::Instant;

    static BIRTH: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(super) fn now() -> u64 {
        exactly()
    }

    pub(super) fn exactly() -> u64 {
        BIRTH.elapsed().as_millis() as u64
    }

    pub(super) fn step() -> u64 {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_a_deadline_comes_before_the_coarse_clock_can_be_late() {
        let clock = Clock::System;
        let started = clock.exactly();
        let deadline = clock.deadline(started, Duration::from_millis(30));
        loop {
            // The exact time first: however long this thread then sleeps, it was not later than that at this read.
            let exact = clock.exactly();
            if clock.now() >= deadline {
                break;
            }
            assert!(
                exact - started <= 30,
                "a value would be served after its time"
            );
        }
    }
}

//! How long calls took: a histogram of four steps to a doubling, from a microsecond on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A step of a doubling, and how many doublings of a microsecond there are (to 70 s and beyond).
const STEPS: u64 = 4;
const DOUBLINGS: u64 = 27;
pub const BUCKETS: usize = (STEPS * DOUBLINGS) as usize;

/// The least part of a step, in nanoseconds: a step of the first doubling.
const LEAST: u64 = 1000 / STEPS;

/// The bucket of a time.
pub fn bucket(nanos: u64) -> usize {
    let parts = (nanos / LEAST).max(STEPS);
    let doubling = u64::from((parts / STEPS).ilog2());
    let step = (parts >> doubling) - STEPS;
    ((doubling * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The end of a bucket.
fn end(bucket: usize) -> Duration {
    let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    Duration::from_nanos(((STEPS + step + 1) << doubling) * LEAST)
}

/// Counts by bucket.
pub struct Times([u64; BUCKETS]);

impl Default for Times {
    fn default() -> Self {
        Times([0; BUCKETS])
    }
}

impl Times {
    pub fn add(&mut self, counts: &[AtomicU64]) {
        for (sum, count) in self.0.iter_mut().zip(counts) {
            *sum += count.load(Ordering::Relaxed);
        }
    }

    fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// So many of a million took no longer than this.
    pub fn quantile(&self, of_a_million: u64) -> Duration {
        let wanted = (u128::from(self.total()) * u128::from(of_a_million)).div_ceil(1_000_000);
        let mut so_far = 0;
        let at = self.0.iter().position(|count| {
            so_far += u128::from(*count);
            so_far >= wanted
        });
        at.map_or(Duration::ZERO, end)
    }

    /// How many took longer.
    pub fn longer_than(&self, time: Duration) -> u64 {
        let first = bucket(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)) + 1;
        self.0[first.min(BUCKETS)..].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_that_ends_after_it() {
        for nanos in [
            1_000,
            1_249,
            1_250,
            1_999,
            2_000,
            3_000,
            7_999,
            8_000,
            100_000,
            3_000_000_000,
        ] {
            let (time, at) = (Duration::from_nanos(nanos), bucket(nanos));
            assert!(
                end(at) > time && (at == 0 || end(at - 1) <= time),
                "{nanos}"
            );
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}

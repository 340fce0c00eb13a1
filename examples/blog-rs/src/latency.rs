//! Latencies in buckets: sixteen to each power of two of nanoseconds, so a percentile is right to about six per cent.

use std::time::Duration;

const FINE: usize = 16;

#[derive(Clone)]
pub struct Latency {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: vec![0; 64 * FINE],
            count: 0,
        }
    }
}

impl Latency {
    pub fn record(&mut self, passed: Duration) {
        let nanos = (passed.as_nanos() as u64).max(FINE as u64);
        let power = nanos.ilog2() as usize;
        self.buckets[power * FINE + ((nanos >> (power - 4)) as usize & (FINE - 1))] += 1;
        self.count += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.buckets
            .iter_mut()
            .zip(&other.buckets)
            .for_each(|(own, more)| *own += more);
        self.count += other.count;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lower edge of the bucket that holds the percentile; zero if nothing was recorded.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.count as f64 * percent / 100.0).ceil() as u64;
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank && *count > 0 {
                let (power, fine) = (index / FINE, (index % FINE) as u64);
                return Duration::from_nanos((1 << power) + (fine << (power - 4)));
            }
        }
        Duration::ZERO
    }
}

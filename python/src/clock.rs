//! What time it is for deadlines: the engine's clock, or a fake one for as long as a test wants it. The hit path asks the engine's
//! clock itself: while the other one is in use, no call is served there.

use quickcache::clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Milliseconds of the fake clock; `REAL` when there is none.
static FAKE: AtomicU64 = AtomicU64::new(REAL);
const REAL: u64 = u64::MAX;

/// Milliseconds of a monotonic clock.
pub fn now() -> u64 {
    fake().unwrap_or_else(clock::now)
}

/// Whether a deadline has come.
pub fn passed(deadline: u64) -> bool {
    match fake() {
        None => clock::passed(deadline),
        Some(now) => now >= deadline,
    }
}

pub fn fake() -> Option<u64> {
    Some(FAKE.load(Relaxed)).filter(|&now| now != REAL)
}

/// `None`: the engine's clock again.
pub fn set(fake: Option<u64>) {
    FAKE.store(fake.unwrap_or(REAL), Relaxed);
}

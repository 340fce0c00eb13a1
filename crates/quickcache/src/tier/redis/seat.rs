//! Who of a machine's processes listens: whoever has one of two seats, a file that is locked, so that one that dies or is stopped leaves nobody
//! deaf. If nothing is heard for long all the same, those who have them are stopped, and there are more seats, one after the other; whoever has one of
//! those leaves it when the others are back.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::tier::store::{Opened, lock};

/// How many processes of a machine listen.
const SEATS: u32 = 2;

/// And at most, while others are stopped.
const MOST: u32 = 64;

/// The locks of this process, by the numbers of their seats. Only here the files are open, so that the child of a fork can close them.
static SEATED: Mutex<Vec<(u64, File)>> = Mutex::new(Vec::new());

/// Its lock, held until this is dropped: for the moment of a fork.
#[cfg(unix)]
pub(super) fn hold() -> impl Sized {
    lock(&SEATED)
}

/// In the child of a fork: the seats are the parent's.
#[cfg(unix)]
pub(super) fn forget() {
    lock(&SEATED).clear();
}

/// A seat, until it is dropped.
pub(super) struct Seat {
    number: u64,
    at: u32,
}

impl Seat {
    /// The first one that is free of so many.
    pub(super) fn take(opened: &Opened, name: &str, seats: u32) -> Option<Seat> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // From before it is locked until that is known here: for a fork.
        let mut seated = lock(&SEATED);
        for at in 0..seats {
            let Ok(file) = opened.seat(&format!("{name}-{at}")) else {
                continue;
            };
            if file.try_lock().is_ok() {
                let number = COUNT.fetch_add(1, Ordering::Relaxed);
                seated.push((number, file));
                return Some(Seat { number, at });
            }
        }
        None
    }

    /// Whether it is there only while others are silent.
    pub(super) fn is_extra(&self) -> bool {
        self.at >= SEATS
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = lock(&SEATED);
        for (_, file) in seated.extract_if(.., |(number, _)| *number == self.number) {
            // A process that was begun meanwhile may have a copy of it.
            let _ends_with_it = file.unlock();
        }
    }
}

/// For how long nothing has been heard by anybody.
pub(super) struct Silence {
    /// After so long there is one seat more.
    patience: Duration,
    since: Option<Instant>,
}

impl Silence {
    pub(super) fn new(bound: Duration) -> Silence {
        Silence {
            patience: 4 * bound,
            since: None,
        }
    }

    /// How many seats there are now.
    pub(super) fn seats(&mut self, is_proven: bool) -> u32 {
        if is_proven {
            self.since = None;
            return SEATS;
        }
        let silent = self.since.get_or_insert_with(Instant::now).elapsed();
        let more = silent.as_millis() / self.patience.as_millis().max(1);
        u32::try_from(more).map_or(MOST, |more| more.saturating_add(SEATS).min(MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_seats_the_longer_nothing_is_heard() {
        let mut silence = Silence::new(Duration::from_millis(250));
        assert_eq!(silence.seats(false), 2);
        silence.since = Instant::now().checked_sub(Duration::from_millis(1100));
        assert_eq!(silence.seats(false), 3);
        silence.since = Instant::now().checked_sub(Duration::from_millis(3100));
        assert_eq!(silence.seats(false), 5);
        assert_eq!((silence.seats(true), silence.seats(false)), (2, 2));
    }
}

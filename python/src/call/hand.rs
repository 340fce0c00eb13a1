//! What a call knows of its key in the tiers that it shares with others.

use crate::redis::InRedis;
use quickcache::tier::store::Seen;

#[derive(Default)]
pub struct Hand {
    /// In the machine's store, or in its table of generations alone.
    pub seen: Option<Seen>,
    pub redis: InRedis,
}

impl Hand {
    pub fn of(seen: Option<Seen>) -> Hand {
        Hand {
            seen,
            ..Hand::default()
        }
    }

    pub fn generation(&self) -> u64 {
        self.seen.as_ref().map_or(0, Seen::generation)
    }
}

//! What a cached function did so far: plain counters, and the reasons of its last misses.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the cache did for a function, since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Hits in the memory tier.
    pub memory_hits: u64,
    /// Hits in the tiers behind it, in their order.
    pub tier_hits: Vec<u64>,
    /// Calls that the memory tier could not answer.
    pub misses: u64,
    /// Results stored.
    pub fills: u64,
    /// Results not stored: the key was cleared meanwhile, or the function was slower than its timeout.
    pub refused_fills: u64,
    /// Values that were served beyond their timeout, in place of an error: see `stale_timeout`.
    pub stale_hits: u64,
    /// Runs of the function.
    pub executions: u64,
    /// How long they took, together.
    pub compute_time: Duration,
    /// Failures of tiers. None of them reached a caller.
    pub tier_errors: u64,
    /// Values in a tier that were damaged, of another version, or too old: each was a miss.
    pub rejected_values: u64,
    /// Values that no codec could write, so that they are in the memory tier only.
    pub unencodable: u64,
    /// Values that the store did not take: too large for it, or the disk was full. They are in the other tiers only.
    pub unstored: u64,
    /// How long a clear on another machine took to be heard of here, as it was measured last: where there is a Redis, and memory before it.
    pub lag: Option<Duration>,
    /// Entries in the memory tier.
    pub entries: u64,
    /// What they weigh.
    pub bytes: u64,
}

impl Stats {
    /// Hits in all tiers.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.memory_hits + self.tier_hits.iter().sum::<u64>()
    }

    pub(crate) fn add(&mut self, other: &Stats) {
        self.memory_hits += other.memory_hits;
        if self.tier_hits.len() < other.tier_hits.len() {
            self.tier_hits.resize(other.tier_hits.len(), 0);
        }
        self.tier_hits
            .iter_mut()
            .zip(&other.tier_hits)
            .for_each(|(sum, hits)| *sum += hits);
        self.misses += other.misses;
        self.fills += other.fills;
        self.refused_fills += other.refused_fills;
        self.stale_hits += other.stale_hits;
        self.executions += other.executions;
        self.compute_time += other.compute_time;
        self.tier_errors += other.tier_errors;
        self.rejected_values += other.rejected_values;
        self.unencodable += other.unencodable;
        self.unstored += other.unstored;
        self.lag = self.lag.max(other.lag);
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

/// Why a call found nothing in the memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// These arguments were not asked for before, as far as is remembered.
    First,
    /// The entry was too old.
    Expired,
    /// The key, or all of the function, was cleared.
    Cleared,
    /// The last result was not stored: an error, a panic, a clear meanwhile, or too slow.
    NotStored,
    /// Others took its place.
    Evicted,
    /// `skip_arg`, or `refresh`.
    Skipped,
}

/// What is known of the entry of some arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The function, by the name in its keys.
    pub function: String,
    /// The text of the key.
    pub key: String,
    /// What the function varies on, as it was written, and the values.
    pub parts: Vec<(String, String)>,
    /// The fastest tier that holds a value.
    pub tier: Option<String>,
    /// How old the value is in that tier, where it is known.
    pub age: Option<Duration>,
    /// How long it may still live there, where it is known; of a stale one, how long it may still be served if the function fails.
    pub time_left: Option<Duration>,
    /// No tier holds a value that is not too old, but this one would be served if the function failed: see `stale_timeout`.
    pub stale: bool,
    /// Why the last call with these arguments missed, if it is among the last 256 misses of the function.
    pub last_miss: Option<Miss>,
}

/// What is known of a value in a tier.
pub(crate) struct Standing {
    pub(crate) age: Option<Duration>,
    pub(crate) time_left: Option<Duration>,
    pub(crate) stale: bool,
}

impl Explanation {
    /// Whether a tier was found to hold a value that is a hit.
    pub(crate) fn has_fresh(&self) -> bool {
        self.tier.is_some() && !self.stale
    }

    /// A tier holds a value, and no faster one a better.
    pub(crate) fn found(&mut self, tier: &str, standing: Standing) {
        if self.tier.is_some() && standing.stale {
            return;
        }
        self.tier = Some(tier.to_owned());
        (self.age, self.time_left, self.stale) = (standing.age, standing.time_left, standing.stale);
    }
}

/// The counters of one instantiation of a function.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) misses: AtomicU64,
    pub(crate) fills: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) stale_hits: AtomicU64,
    pub(crate) executions: AtomicU64,
    pub(crate) nanos: AtomicU64,
    pub(crate) tier_errors: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unencodable: AtomicU64,
    pub(crate) unstored: AtomicU64,
    pub(crate) tier_hits: Box<[AtomicU64]>,
    events: Mutex<Events>,
}

/// What became of a key beside misses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Stored,
    Cleared,
    /// Every key was.
    AllCleared,
}

/// How many misses of a function are remembered.
const MISSES: usize = 256;

/// The last misses and, apart from them so that they take no miss's place, what was stored and cleared. Each with its turn. A
/// miss only writes itself down; why it was one is found out when somebody asks.
#[derive(Default)]
struct Events {
    turn: u64,
    misses: VecDeque<(u64, u64, Option<Miss>)>,
    others: VecDeque<(u64, u64, Event)>,
}

impl Events {
    fn last_miss(&self, hash: u64) -> Option<Miss> {
        let mut misses = self.misses.iter().rev().filter(|(of, ..)| *of == hash);
        let &(_, turn, known) = misses.next()?;
        let before = misses.next().map_or(0, |&(_, turn, _)| turn);
        Some(known.unwrap_or_else(|| self.why(hash, before, turn)))
    }

    /// Why a key was missed at `turn`, when the miss before it was at `before`, or at 0 if there was none.
    fn why(&self, hash: u64, before: u64, turn: u64) -> Miss {
        let between = |&&(_, at, _): &&(u64, u64, Event)| before < at && at < turn;
        let mut others = self.others.iter().rev().filter(between);
        let mut all_cleared = false;
        let last = others.find(|&&(of, _, event)| {
            all_cleared |= event == Event::AllCleared;
            event != Event::AllCleared && of == hash
        });
        match last.map(|&(.., event)| event) {
            Some(Event::Stored) if !all_cleared => Miss::Evicted,
            Some(_) => Miss::Cleared,
            None if before > 0 => Miss::NotStored,
            None => Miss::First,
        }
    }

    fn turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

fn remember<T>(events: &mut VecDeque<T>, most: usize, event: T) {
    if events.len() == most {
        events.pop_front();
    }
    events.push_back(event);
}

/// One more, of anything.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn new(tiers: usize) -> Self {
        Counters {
            tier_hits: (0..tiers).map(|_| AtomicU64::new(0)).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            tier_hits: self.tier_hits.iter().map(read).collect(),
            misses: read(&self.misses),
            fills: read(&self.fills),
            refused_fills: read(&self.refused),
            stale_hits: read(&self.stale_hits),
            executions: read(&self.executions),
            compute_time: Duration::from_nanos(read(&self.nanos)),
            tier_errors: read(&self.tier_errors),
            rejected_values: read(&self.rejected),
            unencodable: read(&self.unencodable),
            unstored: read(&self.unstored),
            ..Stats::default()
        }
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its lock, held until this is dropped: for the moment of a fork.
    #[cfg(unix)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.events()
    }

    /// A miss; the reason, if it is known already.
    pub(crate) fn missed(&self, hash: u64, known: Option<Miss>) {
        count(&self.misses);
        let mut events = self.events();
        let turn = events.turn();
        remember(&mut events.misses, MISSES, (hash, turn, known));
    }

    pub(crate) fn happened(&self, hash: u64, event: Event) {
        let mut events = self.events();
        let turn = events.turn();
        remember(&mut events.others, 2 * MISSES, (hash, turn, event));
    }

    pub(crate) fn all_cleared(&self) {
        self.happened(0, Event::AllCleared);
    }

    pub(crate) fn last_miss(&self, hash: u64) -> Option<Miss> {
        self.events().last_miss(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_told_by_what_happened_before_it() {
        use Event::{Cleared, Stored};
        let last_miss = |happened: &dyn Fn(&Counters)| {
            let counters = Counters::new(0);
            happened(&counters);
            counters.missed(1, None);
            // What comes after it changes nothing.
            counters.happened(1, Stored);
            counters.all_cleared();
            counters.last_miss(1)
        };
        let miss = |counters: &Counters| counters.missed(1, None);
        assert_eq!(last_miss(&|_| ()), Some(Miss::First));
        assert_eq!(last_miss(&|c| c.all_cleared()), Some(Miss::First));
        assert_eq!(last_miss(&|c| c.happened(2, Stored)), Some(Miss::First));
        assert_eq!(last_miss(&miss), Some(Miss::NotStored));
        let stored = |c: &Counters| {
            miss(c);
            c.happened(1, Stored);
        };
        assert_eq!(last_miss(&stored), Some(Miss::Evicted));
        let then = |c: &Counters, event| {
            stored(c);
            c.happened(1, event);
        };
        assert_eq!(last_miss(&|c| then(c, Cleared)), Some(Miss::Cleared));
        let all = |c: &Counters| {
            stored(c);
            c.all_cleared();
        };
        assert_eq!(last_miss(&all), Some(Miss::Cleared));
        let again = |c: &Counters| {
            all(c);
            stored(c);
        };
        assert_eq!(last_miss(&again), Some(Miss::Evicted));
        let counters = Counters::new(0);
        counters.missed(1, Some(Miss::Expired));
        assert_eq!(counters.last_miss(1), Some(Miss::Expired));
        assert_eq!(counters.last_miss(2), None);
    }

    #[test]
    fn the_last_256_misses_are_remembered_whatever_else_happens() {
        let counters = Counters::new(0);
        for key in 0..300 {
            counters.missed(key, None);
            for event in [Event::Stored, Event::Cleared, Event::Cleared] {
                counters.happened(key, event);
            }
        }
        assert!((0..44).all(|key| counters.last_miss(key).is_none()));
        assert!((44..300).all(|key| counters.last_miss(key) == Some(Miss::First)));
        counters.missed(299, None);
        assert_eq!(counters.last_miss(299), Some(Miss::Cleared));
    }
}

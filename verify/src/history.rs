//! What all processes of a run share: the database, the floor that is checked against, counts, and what happened last.
//!
//! The checker is one comparison, and keeps no log of reads. Who changes key k writes a new version to the database, clears k, and when
//! that has returned raises the floor of k to that version. Who reads k looks at the floor, calls, and must be given no older version.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::time::{ClockId, clock_gettime};

use crate::times::{self, Times};

/// Processes and threads in each, at most.
pub const MOST_WORKERS: usize = 16;
pub const MOST_THREADS: usize = 8;
pub const MOST_KEYS: usize = 256;

/// What each thread remembers of what it did: it is asked for when a violation was found.
const EVENTS: usize = 2048;
const EVENT_WORDS: usize = 4;

/// A cache line: neighbours are not to wait for each other.
const LINE: usize = 8;

/// One for each thread of each worker, and one of who disturbs them.
const LANES: usize = MOST_WORKERS * MOST_THREADS + 1;
const FAULTS: usize = LANES - 1;

const PAUSES_AT: usize = 2 * LINE;
const KEYS_AT: usize = PAUSES_AT + MOST_WORKERS;
const LANES_AT: usize = KEYS_AT + MOST_KEYS * 2 * LINE;
/// Of a lane: what it counts, how long its calls took, and the events with their number before them.
const COUNTS: usize = 3 * LINE;
const TIMES_AT: usize = COUNTS;
const LONGEST_AT: usize = TIMES_AT + times::BUCKETS.next_multiple_of(LINE);
const NEXT_AT: usize = LONGEST_AT + 2 * LINE;
const EVENTS_AT: usize = NEXT_AT + LINE;
const LANE: usize = EVENTS_AT + EVENTS * EVENT_WORDS;
const WORDS: usize = LANES_AT + LANES * LANE;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Read,
    Clear,
    Execution,
    Refresh,
    Set,
    Kill,
    Stop,
    Restart,
    /// Clears that said they were applied, that said they were pending, and that were waited for; and calls that panicked.
    Applied,
    Pending,
    Waited,
    Panic,
    /// Futures that were dropped before they were ready.
    Dropped,
    /// Reads of the first kind of function; the others follow.
    ReadOfKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An execution read this version.
    Execution,
    /// This version was written, and its clear began; and that has returned.
    Change,
    Changed,
    /// The same, but the clear said that it is pending.
    Owed,
    Set,
    /// A worker was killed; stopped; went on; all were killed, as by a start of the machine.
    Kill,
    Stop,
    Continue,
    Restart,
    /// One of `redis::faults`, by its number, to a machine or a server.
    Fault,
    /// A call panicked.
    Panic,
    /// A call was given this version, which is older than the floor was when it began.
    Violation,
}

const ALL_EVENTS: [Event; 12] = [
    Event::Execution,
    Event::Change,
    Event::Changed,
    Event::Owed,
    Event::Set,
    Event::Kill,
    Event::Stop,
    Event::Continue,
    Event::Restart,
    Event::Fault,
    Event::Panic,
    Event::Violation,
];

/// An event as it was written down.
#[derive(Clone, Copy, Debug)]
pub struct Noted {
    pub at: u64,
    pub lane: usize,
    pub event: Event,
    pub key: usize,
    pub version: u64,
}

#[derive(Clone, Copy)]
pub struct History(&'static [AtomicU64]);

impl History {
    /// That of a file, which is made if it is not there.
    pub fn open(path: &Path) -> io::Result<History> {
        Ok(History(shared_words(path, WORDS)?))
    }

    pub fn is_over(&self) -> bool {
        self.0[0].load(Ordering::Relaxed) != 0
    }

    pub fn end(&self) {
        self.0[0].store(1, Ordering::Relaxed);
    }

    /// Calls that were given a value from before a clear.
    pub fn violations(&self) -> u64 {
        self.0[LINE].load(Ordering::SeqCst)
    }

    /// How often a worker has been stopped, and has gone on.
    pub fn pauses(&self, worker: usize) -> &'static AtomicU64 {
        &self.0[PAUSES_AT + worker]
    }

    pub fn database(&self, key: usize) -> &'static AtomicU64 {
        &self.0[KEYS_AT + key * 2 * LINE]
    }

    pub fn floor(&self, key: usize) -> &'static AtomicU64 {
        &self.0[KEYS_AT + (key * 2 + 1) * LINE]
    }

    pub fn lane(&self, worker: usize, thread: usize) -> Lane {
        Lane(*self, worker * MOST_THREADS + thread)
    }

    pub fn faults(&self) -> Lane {
        Lane(*self, FAULTS)
    }

    pub fn total(&self, count: Count) -> u64 {
        self.total_of(count as usize)
    }

    /// Reads of a kind of function.
    pub fn total_reads(&self, kind: usize) -> u64 {
        self.total_of(Count::ReadOfKind as usize + kind)
    }

    fn total_of(&self, count: usize) -> u64 {
        (0..LANES)
            .map(|lane| Lane(*self, lane).words()[count].load(Ordering::Relaxed))
            .sum()
    }

    /// The longest that a call of a kind took.
    pub fn longest(&self, of: usize) -> Duration {
        let longest = |lane| Lane(*self, lane).words()[LONGEST_AT + of].load(Ordering::Relaxed);
        Duration::from_nanos((0..LANES).map(longest).max().unwrap_or(0))
    }

    /// How long calls took.
    pub fn times(&self) -> Times {
        let mut times = Times::default();
        for lane in 0..LANES {
            times.add(Lane(*self, lane).times());
        }
        times
    }

    /// What is remembered, in order of time.
    pub fn noted(&self) -> Vec<Noted> {
        let mut noted: Vec<_> = (0..LANES)
            .flat_map(|lane| Lane(*self, lane).noted())
            .collect();
        noted.sort_by_key(|noted| noted.at);
        noted
    }
}

/// What one thread counts and remembers. Its worker may be killed, and another go on with it.
#[derive(Clone, Copy)]
pub struct Lane(History, usize);

impl Lane {
    fn words(&self) -> &'static [AtomicU64] {
        let start = LANES_AT + self.1 * LANE;
        &self.0.0[start..start + LANE]
    }

    pub fn add(&self, count: Count, more: u64) {
        self.add_to(count as usize, more);
    }

    pub fn add_reads(&self, kind: usize, more: u64) {
        self.add(Count::Read, more);
        self.add_to(Count::ReadOfKind as usize + kind, more);
    }

    fn add_to(&self, count: usize, more: u64) {
        add(&self.words()[count], more);
    }

    /// How many calls of this thread have returned.
    pub fn reads(&self) -> u64 {
        self.words()[Count::Read as usize].load(Ordering::Relaxed)
    }

    /// A call of a kind took so many nanoseconds.
    pub fn took(&self, of: usize, nanos: u64) {
        add(&self.times()[times::bucket(nanos)], 1);
        self.words()[LONGEST_AT + of].fetch_max(nanos, Ordering::Relaxed);
    }

    fn times(&self) -> &'static [AtomicU64] {
        &self.words()[TIMES_AT..][..times::BUCKETS]
    }

    pub fn note(&self, event: Event, key: usize, version: u64) {
        self.note_at(now(), event, key, version);
    }

    fn note_at(&self, at: u64, event: Event, key: usize, version: u64) {
        let next = &self.words()[NEXT_AT];
        let number = next.load(Ordering::Relaxed);
        let start = EVENTS_AT + number as usize % EVENTS * EVENT_WORDS;
        let place = &self.words()[start..start + EVENT_WORDS];
        place[0].store(at, Ordering::Relaxed);
        place[1].store(event as u64 + 1, Ordering::Relaxed);
        place[2].store(key as u64, Ordering::Relaxed);
        place[3].store(version, Ordering::Relaxed);
        next.store(number + 1, Ordering::Relaxed);
    }

    /// Checks a read of a key: `floor` was read before the call began. Whether it is right.
    #[inline]
    pub fn check(&self, key: usize, floor: u64, version: u64) -> bool {
        let right = version >= floor;
        if !right {
            self.note(Event::Violation, key, version);
            self.violation();
        }
        right
    }

    fn violation(&self) {
        self.0.0[LINE].fetch_add(1, Ordering::SeqCst);
    }

    /// A call of this key panicked, which none may.
    pub fn panicked(&self, key: usize) {
        self.add(Count::Panic, 1);
        self.note(Event::Panic, key, 0);
        self.violation();
    }

    fn noted(&self) -> Vec<Noted> {
        let number = |place: &[AtomicU64], at: usize| place[at].load(Ordering::Relaxed);
        self.words()[EVENTS_AT..]
            .chunks(EVENT_WORDS)
            .filter_map(|place| {
                let event = (number(place, 1) as usize).checked_sub(1)?;
                Some(Noted {
                    at: number(place, 0),
                    lane: self.1,
                    event: ALL_EVENTS[event],
                    key: number(place, 2) as usize,
                    version: number(place, 3),
                })
            })
            .collect()
    }
}

impl Noted {
    /// Whose it is.
    pub fn who(&self) -> String {
        if self.lane == FAULTS {
            "faults".to_owned()
        } else {
            format!(
                "worker {} thread {}",
                self.lane / MOST_THREADS,
                self.lane % MOST_THREADS
            )
        }
    }
}

/// Adds to a word that nobody else adds to.
fn add(word: &AtomicU64, more: u64) {
    word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// So many words that all processes share by a file, which is made if it is not there.
pub fn shared_words(path: &Path, many: usize) -> io::Result<&'static [AtomicU64]> {
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_len(many as u64 * 8)?;
    // SAFETY: a fresh mapping, of a file of this run that nobody makes shorter, and that is never unmapped. All of it are atomics.
    unsafe {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let at = mmap(
            std::ptr::null_mut(),
            many * 8,
            prot,
            MapFlags::SHARED,
            &file,
            0,
        )?;
        Ok(std::slice::from_raw_parts(at.cast(), many))
    }
}

/// Nanoseconds of the monotonic clock, which all processes of the machine share.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Choices that follow from a seed (SplitMix64).
pub struct Choices(pub u64);

impl Choices {
    pub fn of(seed: u64, parts: &[u64]) -> Choices {
        let mixed = parts.iter().fold(seed, |seed, part| {
            Choices(seed ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next()
        });
        Choices(mixed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    pub fn micros(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end))
    }
}

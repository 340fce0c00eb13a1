//! The load: readers as fast as they can, and one writer at a fixed pace, for a fixed time.
//!
//! Readers prefer people with many posts (Zipf over the people, most posts first). The writer's pace is fixed so that
//! both phases see the same writes, however fast their reads are. Every read is checked: a post whose writer had cleared before
//! the read began must be in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::blog::{self, DatabaseError, Person, Post};
use crate::latency::Latency;

const SKEW: f64 = 0.9;
const WRITES_PER_SECOND: u32 = 100;
const DRAWS: usize = 1 << 16;

/// A function that gives a person's posts.
pub type Read = fn(&Person, bool) -> Result<Arc<[Post]>, DatabaseError>;

/// How a phase reads the posts of a person, and clears them after a write.
#[derive(Clone, Copy)]
pub struct Door {
    pub read: Read,
    pub clear: fn(&Person),
}

/// What one thread saw, or all of them together.
#[derive(Default)]
pub struct Seen {
    pub reads: Latency,
    pub writes: Latency,
    pub after_clear: u64,
    pub stale: u64,
}

struct Shared<'a> {
    people: &'a [Person],
    /// For each person the newest post that was written and cleared.
    newest: Vec<AtomicI64>,
    stop: AtomicBool,
}

/// Runs the load and gives what was seen; the first database error ends it.
pub fn run(
    people: &[Person],
    door: Door,
    readers: usize,
    length: Duration,
) -> Result<Seen, DatabaseError> {
    let shared = Shared {
        people,
        newest: people.iter().map(|_| AtomicI64::new(0)).collect(),
        stop: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let shared = &shared;
        let mut threads: Vec<_> = (1..=readers)
            .map(|number| {
                scope.spawn(move || stop_on_error(shared, read(shared, door, number as u64)))
            })
            .collect();
        threads.push(scope.spawn(move || stop_on_error(shared, write(shared, door))));
        let end = Instant::now() + length;
        while Instant::now() < end && !shared.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20).min(length));
        }
        shared.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in threads {
            let seen = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.reads.add(&seen.reads);
            all.writes.add(&seen.writes);
            all.after_clear += seen.after_clear;
            all.stale += seen.stale;
        }
        Ok(all)
    })
}

fn stop_on_error(
    shared: &Shared<'_>,
    outcome: Result<Seen, DatabaseError>,
) -> Result<Seen, DatabaseError> {
    if outcome.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    outcome
}

fn read(shared: &Shared<'_>, door: Door, seed: u64) -> Result<Seen, DatabaseError> {
    let mut seen = Seen::default();
    for index in zipf(shared.people.len(), seed).iter().cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let newest = shared.newest[*index].load(Ordering::Acquire);
        let begin = Instant::now();
        let posts = (door.read)(&shared.people[*index], false)?;
        seen.reads.record(begin.elapsed());
        if newest != 0 {
            seen.after_clear += 1;
            seen.stale += u64::from(posts.last().is_none_or(|post| post.id < newest));
        }
    }
    Ok(seen)
}

fn write(shared: &Shared<'_>, door: Door) -> Result<Seen, DatabaseError> {
    let mut seen = Seen::default();
    let begin = Instant::now();
    for (number, index) in (1..).zip(zipf(shared.people.len(), 0).iter().cycle()) {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let person = &shared.people[*index];
        let start = Instant::now();
        let post = blog::write_post(person, "A new post")?;
        (door.clear)(person);
        seen.writes.record(start.elapsed());
        shared.newest[*index].store(post, Ordering::Release);
        thread::sleep(
            (begin + Duration::from_secs(1) * number / WRITES_PER_SECOND)
                .saturating_duration_since(Instant::now()),
        );
    }
    Ok(seen)
}

/// Draws of 0..people by Zipf's law, enough to go round in circles; the same seed gives the same draws.
fn zipf(people: usize, seed: u64) -> Vec<usize> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=people)
        .map(|rank| {
            sum += (rank as f64).powf(-SKEW);
            sum
        })
        .collect();
    let mut state = seed;
    (0..DRAWS)
        .map(|_| {
            let point = sum * (splitmix(&mut state) >> 11) as f64 / (1u64 << 53) as f64;
            sums.partition_point(|upto| *upto <= point).min(people - 1)
        })
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

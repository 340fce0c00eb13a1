//! Time of a hit, and of an insert that evicts: the table beside quick_cache, both with `u64` keys and values, 10,000 resident,
//! one thread and the same hash. The samples of all are interleaved; printed are the median
//! and, in parentheses, the tenth and ninetieth of a hundred; then the same of the ratios to quick_cache, sample by sample.
//!
//!     cargo run --release --bin speed

use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use hitratio::workloads::Random;
use quick_cache::UnitWeighter;
use quickcache::tier::memory::{Limits, NEVER, Table, mix};

const RESIDENT: u64 = 10_000;
/// Many, so that a sample is not about refilling the processor's caches after the one before.
const OPERATIONS: usize = 200_000;
const SAMPLES: usize = 101;
/// Whom each is compared with, sample by sample: quick_cache, unsync or sync, doing the same.
const PEER: [usize; 11] = [3, 3, 3, 3, 6, 6, 6, 9, 9, 9, 10];

#[derive(Clone)]
struct Mix;

struct Mixed(u64);

impl BuildHasher for Mix {
    type Hasher = Mixed;
    fn build_hasher(&self) -> Mixed {
        Mixed(0)
    }
}

impl Hasher for Mixed {
    /// Keys are `u64` and come by `write_u64`; anything else would come here, a byte at a time.
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte), 7);
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key, 7);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

type Ours = Table<(u64, u64)>;

fn ours(deadline: u64) -> Ours {
    let mut table = Table::new(Limits {
        entries: RESIDENT as usize,
        bytes: u64::MAX,
    });
    let mut out = Vec::new();
    for key in 0..RESIDENT {
        table.insert(
            mix(key, 7),
            (key, key),
            0,
            deadline,
            0,
            |p| p.0 == key,
            &mut out,
        );
    }
    table
}

/// Room for twice as many, so that all are resident whatever it thinks of them.
fn quick(capacity: u64) -> quick_cache::unsync::Cache<u64, u64, UnitWeighter, Mix> {
    quick_cache::unsync::Cache::with(
        capacity as usize,
        capacity,
        UnitWeighter,
        Mix,
        Default::default(),
    )
}

#[inline(always)]
fn ask(table: &Ours, key: u64, passed: impl FnOnce(u64) -> bool) -> u64 {
    table
        .get(mix(key, 7), passed, |p| p.0 == key)
        .map_or(0, |p| p.1)
}

fn coarse() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

fn main() {
    let mut random = Random(1);
    let keys: Vec<u64> = (0..OPERATIONS).map(|_| random.below(RESIDENT)).collect();
    let sum = |f: &mut dyn FnMut() -> u64| {
        black_box(f());
    };

    let (forever, mortal) = (ours(NEVER), ours(1 << 42));
    let (locked, shared) = (Mutex::new(ours(NEVER)), RwLock::new(ours(NEVER)));
    let mut unsync = quick(2 * RESIDENT);
    let sync = quick_cache::sync::Cache::<u64, u64, UnitWeighter, Mix>::with(
        2 * RESIDENT as usize,
        2 * RESIDENT,
        UnitWeighter,
        Mix,
        Default::default(),
    );
    for key in 0..RESIDENT {
        unsync.insert(key, key);
        sync.insert(key, key);
    }
    assert_eq!(
        (unsync.len(), sync.len()),
        (RESIDENT as usize, RESIDENT as usize)
    );
    let (mut churned, mut out, mut next) = (ours(NEVER), Vec::new(), RESIDENT);
    let (mut churned_mortal, mut out_mortal, mut next_mortal) =
        (ours(1 << 42), Vec::new(), RESIDENT);
    let (mut quick_churned, mut quick_next) = (quick(RESIDENT), RESIDENT);
    let mut quick_sync_next = RESIDENT;
    let quick_sync = quick_cache::sync::Cache::<u64, u64, UnitWeighter, Mix>::with(
        RESIDENT as usize,
        RESIDENT,
        UnitWeighter,
        Mix,
        Default::default(),
    );

    let mut runs: Vec<(&str, Box<dyn FnMut() + '_>)> = vec![
        (
            "hit: table",
            Box::new(|| {
                sum(&mut || {
                    keys.iter()
                        .map(|&k| ask(&forever, k, |_| unreachable!()))
                        .sum()
                })
            }),
        ),
        (
            "hit: table, deadline, clock given",
            Box::new(|| {
                sum(&mut || {
                    keys.iter()
                        .map(|&k| ask(&mortal, k, |deadline| deadline <= 5))
                        .sum()
                })
            }),
        ),
        (
            "hit: table, deadline, coarse clock",
            Box::new(|| {
                sum(&mut || {
                    keys.iter()
                        .map(|&k| ask(&mortal, k, |deadline| deadline <= coarse()))
                        .sum()
                })
            }),
        ),
        (
            "hit: quick_cache unsync",
            Box::new(|| {
                sum(&mut || {
                    keys.iter()
                        .map(|k| unsync.get(k).copied().unwrap_or(0))
                        .sum()
                })
            }),
        ),
        (
            "hit: table in a std Mutex",
            Box::new(|| {
                sum(&mut || {
                    keys.iter()
                        .map(|&k| ask(&locked.lock().unwrap(), k, |_| unreachable!()))
                        .sum()
                })
            }),
        ),
        (
            "hit: table in a std RwLock",
            Box::new(|| {
                sum(&mut || {
                    keys.iter()
                        .map(|&k| ask(&shared.read().unwrap(), k, |_| unreachable!()))
                        .sum()
                })
            }),
        ),
        (
            "hit: quick_cache sync",
            Box::new(|| sum(&mut || keys.iter().map(|k| sync.get(k).unwrap_or(0)).sum())),
        ),
        (
            "insert+evict: table",
            Box::new(|| {
                for _ in 0..OPERATIONS {
                    let key = next;
                    next += 1;
                    churned.insert(
                        mix(key, 7),
                        (key, key),
                        0,
                        NEVER,
                        0,
                        |p| p.0 == key,
                        &mut out,
                    );
                    out.clear();
                }
            }),
        ),
        (
            "insert+evict: table, deadlines",
            Box::new(|| {
                for _ in 0..OPERATIONS {
                    let key = next_mortal;
                    next_mortal += 1;
                    churned_mortal.insert(
                        mix(key, 7),
                        (key, key),
                        0,
                        1 << 42,
                        5,
                        |p| p.0 == key,
                        &mut out_mortal,
                    );
                    out_mortal.clear();
                }
            }),
        ),
        (
            "insert+evict: quick_cache unsync",
            Box::new(|| {
                for _ in 0..OPERATIONS {
                    quick_churned.insert(quick_next, quick_next);
                    quick_next += 1;
                }
            }),
        ),
        (
            "insert+evict: quick_cache sync",
            Box::new(|| {
                for _ in 0..OPERATIONS {
                    quick_sync.insert(quick_sync_next, quick_sync_next);
                    quick_sync_next += 1;
                }
            }),
        ),
    ];

    let mut samples = vec![Vec::with_capacity(SAMPLES); runs.len()];
    for _ in 0..SAMPLES {
        for (run, samples) in runs.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            run.1();
            samples.push(start.elapsed().as_nanos() as f64 / OPERATIONS as f64);
        }
    }
    let at = |samples: &[f64], part: usize| {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[part * (SAMPLES - 1) / 100]
    };
    for (number, (name, _)) in runs.iter().enumerate() {
        let peer = PEER[number];
        let ratios: Vec<f64> = samples[number]
            .iter()
            .zip(&samples[peer])
            .map(|(ours, peer)| ours / peer)
            .collect();
        let [low, median, high] = [10, 50, 90].map(|part| at(&samples[number], part));
        print!("{name:36}{median:7.1} ns   ({low:.1} to {high:.1})");
        println!(
            "   {:.2} ({:.2} to {:.2}) of {}",
            at(&ratios, 50),
            at(&ratios, 10),
            at(&ratios, 90),
            runs[peer].0
        );
    }
}

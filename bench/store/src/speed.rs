//! How long reads and writes take when nothing is wrong: by one process and size of value, and by several processes.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::processes::{Place, Samples};
use crate::table::{Table, micros};
use crate::values::{Random, is_whole, key, value};
use crate::within;

pub const SIZES: [usize; 5] = [10, 200, 4_096, 65_536, 1 << 20];
const BATCH: u64 = 32;
const KEYS: u64 = 50_000;
const SECONDS: f64 = 2.0;

/// One process, by size of value: reads, overwrites, writes of new keys while the store is at its bound, and writes in batches.
pub fn latency(candidate: &str) {
    let mut table = Table::new(
        "Latency in us, one process",
        &[
            "value",
            "read p50",
            "p99",
            "p99.9",
            "overwrite p50",
            "p99",
            "p99.9",
            "evicting write p50",
            "p99",
            "p99.9",
            "in batches, each",
            "checksum alone",
        ],
    );
    for size in SIZES {
        let keys = (32 << 20) / size.max(600) as u64;
        let mut random = Random(size as u64 * 2 + 1);
        let mut out = Vec::new();
        let mut row = vec![bytes(size)];
        within(candidate, 256 << 20, |place| {
            let store = place.open();
            for n in 0..keys {
                assert!(
                    store.put(&key(n), &value(n, 0, size)),
                    "an empty store refuses nothing"
                );
            }
            for writes in [false, true] {
                let (mut samples, start) = (Samples::default(), Instant::now());
                let (mut missed, mut torn) = (0, 0);
                while start.elapsed() < Duration::from_secs_f64(0.8) {
                    let n = random.below(keys);
                    let key = key(n);
                    if writes {
                        let value = value(n, start.elapsed().as_nanos() as u64, size);
                        missed += u64::from(!samples.time(|| store.put(&key, &value)));
                    } else {
                        let hit = samples.time(|| store.get(&key, &mut out));
                        missed += u64::from(!hit);
                        torn += u64::from(hit && !is_whole(n, &out));
                    }
                }
                assert_eq!(torn, 0, "of {}", samples.0.len());
                // Two keys of one bucket and tag of the ring have one place: in one run of ten there are two among so many.
                let all = samples.0.len() as u64;
                assert!(missed <= all / 1000, "{missed} of {all}, writes: {writes}");
                row.extend(samples.quantiles()[..3].iter().map(|&ns| micros(ns)));
            }
        });
        within(candidate, 64 << 20, |place| {
            let store = place.open();
            let mut n = 0;
            let mut put = |samples: &mut Samples| {
                n += 1;
                let value = value(n, 0, size);
                samples.time(|| store.put(&key(n), &value))
            };
            let (mut warm, mut samples) = (Samples::default(), Samples::default());
            for _ in 0..(128 << 20) / size.max(600) {
                put(&mut warm);
            }
            let (start, mut refused) = (Instant::now(), 0);
            while start.elapsed() < Duration::from_secs_f64(0.8) {
                refused += u64::from(!put(&mut samples));
            }
            let share = 100.0 * refused as f64 / samples.0.len() as f64;
            row.extend(samples.quantiles()[..3].iter().map(|&ns| micros(ns)));
            if refused > 0 {
                row.last_mut()
                    .expect("three cells")
                    .push_str(&format!(" ({share:.1} % refused)"));
            }
        });
        within(candidate, 256 << 20, |place| {
            let store = place.open();
            let (mut spent, mut stored) = (Duration::ZERO, 0);
            let whole = Instant::now();
            while whole.elapsed() < Duration::from_secs_f64(0.6) {
                let count = BATCH.min((8 << 20) / size as u64);
                let entries: Vec<_> = (0..count)
                    .map(|_| random.below(keys))
                    .map(|n| (key(n), value(n, 1, size)))
                    .collect();
                let start = Instant::now();
                stored += store.put_batch(&entries);
                spent += start.elapsed();
            }
            row.push(micros((spent.as_nanos() / stored.max(1) as u128) as u32));
        });
        let (payload, mut samples) = (value(1, 1, size), Samples::default());
        for _ in 0..1000 {
            samples.time(|| black_box(is_whole(1, black_box(&payload))));
        }
        row.push(micros(samples.quantiles()[0]));
        table.row(row);
    }
}

/// 1, 2 and 8 processes that read 200 B, then 8 of which each writes one time in ten.
pub fn processes(candidate: &str) {
    let mut table = Table::new(
        "Several processes, 200 B, latency in us",
        &[
            "processes",
            "writes",
            "reads/s",
            "read p50",
            "p99",
            "p99.9",
            "longest",
            "writes/s",
            "write p50",
            "p99",
            "p99.9",
            "longest",
            "refused",
            "torn",
        ],
    );
    for (count, writes) in [(1, 0), (2, 0), (8, 0), (8, 10)] {
        within(candidate, 256 << 20, |place| {
            {
                let store = place.open();
                for n in 0..KEYS {
                    while !store.put(&key(n), &value(n, 0, 200)) {
                        std::thread::yield_now();
                    }
                }
            }
            let mut children: Vec<_> = (1..=count)
                .map(|id: u64| place.spawn("load", &[id.to_string(), writes.to_string()]))
                .collect();
            place.await_ready(count);
            place
                .shared
                .go
                .store(1, std::sync::atomic::Ordering::Release);
            let (mut gets, mut puts) = (Samples::default(), Samples::default());
            for child in &mut children {
                let out = child.stdout.as_mut().expect("piped");
                gets.receive(out);
                puts.receive(out);
                assert!(child.wait().expect("a child of ours").success());
            }
            let rate =
                |samples: &Samples| format!("{:.0} k", samples.0.len() as f64 / SECONDS / 1e3);
            let mut row = vec![count.to_string(), format!("{writes} %"), rate(&gets)];
            row.extend(gets.quantiles().map(micros));
            if writes > 0 {
                let all = puts.0.len() as f64;
                row.push(rate(&puts));
                row.extend(puts.quantiles().map(micros));
                let refused = place
                    .shared
                    .refused
                    .load(std::sync::atomic::Ordering::Relaxed)
                    as f64;
                row.push(format!("{:.2} %", 100.0 * refused / all));
            } else {
                row.extend(std::iter::repeat_n("".into(), 6));
            }
            row.push(
                place
                    .shared
                    .torn
                    .load(std::sync::atomic::Ordering::Relaxed)
                    .to_string(),
            );
            table.row(row);
        });
    }
}

/// The worker of `processes`.
pub fn load(place: &Place, id: u64, writes: u64) {
    let store = place.open();
    let mut random = Random(id * 7919);
    let (mut gets, mut puts) = (Samples::default(), Samples::default());
    let (mut out, mut torn, mut refused) = (Vec::new(), 0, 0);
    store.get(&key(0), &mut out);
    place.meet();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs_f64(SECONDS) {
        let n = random.below(KEYS);
        let key = key(n);
        if random.below(100) < writes {
            let value = value(n, start.elapsed().as_nanos() as u64, 200);
            refused += u64::from(!puts.time(|| store.put(&key, &value)));
        } else if gets.time(|| store.get(&key, &mut out)) {
            torn += u64::from(!is_whole(n, &out));
        }
    }
    place
        .shared
        .torn
        .fetch_add(torn, std::sync::atomic::Ordering::Relaxed);
    place
        .shared
        .refused
        .fetch_add(refused + store.lost(), std::sync::atomic::Ordering::Relaxed);
    let mut stdout = io::stdout().lock();
    gets.send(&mut stdout);
    puts.send(&mut stdout);
    stdout.flush().expect("the harness reads");
}

fn bytes(size: usize) -> String {
    match size {
        0..1000 => format!("{size} B"),
        1000..1_000_000 => format!("{} kB", size / 1024),
        _ => format!("{} MiB", size >> 20),
    }
}

//! The file over many overwrites by processes that are killed at random.

use std::process::Child;
use std::sync::atomic::Ordering::*;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::processes::{Place, signal};
use crate::table::{Table, mib};
use crate::values::{Random, is_whole, key, mixed_size, value};
use crate::within;

const BYTES: u64 = 64 << 20;
const WORKERS: u64 = 4;
const KEYS: u64 = 100_000;

/// Four processes overwrite keys whose values are more than the store may hold; one of them is killed every 50 to 150 ms.
pub fn growth(candidate: &str, overwrites: u64) {
    let mut table = Table::new(
        &format!(
            "Growth: bound {} MiB, mixed sizes, {WORKERS} processes, 9 writes to 1 read",
            BYTES >> 20
        ),
        &[
            "overwrites",
            "s",
            "killed",
            "file MiB",
            "blocks MiB",
            "refused",
            "hits",
            "torn",
            "longest put ms",
            "longest get ms",
        ],
    );
    within(candidate, BYTES, |place| {
        let mut random = Random(42);
        let mut killed = 0;
        let mut births = 0;
        let mut birth = || {
            births += 1;
            place.spawn("overwrite", &[births.to_string(), overwrites.to_string()])
        };
        let mut children: Vec<Child> = (0..WORKERS).map(|_| birth()).collect();
        let start = Instant::now();
        for tenth in 1..=10 {
            while place.shared.puts.load(Relaxed) < overwrites * tenth / 10 {
                sleep(Duration::from_millis(50 + random.below(100)));
                let victim = random.below(WORKERS) as usize;
                signal(&children[victim], libc::SIGKILL);
                children[victim].wait().expect("a child of ours");
                killed += 1;
                children[victim] = birth();
            }
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
            let shared = &place.shared;
            let (length, blocks) = place.file_bytes();
            let share =
                |part, whole: u64| format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64);
            let ms = |ns: u64| format!("{:.1}", ns as f64 / 1e6);
            table.row(vec![
                count(&shared.puts).to_string(),
                format!("{:.0}", start.elapsed().as_secs_f64()),
                killed.to_string(),
                mib(length),
                mib(blocks),
                share(
                    count(&shared.refused),
                    count(&shared.refused) + count(&shared.puts),
                ),
                share(count(&shared.hits), count(&shared.gets)),
                count(&shared.torn).to_string(),
                ms(count(&shared.longest_put)),
                ms(count(&shared.longest_get)),
            ]);
        }
        for child in &mut children {
            signal(child, libc::SIGKILL);
            child.wait().expect("a child of ours");
        }
    });
}

/// The worker: nine writes to one read, until there are enough.
pub fn overwrite(place: &Place, id: u64, overwrites: u64) {
    let store = loop {
        if let Ok(store) = crate::candidate::open(&place.candidate, &place.store(), place.bytes) {
            break store;
        }
    };
    let shared = &place.shared;
    let mut random = Random(id * 7919 + 1);
    let mut out = Vec::new();
    while shared.puts.load(Relaxed) < overwrites {
        let n = random.below(KEYS);
        let key = key(n);
        let start = Instant::now();
        let nanoseconds = |start: Instant| start.elapsed().as_nanos() as u64;
        if random.below(10) == 0 {
            let hit = store.get(&key, &mut out);
            shared.longest_get.fetch_max(nanoseconds(start), Relaxed);
            shared.gets.fetch_add(1, Relaxed);
            shared.hits.fetch_add(hit.into(), Relaxed);
            shared
                .torn
                .fetch_add((hit && !is_whole(n, &out)).into(), Relaxed);
        } else {
            let value = value(n, nanoseconds(start), mixed_size(&mut random));
            let start = Instant::now();
            let stored = store.put(&key, &value);
            shared.longest_put.fetch_max(nanoseconds(start), Relaxed);
            shared.puts.fetch_add(stored.into(), Relaxed);
            if !stored {
                // Whoever is refused goes on with something else.
                shared.refused.fetch_add(1, Relaxed);
                std::thread::yield_now();
            }
        }
    }
}

//! Bytes of resident memory per entry at a million entries, as `/proc/self/statm` counts them, and the longest time that 64
//! inserts took while the table grew, in time of the processor. The payload is the one of the Python front: 24 bytes.
//!
//!     cargo run --release --bin memory -- table [entries] [bound]
//!     cargo run --release --bin memory -- quick_cache [entries] [bound]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use quickcache::tier::memory::{Limits, NEVER, Table, mix};

#[derive(Clone, Copy)]
#[allow(dead_code)]
struct Payload {
    function: u32,
    kind: u8,
    key: u64,
    value: usize,
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .expect("pages")
        * rustix::param::page_size()
}

/// Time of this thread on a processor: a busy machine shall not count as a slow insert.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let who = arguments.next().unwrap_or_else(|| "table".into());
    let entries: u64 = arguments
        .next()
        .map_or(1_000_000, |n| n.parse().expect("a number of entries"));
    let bound: usize = arguments
        .next()
        .map_or(usize::MAX, |n| n.parse().expect("a bound"));
    let before = resident();
    let started = busy();
    let mut longest = Duration::ZERO;
    let len = if who == "table" {
        let mut table = Table::new(Limits {
            entries: bound,
            bytes: u64::MAX,
        });
        let mut out = Vec::new();
        let mut start = busy();
        for key in 0..entries {
            if key % 64 == 0 {
                let lap = busy();
                longest = longest.max(lap - start);
                start = lap;
            }
            let payload = Payload {
                function: 1,
                kind: 0,
                key,
                value: 1,
            };
            table.insert(
                mix(key, 7),
                payload,
                0,
                NEVER,
                0,
                |p| p.key == key,
                &mut out,
            );
            out.clear();
        }
        report(&who, table.len(), before, started, longest, table.memory());
        table.len()
    } else {
        let cache = quick_cache::sync::Cache::<u64, Payload>::new(bound.min(entries as usize * 2));
        let mut start = busy();
        for key in 0..entries {
            if key % 64 == 0 {
                let lap = busy();
                longest = longest.max(lap - start);
                start = lap;
            }
            cache.insert(
                key,
                Payload {
                    function: 1,
                    kind: 0,
                    key,
                    value: 1,
                },
            );
        }
        report(&who, cache.len(), before, started, longest, 0);
        cache.len()
    };
    assert!(len > 0);
}

fn report(
    who: &str,
    len: usize,
    before: usize,
    started: Duration,
    longest: Duration,
    allocated: usize,
) {
    println!(
        "{who}: {len} entries, {:.1} bytes of resident memory each ({:.1} allocated), {:.0} ns an insert, the longest 64 {:.1} ms",
        (resident() - before) as f64 / len as f64,
        allocated as f64 / len as f64,
        (busy() - started).as_nanos() as f64 / len as f64,
        longest.as_secs_f64() * 1e3,
    );
}

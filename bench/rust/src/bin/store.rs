//! The machine's store behind a Rust function: what it costs a hit in memory, and its own hits, fills and clears. The contestants take
//! turns in short samples; the medians are of paired samples, in CPU time of the thread.
//!
//!     cargo run --release --bin store              ends with 1 if a figure is over its bound (ratios: by more than ten per cent)
//!     cargo run --release --bin store -- clear     only those whose name contains the word
//!
//! The store lies where the platform keeps temporary files; `TMPDIR` says otherwise.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::exit;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use functions::{filled, number_in_both, number_in_memory, pair_in_both, pair_in_memory};
use quickcache::tier::store::{Opened, Shared, Spot, StoreKey};

const KEYS: u64 = 10_000;
const SAMPLES: usize = 41;
const ROUNDS: u64 = 10_000;
const MAX_BYTES: u64 = 256 << 20;
const NAME: &str = "a name of some length";

static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("rust-store-{}", std::process::id())));

mod functions {
    use super::{FOLDER, MAX_BYTES};
    use quickcache::{Memory, QuickCache, Store, TieredCache, quickcache};
    use std::sync::LazyLock;

    fn memory() -> Memory {
        Memory::new().entries(100_000).timeout("1h")
    }

    fn store() -> Store {
        Store::at(&*FOLDER).max_bytes(MAX_BYTES).timeout("1h")
    }

    static MEMORY: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(memory()));
    static BOTH: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(TieredCache::new([memory().into(), store().into()])));
    static STORE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(store()));

    #[quickcache(cache = MEMORY, vary_on = [n])]
    pub fn number_in_memory(n: u64) -> u64 {
        n
    }

    #[quickcache(cache = BOTH, vary_on = [n])]
    pub fn number_in_both(n: u64) -> u64 {
        n
    }

    #[quickcache(cache = MEMORY, vary_on = [name, n])]
    pub fn pair_in_memory(name: &str, n: u64) -> u64 {
        name.len() as u64 + n
    }

    #[quickcache(cache = BOTH, vary_on = [name, n])]
    pub fn pair_in_both(name: &str, n: u64) -> u64 {
        name.len() as u64 + n
    }

    /// 200 bytes.
    #[quickcache(cache = STORE, vary_on = [n])]
    pub fn text_in_store(n: u64) -> String {
        format!("{n:0200}")
    }

    #[quickcache(cache = STORE, vary_on = [n])]
    pub fn filled(n: u64) -> String {
        format!("{n:0200}")
    }
}

type Contestant = (&'static str, u64, fn(u64));

/// With how many keys each.
const CONTESTANTS: [Contestant; 11] = [
    ("a hit, u64, 64 keys, Memory", 64, |n| {
        black_box(number_in_memory(n));
    }),
    ("a hit, u64, 64 keys, Memory and Store", 64, |n| {
        black_box(number_in_both(n));
    }),
    ("a hit, u64, Memory", KEYS, |n| {
        black_box(number_in_memory(n));
    }),
    ("a hit, u64, Memory and Store", KEYS, |n| {
        black_box(number_in_both(n));
    }),
    ("a hit, (&str, u64), Memory", KEYS, |n| {
        black_box(pair_in_memory(NAME, n));
    }),
    ("a hit, (&str, u64), Memory and Store", KEYS, |n| {
        black_box(pair_in_both(NAME, n));
    }),
    ("a hit of the Store, 200 bytes", KEYS, |n| {
        black_box(functions::text_in_store(n));
    }),
    ("a fill of the Store, 200 bytes", KEYS, |_| {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        black_box(filled(NEXT.fetch_add(1, Ordering::Relaxed)));
    }),
    ("a clear, Memory", KEYS, |n| {
        number_in_memory::clear(n);
    }),
    ("a clear, Memory and Store", KEYS, |n| {
        number_in_both::clear(n);
    }),
    ("of which the table's", KEYS, |n| {
        static SPOTS: LazyLock<Vec<Spot>> = LazyLock::new(|| {
            let key = StoreKey::of_text("a clear");
            (0..KEYS).map(|n| opened().spot(key.beside(n))).collect()
        });
        opened().clear(&SPOTS[n as usize]);
    }),
];

/// Which of them have a bound in nanoseconds.
const BOUNDS: [(usize, f64); 3] = [(6, 1500.0), (9, 250.0), (10, 20.0)];
/// Which have one for their ratio to which.
const RATIOS: [(usize, usize, f64); 3] = [(1, 0, 1.15), (3, 2, 1.15), (5, 4, 1.15)];

fn opened() -> &'static Opened {
    static SHARED: LazyLock<&Shared> = LazyLock::new(|| Shared::of(Some(&FOLDER), MAX_BYTES));
    SHARED.seen().expect("the store is open")
}

fn nanoseconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds per call, when the others' lines have left the processor's caches.
fn sample(call: fn(u64), keys: u64) -> f64 {
    let mut at = 0;
    let mut rounds = |count| {
        for _ in 0..count {
            at = (at + 7_919) % keys; // every key, in an order that the hardware cannot guess from the last
            call(black_box(at));
        }
    };
    rounds(ROUNDS);
    let start = nanoseconds();
    rounds(ROUNDS);
    (nanoseconds() - start) / ROUNDS as f64
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    number_in_both(0); // opens the store
    let mut samples = vec![Vec::new(); CONTESTANTS.len()];
    for round in 0..=SAMPLES {
        for ((name, keys, call), samples) in CONTESTANTS.iter().zip(&mut samples) {
            if !name.contains(&*word) {
                continue;
            }
            if !name.contains("clear") {
                // The clears of the last round have emptied it.
                (0..*keys).for_each(call);
            }
            let taken = sample(*call, *keys);
            if round > 0 {
                samples.push(taken);
            }
        }
    }
    let _left_behind_if_it_fails = std::fs::remove_dir_all(&*FOLDER);
    let mut any_over = false;
    let mut said = |over: bool| {
        any_over |= over;
        if over { "  OVER" } else { "" }
    };
    for (at, (name, ..)) in CONTESTANTS.iter().enumerate() {
        if samples[at].is_empty() {
            continue;
        }
        let [low, middle, high] = quartiles(samples[at].clone());
        print!("{name:<40}{middle:>8.1} ns   {low:.1} to {high:.1}");
        for (_, bound) in BOUNDS.iter().filter(|(of, _)| *of == at) {
            print!("   bound: {bound}{}", said(middle > *bound));
        }
        let ratios = RATIOS
            .iter()
            .filter(|(of, to, _)| *of == at && !samples[*to].is_empty());
        for (_, to, bound) in ratios {
            let paired = samples[at].iter().zip(&samples[*to]).map(|(a, b)| a / b);
            let [low, middle, high] = quartiles(paired.collect());
            let over = said(middle > bound * 1.1);
            print!("   ratio {middle:.2}, {low:.2} to {high:.2}   bound: {bound}{over}");
        }
        println!();
    }
    exit(i32::from(any_over));
}

//! A hit on a Rust function, beside its peers: 10,000 resident keys `(&str, u64) -> u64`, nanoseconds per call, by one and
//! by two threads. The contestants take turns in short samples; the medians are of paired samples.
//!
//!     cargo run --release                every contestant
//!     cargo run --release -- ours ttl    only those whose name contains one of the words

use std::hint::black_box;
use std::sync::{Barrier, LazyLock};
use std::time::Instant;

const KEYS: u64 = 10_000;
const SAMPLES: usize = 41;

fn compute(name: &str, n: u64) -> u64 {
    name.len() as u64 + n
}

mod ours {
    use quickcache::{Memory, QuickCache, quickcache};
    use std::sync::LazyLock;

    fn cache() -> QuickCache {
        QuickCache::builder(Memory::new().entries(20_000))
            .timeout("1h")
            .build()
    }

    static CACHE: LazyLock<QuickCache> = LazyLock::new(cache);
    static NUMBERS: LazyLock<QuickCache> = LazyLock::new(cache);
    static TEXTS: LazyLock<QuickCache> = LazyLock::new(cache);

    #[quickcache(cache = CACHE, vary_on = [name, n])]
    pub fn hit(name: &str, n: u64) -> u64 {
        super::compute(name, n)
    }

    #[quickcache(cache = NUMBERS, vary_on = [n])]
    pub fn number(n: u64) -> u64 {
        super::compute("", n)
    }

    #[quickcache(cache = TEXTS, vary_on = [name, n])]
    pub fn text(name: &str, n: u64) -> std::sync::Arc<str> {
        format!("{name}{n}").into()
    }
}

mod theirs {
    use cached::macros::{cached, concurrent_cached};

    #[cached(key = "(String, u64)", convert = r#"{ (name.to_owned(), n) }"#)]
    pub fn plain(name: &str, n: u64) -> u64 {
        super::compute(name, n)
    }

    #[cached(
        max_size = 20_000,
        ttl_secs = 3600,
        key = "(String, u64)",
        convert = r#"{ (name.to_owned(), n) }"#
    )]
    pub fn bounded(name: &str, n: u64) -> u64 {
        super::compute(name, n)
    }

    #[concurrent_cached(
        max_size = 20_000,
        key = "(String, u64)",
        convert = r#"{ (name.to_owned(), n) }"#
    )]
    pub fn concurrent(name: &str, n: u64) -> u64 {
        super::compute(name, n)
    }

    #[memoize::memoize(Capacity: 20_000)]
    pub fn memoized(name: String, n: u64) -> u64 {
        super::compute(&name, n)
    }
}

/// A borrowed key of a pair, for the caches that can look one up.
#[derive(Hash, PartialEq, Eq)]
struct Borrowed<'a>(&'a str, u64);

impl quick_cache::Equivalent<(String, u64)> for Borrowed<'_> {
    fn equivalent(&self, key: &(String, u64)) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

static QUICK: LazyLock<quick_cache::sync::Cache<(String, u64), u64>> =
    LazyLock::new(|| quick_cache::sync::Cache::new(20_000));
static MOKA: LazyLock<moka::sync::Cache<(String, u64), u64>> = LazyLock::new(|| {
    let hour = std::time::Duration::from_secs(3600);
    moka::sync::Cache::builder()
        .max_capacity(20_000)
        .time_to_live(hour)
        .build()
});

type Contestant = (&'static str, fn(&str, u64) -> u64);

const CONTESTANTS: [Contestant; 9] = [
    ("ours (&str, u64) -> u64", |name, n| ours::hit(name, n)),
    ("ours (&str, u64) -> Arc<str>", |name, n| {
        ours::text(name, n).len() as u64
    }),
    ("ours u64 -> u64", |_, n| ours::number(n)),
    ("cached #[cached]", |name, n| theirs::plain(name, n)),
    ("cached #[cached(max_size, ttl)]", |name, n| {
        theirs::bounded(name, n)
    }),
    ("cached #[concurrent_cached(max_size)]", |name, n| {
        theirs::concurrent(name, n)
    }),
    ("quick_cache get, borrowed key", |name, n| {
        match QUICK.get(&Borrowed(name, n)) {
            Some(value) => value,
            None => {
                let value = compute(name, n);
                QUICK.insert((name.to_owned(), n), value);
                value
            }
        }
    }),
    ("moka get_with, owned key", |name, n| {
        MOKA.get_with((name.to_owned(), n), || compute(name, n))
    }),
    ("memoize, thread-local", |name, n| {
        theirs::memoized(name.to_owned(), n)
    }),
];

/// Nanoseconds per call of one thread, while `threads` do the same.
fn sample(call: fn(&str, u64) -> u64, names: &[String], threads: usize, rounds: u64) -> f64 {
    let together = Barrier::new(threads);
    let times: Vec<f64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads as u64)
            .map(|thread| {
                let together = &together;
                scope.spawn(move || {
                    // The thread's own caches, if it has any, are filled before.
                    (0..KEYS).for_each(|n| {
                        black_box(call(&names[(n % 64) as usize], n));
                    });
                    together.wait();
                    let start = Instant::now();
                    let mut at = thread * 4_999;
                    for _ in 0..rounds {
                        at = (at + 7_919) % KEYS; // every key, in an order that the hardware cannot guess from the last
                        black_box(call(black_box(&names[(at % 64) as usize]), black_box(at)));
                    }
                    start.elapsed().as_nanos() as f64 / rounds as f64
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no contestant panics"))
            .collect()
    });
    times.iter().sum::<f64>() / threads as f64
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
    (at(1), at(2), at(3))
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<String> = (0..64).map(|n| format!("name of number {n}")).collect();
    let chosen: Vec<Contestant> = CONTESTANTS
        .into_iter()
        .filter(|(name, _)| {
            words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
        })
        .collect();
    for threads in [1, 2] {
        let mut samples = vec![Vec::new(); chosen.len()];
        for _ in 0..SAMPLES {
            for ((_, call), samples) in chosen.iter().zip(&mut samples) {
                samples.push(sample(*call, &names, threads, 100_000));
            }
        }
        let base = chosen
            .iter()
            .position(|(name, _)| *name == "cached #[cached(max_size, ttl)]");
        println!(
            "{threads} thread(s){:>34} ns   quartiles        ratio to #[cached(max_size, ttl)]",
            ""
        );
        for (at, (name, _)) in chosen.iter().enumerate() {
            let (low, middle, high) = median(samples[at].clone());
            let ratio = base.map(|base| {
                let paired = samples[at]
                    .iter()
                    .zip(&samples[base])
                    .map(|(ours, theirs)| ours / theirs);
                median(paired.collect()).1
            });
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            println!("{name:<44}{middle:>7.1}   {low:.1} to {high:.1}   {ratio:>8}");
        }
    }
}

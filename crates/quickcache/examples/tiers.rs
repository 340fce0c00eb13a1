//! Memory in front, files behind it, so that values outlive the process: run `cargo run --example tiers` twice, and with
//! `-- clear` once.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use quickcache::{Cache, Memory, QuickCache, Tier, TieredCache, quickcache};

/// A file for each key. How long a value may live stands in the bytes themselves too, so the files need no dates.
struct Files(PathBuf);

impl Files {
    fn path(&self, key: &str) -> PathBuf {
        // Keys are short, and of letters, digits, dots and the like.
        self.0.join(key.replace(['/', ':'], "_"))
    }
}

impl Cache for Files {
    type Error = io::Error;

    fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(key)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set(&self, key: &str, value: &[u8], _timeout: Duration) -> io::Result<()> {
        let (path, new) = (self.path(key), self.path(key).with_extension("new"));
        fs::create_dir_all(&self.0)?;
        fs::write(&new, value)?;
        fs::rename(new, path) // a reader sees the old value or the new one, never half of it
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    let files = Files(env::temp_dir().join("quickcache-tiers-example"));
    QuickCache::new(TieredCache::new([
        Memory::new().timeout("10s").into(),
        Tier::cache(files).timeout("1m"),
    ]))
});

/// With a name and a version the key stays the same when the text of the function changes.
#[quickcache(cache = CACHE, vary_on = [n], name = "primes", version = 1)]
fn primes_below(n: u64) -> Vec<u64> {
    println!("    computing");
    (2..n)
        .filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0))
        .collect()
}

fn main() {
    for _ in 0..2 {
        let start = SystemTime::now();
        let count = primes_below(200_000).len();
        println!(
            "{count} primes in {:?}",
            start.elapsed().unwrap_or_default()
        );
    }
    let stats = primes_below::stats();
    println!(
        "hits: {} in memory, {:?} in the tiers behind it",
        stats.memory_hits, stats.tier_hits
    );
    if env::args().any(|word| word == "clear") {
        println!("{:?}", primes_below::clear(200_000)); // in memory and in the files
    }
}

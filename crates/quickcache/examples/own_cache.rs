//! An async function over a cache of one's own, here a table behind an async lock: `cargo run --example own_cache`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use quickcache::{AsyncCache, QuickCache, Tier, TieredCache, quickcache};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// Bytes by text keys, each for a time: what any cache server offers.
#[derive(Default)]
struct Table(Mutex<HashMap<String, (Vec<u8>, Instant)>>);

impl AsyncCache for Table {
    type Error = Infallible;

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        let table = self.0.lock().await;
        let entry = table.get(key).filter(|(_, end)| Instant::now() < *end);
        Ok(entry.map(|(bytes, _)| bytes.clone()))
    }

    async fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Infallible> {
        let entry = (value.to_owned(), Instant::now() + timeout);
        self.0.lock().await.insert(key.to_owned(), entry);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Infallible> {
        self.0.lock().await.remove(key);
        Ok(())
    }
}

static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    let table = Tier::async_cache(Table::default()).timeout("5m");
    QuickCache::new(TieredCache::new([table]))
});

/// A value that leaves memory is written by serde.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Weather {
    city: String,
    degrees: i32,
}

#[quickcache(cache = CACHE, vary_on = [city])]
async fn weather(city: &str) -> Weather {
    println!("    asking for the weather in {city}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    Weather {
        city: city.to_owned(),
        degrees: 21,
    }
}

#[tokio::main]
async fn main() {
    // Two at once: one execution.
    let (one, two) = tokio::join!(weather("Rome"), weather("Rome"));
    println!("{one:?}\n{two:?}");
    println!("{:?}", weather::clear("Rome").await);
    println!("{:?} after a clear", weather("Rome").await);
}

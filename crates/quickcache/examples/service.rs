//! A service that reads from a slow place, and clears what it changes: `cargo run --example service`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use quickcache::quickcache;

/// Stands for a database.
static PRICES: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(|| {
    Mutex::new(HashMap::from([
        ("tea".to_owned(), 3),
        ("coffee".to_owned(), 4),
    ]))
});

/// `Ok` is cached for an hour, `Err` is not: an article that comes later is seen at once.
#[quickcache(vary_on = [article, currency], timeout = "1h")]
fn price(article: &str, currency: &str) -> Result<String, String> {
    println!("    reading the price of {article}");
    let prices = PRICES.lock().map_err(|error| error.to_string())?;
    let price = prices.get(article).ok_or(format!("no {article} here"))?;
    Ok(format!("{price} {currency}"))
}

/// Writes first, and clears then: a call that starts after the clear returned sees the new price.
fn set_price(article: &str, new: u64) {
    if let Ok(mut prices) = PRICES.lock() {
        prices.insert(article.to_owned(), new);
    }
    for currency in ["EUR", "USD"] {
        price::clear(article, currency);
    }
}

fn main() {
    println!("{:?}", price("tea", "EUR"));
    println!("{:?} again, from the cache", price("tea", "EUR"));
    set_price("tea", 5);
    println!("{:?} after a clear", price("tea", "EUR"));
    println!("{:?}, {:?}", price("cocoa", "EUR"), price("cocoa", "EUR"));

    let stats = price::stats();
    println!(
        "{} hits, {} executions",
        stats.memory_hits, stats.executions
    );
    println!("{:#?}", price::explain("tea", "EUR"));
}

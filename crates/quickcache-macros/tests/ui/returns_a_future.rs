use quickcache::quickcache;

use std::future::Future;
use std::pin::Pin;

#[quickcache(vary_on = [id])]
fn posts(id: u64) -> Pin<Box<dyn Future<Output = u64> + Send + Sync>> {
    Box::pin(async move { id })
}

fn main() {}

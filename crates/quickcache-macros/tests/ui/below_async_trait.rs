//! What `#[async_trait]` hands to an attribute below it.
use std::future::Future;
use std::pin::Pin;

use quickcache::quickcache;

struct Repo;

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [n])]
    fn fetch<'life0, 'async_trait>(
        &'life0 self,
        n: u64,
    ) -> Pin<Box<dyn Future<Output = u64> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
    {
        Box::pin(async move { n })
    }
}

fn main() {}

use std::convert::Infallible;
use std::time::Duration;

use quickcache::Cache;

struct Dict;

impl Cache for Dict {
    type Error = Infallible;
    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
    fn set(&self, _: &str, _: &[u8], _: Duration) -> Result<(), Infallible> {
        Ok(())
    }
}

fn main() {}

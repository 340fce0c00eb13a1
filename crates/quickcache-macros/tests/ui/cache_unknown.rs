use quickcache::quickcache;

#[quickcache(cache = CACHE, vary_on = [id])]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

use quickcache::quickcache;

static CACHE: u64 = 1;

#[quickcache(cache = CACHE, vary_on = [id])]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

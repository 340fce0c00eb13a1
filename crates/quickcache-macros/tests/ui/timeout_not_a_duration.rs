use quickcache::quickcache;

const SECONDS: u64 = 10;

#[quickcache(vary_on = [id], timeout = SECONDS)]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

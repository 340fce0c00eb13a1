use quickcache::quickcache;

#[quickcache(vary_on = [])]
fn sum((a, b): (u64, u64)) -> u64 {
    a + b
}

fn main() {}

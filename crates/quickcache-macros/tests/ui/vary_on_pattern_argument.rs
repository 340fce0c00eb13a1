use quickcache::quickcache;

#[quickcache(vary_on = [a])]
fn posts((a, b): (u64, u64)) -> u64 {
    a + b
}

fn main() {}

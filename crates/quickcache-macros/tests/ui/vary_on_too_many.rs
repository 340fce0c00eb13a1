use quickcache::quickcache;

#[quickcache(vary_on = [a, a, a, a, a, a, a, a, a, a, a, a, b])]
fn posts(a: u64, b: u64) -> u64 {
    a + b
}

fn main() {
    posts(1, 2);
}

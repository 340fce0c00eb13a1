use quickcache::quickcache;

#[quickcache(vary_on = [id])]
fn posts() -> u64 {
    1
}

fn main() {}

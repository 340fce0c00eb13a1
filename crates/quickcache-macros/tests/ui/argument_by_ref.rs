use quickcache::quickcache;

#[quickcache(vary_on = [id])]
fn posts(ref id: u64) -> u64 {
    *id
}

fn main() {}

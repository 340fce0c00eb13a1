use quickcache::quickcache;

struct Digits;

#[quickcache(vary_on = [id], codec = Digits)]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

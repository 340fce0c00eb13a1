use quickcache::quickcache;

#[quickcache([id])]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

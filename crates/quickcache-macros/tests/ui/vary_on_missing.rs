use quickcache::quickcache;

#[quickcache(timeout = "1h")]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

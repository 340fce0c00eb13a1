use quickcache::quickcache;

#[quickcache(vary_on = [id], stale_timeout = "1h")]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts::clear(1);
}

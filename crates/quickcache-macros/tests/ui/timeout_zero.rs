use quickcache::quickcache;

#[quickcache(vary_on = [id], timeout = "0s")]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts::clear(1);
}

use quickcache::quickcache;

#[quickcache(vary_on = [id], name = "")]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts::clear(1);
}

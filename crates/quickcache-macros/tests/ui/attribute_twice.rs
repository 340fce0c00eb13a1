use quickcache::quickcache;

#[quickcache(vary_on = [id])]
#[quickcache(vary_on = [id])]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts(1);
}

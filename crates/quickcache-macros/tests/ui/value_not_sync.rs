use quickcache::quickcache;

#[quickcache(vary_on = [id])]
fn posts(id: u64) -> std::cell::Cell<u64> {
    std::cell::Cell::new(id)
}

fn main() {}

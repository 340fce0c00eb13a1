use quickcache::quickcache;

#[quickcache(vary_on = [id])]
unsafe fn posts(id: u64) -> u64 {
    id
}

fn main() {}

use quickcache::quickcache;

#[quickcache]
struct Posts {
    id: u64,
}

fn main() {}

use quickcache::quickcache;

struct Key(u64);

fn key(id: u64) -> Key {
    Key(id)
}

#[quickcache(vary_on = key)]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts(1);
}

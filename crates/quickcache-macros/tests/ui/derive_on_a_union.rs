#[derive(quickcache::KeyPart)]
union Key {
    number: u64,
    other: i64,
}

fn main() {}

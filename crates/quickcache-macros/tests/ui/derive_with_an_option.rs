#[derive(quickcache::KeyPart)]
#[quickcache(name = "key")]
struct Key(u64);

fn main() {}

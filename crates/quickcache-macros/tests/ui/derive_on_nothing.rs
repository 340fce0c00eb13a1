#[derive(quickcache::KeyPart)]
enum Key {}

fn main() {}

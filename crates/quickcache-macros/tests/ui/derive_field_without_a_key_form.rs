struct Inner;

#[derive(quickcache::KeyPart)]
struct Outer {
    id: u64,
    inner: Inner,
}

fn main() {}

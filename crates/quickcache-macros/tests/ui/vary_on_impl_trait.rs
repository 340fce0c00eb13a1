use quickcache::quickcache;

#[quickcache(vary_on = [n, id])]
fn posts(n: u64, id: &impl quickcache::KeyPart) -> u64 {
    let _ = id;
    n
}

fn main() {
    posts(1, &2_u64);
}

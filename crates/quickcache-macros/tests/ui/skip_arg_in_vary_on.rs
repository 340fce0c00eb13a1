use quickcache::quickcache;

#[quickcache(vary_on = [id, force], skip_arg = force)]
fn posts(id: u64, force: bool) -> u64 {
    let _ = force;
    id
}

fn main() {}

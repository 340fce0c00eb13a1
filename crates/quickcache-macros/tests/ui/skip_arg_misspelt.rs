use quickcache::quickcache;

#[quickcache(vary_on = [id], skip_arg = froce)]
fn posts(id: u64, force: bool) -> u64 {
    let _ = force;
    id
}

fn main() {
    posts::clear(1);
}

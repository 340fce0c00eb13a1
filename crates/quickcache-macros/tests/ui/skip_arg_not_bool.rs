use quickcache::quickcache;

#[quickcache(vary_on = [id], skip_arg = force)]
fn posts(id: u64, force: Option<bool>) -> u64 {
    let _ = force;
    id
}

fn main() {
    posts::clear(1);
}

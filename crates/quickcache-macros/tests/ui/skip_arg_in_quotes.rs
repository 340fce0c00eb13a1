use quickcache::quickcache;

#[quickcache(vary_on = [id], skip_arg = "force")]
fn posts(id: u64, force: bool) -> u64 {
    id + u64::from(force)
}

fn main() {
    posts::clear(1);
}

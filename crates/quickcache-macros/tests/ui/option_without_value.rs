use quickcache::quickcache;

#[quickcache(vary_on = [id], skip_arg)]
fn posts(id: u64, skip_arg: bool) -> u64 {
    id + u64::from(skip_arg)
}

fn main() {
    posts::clear(1);
}

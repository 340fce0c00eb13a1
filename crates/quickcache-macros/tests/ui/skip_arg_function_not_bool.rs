use quickcache::quickcache;

fn how_often(_id: u64) -> u64 {
    1
}

#[quickcache(vary_on = [id], skip_arg = how_often)]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts::clear(1);
}

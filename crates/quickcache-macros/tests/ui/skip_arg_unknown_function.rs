use quickcache::quickcache;

#[quickcache(vary_on = [id], skip_arg = when_told)]
fn posts(id: u64) -> u64 {
    id
}

fn main() {}

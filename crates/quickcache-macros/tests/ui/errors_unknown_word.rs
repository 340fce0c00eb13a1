use quickcache::quickcache;

#[quickcache(vary_on = [id], errors = cache)]
fn posts(id: u64) -> Result<u64, String> {
    Ok(id)
}

fn main() {
    let _: Option<Result<u64, String>> = posts::get_cached_value(1);
}

use quickcache::quickcache;

#[quickcache(vary_on = [id], stale_timeout = "1h", errors = keep)]
fn posts(id: u64) -> Result<u64, String> {
    Ok(id)
}

fn main() {
    posts::clear(1);
}

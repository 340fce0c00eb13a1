use quickcache::quickcache;

#[quickcache(vary_on = [id], errors = cache)]
fn posts(id: u64) -> Result<u64, String> {
    Ok(id)
}

fn main() {}

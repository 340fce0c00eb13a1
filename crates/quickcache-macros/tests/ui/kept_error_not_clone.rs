use quickcache::quickcache;

#[quickcache(vary_on = [id], errors = keep)]
fn posts(id: u64) -> Result<u64, std::io::Error> {
    Ok(id)
}

fn main() {}

use quickcache::quickcache;

#[quickcache(vary_on = [id])]
fn posts(id: u64, locale: &str) -> u64 {
    let _ = locale;
    id
}

fn main() {
    posts::clear(1, "en");
}

use quickcache::quickcache;

fn key(id: u64) -> u64 {
    id
}

#[quickcache(vary_on = key)]
fn posts(id: u64, locale: &str) -> u64 {
    let _ = locale;
    id
}

fn main() {
    posts(1, "en");
}

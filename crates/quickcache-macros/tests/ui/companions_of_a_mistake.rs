//! What is right in the attribute holds, so that code beside it is not wrong too.
use quickcache::{Cleared, quickcache};

struct Person {
    id: u64,
}

fn main() {
    #[quickcache(vary_on = ["person.id", locale], timeout = "1h", version = 1)]
    fn posts(person: &Person, locale: &str) -> Vec<String> {
        vec![format!("{} in {locale}", person.id)]
    }
    let clear: fn(&Person, &str) -> Cleared = posts::clear;
    clear(&Person { id: 1 }, "en");
    let cached: Option<Vec<String>> = posts::get_cached_value(&Person { id: 1 }, "en");
    drop(cached);
    posts::set_cached_value(&Person { id: 1 }, "en").to(Vec::new());
}

use quickcache::quickcache;

#[quickcache(vary_on = [text])]
fn first(text: &str) -> Result<&str, String> {
    text.get(..1).ok_or_else(String::new)
}

fn main() {}

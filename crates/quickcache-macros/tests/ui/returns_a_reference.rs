use quickcache::quickcache;

#[quickcache(vary_on = [text])]
fn first(text: &str) -> &str {
    &text[..1]
}

fn main() {}

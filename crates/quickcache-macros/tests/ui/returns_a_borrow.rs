use quickcache::quickcache;

#[quickcache(vary_on = [text])]
fn words<'a>(text: &'a str) -> Vec<std::borrow::Cow<'a, str>> {
    vec![text.into()]
}

fn main() {}

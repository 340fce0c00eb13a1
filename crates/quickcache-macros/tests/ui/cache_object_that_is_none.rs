use quickcache::Tier;

struct Dict;

fn main() {
    let _ = Tier::cache(Dict);
}

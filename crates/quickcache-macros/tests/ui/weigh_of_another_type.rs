use quickcache::quickcache;

fn weight(text: &str) -> usize {
    text.len()
}

#[quickcache(vary_on = [id], weigh = weight)]
fn posts(id: u64) -> Vec<u64> {
    vec![id]
}

fn main() {}

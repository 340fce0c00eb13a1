use quickcache::quickcache;

#[quickcache]
trait Source {
    fn get(&self, key: &str) -> usize;
}

fn main() {}

use quickcache::quickcache;

trait Source {
    #[quickcache(vary_on = [key])]
    fn get(&self, key: &str) -> usize {
        key.len()
    }
}

fn main() {}

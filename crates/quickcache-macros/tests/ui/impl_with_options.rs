use quickcache::quickcache;

struct Repo;

#[quickcache(timeout = "1h")]
impl Repo {
    #[quickcache(vary_on = [key])]
    fn get(&self, key: &str) -> usize {
        key.len()
    }
}

fn main() {}

use quickcache::quickcache;

struct Repo;

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [key])]
    #[quickcache(timeout = "1h")]
    fn get(&self, key: &str) -> usize {
        key.len()
    }
}

fn main() {}

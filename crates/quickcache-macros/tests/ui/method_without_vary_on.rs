use quickcache::quickcache;

struct Repo;

#[quickcache]
impl Repo {
    #[quickcache]
    fn get(&self, key: &str) -> usize {
        key.len()
    }
}

fn main() {}

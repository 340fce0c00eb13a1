use quickcache::quickcache;

struct Repo;

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [key], timeot = "1h")]
    fn get(&self, key: &str) -> usize {
        key.len()
    }
}

fn main() {
    Repo.get_entry("a").clear();
}

use quickcache::quickcache;

struct Repo;

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [key])]
    fn get(&self, key: &str, make: impl Fn() -> usize) -> usize {
        key.len() + make()
    }
}

fn main() {
    Repo.get_entry("a").refresh(|| 1);
}

use quickcache::quickcache;

struct Repo {
    name: String,
}

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [self.name, kye])]
    fn get(&self, key: &str) -> usize {
        key.len() + self.name.len()
    }
}

fn main() {
    let repo = Repo { name: String::new() };
    repo.get_entry("a").clear();
}

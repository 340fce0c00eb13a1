use quickcache::quickcache;

struct Person { id: u64 }

#[quickcache(vary_on = [persn.id])]
fn posts(person: &Person) -> u64 {
    person.id
}

fn main() {
    posts::clear(&Person { id: 1 });
}

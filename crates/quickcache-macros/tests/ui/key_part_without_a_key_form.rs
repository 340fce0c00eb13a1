use quickcache::quickcache;

struct Person { id: u64 }

#[quickcache(vary_on = [person])]
fn posts(person: &Person) -> u64 {
    person.id
}

fn main() {}

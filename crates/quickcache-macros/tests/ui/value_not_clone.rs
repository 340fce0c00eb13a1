use quickcache::quickcache;

struct Post;

#[quickcache(vary_on = [id])]
fn posts(id: u64) -> Vec<Post> {
    let _ = id;
    Vec::new()
}

fn main() {}

use quickcache::quickcache;

use std::sync::LazyLock;

static MEMORY: LazyLock<quickcache::Memory> = LazyLock::new(quickcache::Memory::new);

#[quickcache(cache = MEMORY, vary_on = [id])]
fn posts(id: u64) -> u64 {
    id
}

fn main() {
    posts::clear(1);
}

//! A hit allocates nothing: counted by an allocator of the test's own, on the thread of the test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use quickcache::quickcache;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(of: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    of();
    ALLOCATIONS.get() - before
}

#[quickcache(vary_on = [name, n])]
fn number(name: &str, n: u64) -> u64 {
    name.len() as u64 + n
}

#[quickcache(vary_on = [id, tags, at])]
fn shared(id: Option<&str>, tags: &[u32], at: (f64, String)) -> std::sync::Arc<str> {
    format!("{id:?}{tags:?}{at:?}").into()
}

struct Repo(u64);

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [self.0, key])]
    fn get(&self, key: &str) -> Option<u64> {
        Some(self.0 + key.len() as u64)
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new([0_u8; 100]))), 1);
    assert!(allocations(|| assert_eq!(number("cold", 1), 5)) > 0);
}

#[test]
fn a_hit_allocates_nothing() {
    number("a", 1);
    assert_eq!(allocations(|| assert_eq!(number("a", 1), 2)), 0);
    let at = (0.5, "here".to_owned());
    shared(Some("x"), &[1, 2], at.clone());
    assert_eq!(allocations(|| drop(shared(Some("x"), &[1, 2], at))), 0);
    Repo(1).get("k");
    assert_eq!(allocations(|| assert_eq!(Repo(1).get("k"), Some(2))), 0);
}

//! A fork: the mappings are the child's too, and stay good. What a thread of the parent may hold is held by whoever forks, so that the
//! child finds it free; and the child's place among the workers is its own.

use std::cell::UnsafeCell;
use std::sync::Once;

use super::{Shared, all, later, lock};

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> std::ffi::c_int;
}

/// Called before there is a first store.
pub(super) fn expect() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers are functions of this library, which is not unloaded: it leaks its stores.
    ONCE.call_once(|| unsafe {
        pthread_atfork(Some(before), Some(in_parent), Some(in_child));
    });
}

/// A guard, of whatever.
trait Held {}

impl<T> Held for T {}

/// What is held from `before` on, the guard of `all` among it: who holds that may look in here.
struct Hand(UnsafeCell<Vec<Box<dyn Held>>>);

// SAFETY: it is used between `before` and the other two only, by the thread that holds the guard of `all`.
unsafe impl Sync for Hand {}

static HAND: Hand = Hand(UnsafeCell::new(Vec::new()));

unsafe extern "C" fn before() {
    let all = all();
    let mut held: Vec<Box<dyn Held>> = Vec::new();
    for shared in all.iter() {
        held.push(Box::new(lock(&shared.opening)));
        if let Some(opened) = shared.seen() {
            held.push(Box::new(opened.hold()));
        }
    }
    held.push(Box::new(later::hold()));
    held.push(Box::new(all));
    // SAFETY: this thread holds the guard.
    unsafe { *HAND.0.get() = held };
}

unsafe extern "C" fn in_parent() {
    // SAFETY: this thread, or in the child its copy, holds the guard until it is dropped here.
    let held = unsafe { std::mem::take(&mut *HAND.0.get()) };
    drop(held);
}

unsafe extern "C" fn in_child() {
    // SAFETY: as above; the guard is the last to be dropped.
    unsafe { in_parent() };
    let opened: Vec<_> = all()
        .iter()
        .filter_map(|shared: &&Shared| shared.seen())
        .collect();
    for opened in opened {
        opened.workers.forget();
    }
    later::forget();
}

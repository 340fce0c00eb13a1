//! A fork: the mappings are the child's too, and stay good. What a thread of the parent may hold is held by whoever forks, so that the
//! child finds it free; and the child's place among the workers is its own.

use std::sync::Once;

use super::{Shared, all, later, lock};
use crate::fork::{Hand, Held, at_fork};

/// Called before there is a first store.
pub(super) fn expect() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers are functions of this library; it leaks its stores.
    ONCE.call_once(|| unsafe { at_fork(Some(before), Some(in_parent), Some(in_child)) });
}

/// What is held from `before` on, the guard of `all` among it.
static HAND: Hand = Hand::new();

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
    // SAFETY: the last is the guard of `all`.
    unsafe { HAND.take_up(held) };
}

unsafe extern "C" fn in_parent() {
    // SAFETY: `before` was called.
    unsafe { HAND.let_go() };
}

unsafe extern "C" fn in_child() {
    // SAFETY: as above.
    unsafe { HAND.let_go() };
    let opened: Vec<_> = all()
        .iter()
        .filter_map(|shared: &&Shared| shared.seen())
        .collect();
    for opened in opened {
        opened.workers.forget();
    }
    later::forget();
}

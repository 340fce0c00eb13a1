//! A fork: the child finds every lock of a journal free, waits for no write of its parent, and keeps none of its parent's files locked.

use std::sync::{Mutex, MutexGuard, Once};

use super::Journal;
use crate::fork::{Hand, Held, at_fork};
use crate::tier::store::lock;

/// Every journal of this process, none of which is ever dropped.
fn all() -> MutexGuard<'static, Vec<&'static Journal>> {
    static ALL: Mutex<Vec<&'static Journal>> = Mutex::new(Vec::new());
    lock(&ALL)
}

pub(super) fn expect(journal: &'static Journal) {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers are functions of this library; it leaks its journals.
    ONCE.call_once(|| unsafe { at_fork(Some(before), Some(in_parent), Some(in_child)) });
    all().push(journal);
}

/// What is held from `before` on, the guard of `all` among it.
static HAND: Hand = Hand::new();

unsafe extern "C" fn before() {
    let all = all();
    let mut held: Vec<Box<dyn Held>> = Vec::new();
    for journal in all.iter() {
        held.push(Box::new(journal.hold()));
    }
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
    for journal in all().iter() {
        journal.forget();
    }
}

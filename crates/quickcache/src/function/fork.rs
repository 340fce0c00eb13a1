//! A fork while other threads are in the midst of calls. The child has their locks as they held them, and nobody who would
//! release them: so whoever forks first takes every lock that a call may meet, in the order that calls take them, and both
//! sides release them again. What those threads had begun the child forgets by itself (`Guarded::forget_the_parent`).

use std::sync::Once;

use super::{all_functions, protocol};
use crate::fork::{Hand, Held, at_fork};

/// Called before there is a first function.
pub(super) fn expect() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers are functions of this library; it leaks its functions.
    ONCE.call_once(|| unsafe { at_fork(Some(before), Some(after), Some(after)) });
}

/// What is held from `before` to `after`, the guard of `all_functions` among it.
static HAND: Hand = Hand::new();

unsafe extern "C" fn before() {
    let functions = all_functions();
    let mut held: Vec<Box<dyn Held>> = vec![Box::new(protocol().hold())];
    let mut seen = Vec::new();
    for tables in functions
        .iter()
        .filter_map(|function| function.tables.as_ref())
    {
        if !seen.contains(&tables.of_memory()) {
            seen.push(tables.of_memory());
            held.push(Box::new(tables.hold()));
        }
    }
    for function in functions.iter() {
        held.push(Box::new(function.counters.hold()));
    }
    held.push(Box::new(functions));
    // SAFETY: the last is the guard of `all_functions`.
    unsafe { HAND.take_up(held) };
}

unsafe extern "C" fn after() {
    // SAFETY: `before` was called.
    unsafe { HAND.let_go() };
}

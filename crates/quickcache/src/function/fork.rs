//! A fork while other threads are in the midst of calls. The child has their locks as they held them, and nobody who would
//! release them: so whoever forks first takes every lock that a call may meet, in the order that calls take them, and both
//! sides release them again. What those threads had begun the child forgets by itself (`Guarded::forget_the_parent`).

use std::cell::UnsafeCell;
use std::sync::Once;

use super::{all_functions, protocol};

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> std::ffi::c_int;
}

/// Called before there is a first function. If there is no memory for it, a child may hang as it would have without it.
pub(super) fn expect() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers are functions of this library, which is not unloaded: it leaks what points to it.
    ONCE.call_once(|| unsafe {
        pthread_atfork(Some(before), Some(after), Some(after));
    });
}

/// A guard, of whatever.
trait Held {}

impl<T> Held for T {}

/// What is held from `before` to `after`, the guard of `all_functions` among it: who holds that may look in here.
struct Hand(UnsafeCell<Vec<Box<dyn Held>>>);

// SAFETY: it is used between `before` and `after` only, by the thread that holds the guard of `all_functions`.
unsafe impl Sync for Hand {}

static HAND: Hand = Hand(UnsafeCell::new(Vec::new()));

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
    // SAFETY: this thread holds the guard.
    unsafe { *HAND.0.get() = held };
}

unsafe extern "C" fn after() {
    // SAFETY: this thread, or in the child its copy, holds the guard until it is dropped here.
    let held = unsafe { std::mem::take(&mut *HAND.0.get()) };
    drop(held);
}

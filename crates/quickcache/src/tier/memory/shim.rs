//! What the lock takes from the standard library. The model checker's test compiles the lock a second time with a `shim` of
//! its own beside it (`tests/loom_lock.rs`).

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use std::thread::yield_now;

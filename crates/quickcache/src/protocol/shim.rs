//! What the drivers take from the standard library to wait and to be woken. The model checker's tests compile the drivers
//! a second time with a `shim` of their own beside them (`tests/shuttle_protocol.rs`), so that every lock is a scheduling point.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
pub(super) use std::thread_local;

#[cfg(unix)]
pub(super) use crate::fork::count as forks;

#[cfg(not(unix))]
pub(super) const fn forks() -> u32 {
    0
}

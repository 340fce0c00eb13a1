//! The protocol under a model checker: the files of `src/protocol` compiled once more with a `shim` whose locks are
//! scheduling points, models that run them, and wrong protocols (mutants) that the same models must find.
//!
//! `SHUTTLE_SCHEDULES=1000000 cargo test --release --test shuttle_protocol -- --nocapture` for a long run; the default is
//! for every day. Schedules are random with a fixed seed; `SHUTTLE_RANDOM_SEED` chooses another.

#![allow(dead_code)] // no model calls every transition

#[path = "../../src/protocol/asynchronous.rs"]
mod asynchronous;
#[path = "../../src/protocol/blocking.rs"]
mod blocking;
#[path = "../../src/protocol/flights.rs"]
mod flights;
#[path = "../../src/protocol/generations.rs"]
mod generations;
#[path = "../../src/protocol/guarded.rs"]
mod guarded;
#[path = "../../src/protocol/machine.rs"]
mod machine;
#[path = "../../src/protocol/signal.rs"]
mod signal;
#[path = "../../src/protocol/stores.rs"]
mod stores;

mod shim {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread_local;

    pub(crate) const fn forks() -> u32 {
        0
    }
}

mod drivers;
mod floor;
mod one_process;
mod two_processes;

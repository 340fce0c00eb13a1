//! The store's generations and leases under a model checker that knows weak memory: every order of their words that the language
//! allows is tried. What is shared besides is modelled by the weakest that the store has: the database is read and written without any
//! order, records are cells that report whoever reads them unpublished, futexes are a lock and a bell.

#![cfg(target_os = "linux")]

// What opens files is not used here.
#[allow(dead_code)]
#[path = "../../src/tier/store/generations.rs"]
mod generations;

#[allow(dead_code)]
#[path = "../../src/tier/store/leases.rs"]
mod leases;

mod shim {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(super) const REGIONS: usize = 1;
}

mod clears;
mod flights;

use loom::thread;
use std::sync::Arc;

fn check(model: impl Fn() + Sync + Send + 'static) {
    check_with(3, model);
}

/// In every order that has so many preemptions at most: four threads in every order at all take hours.
fn check_with(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn beside<S: Send + Sync + 'static, T: 'static>(
    shared: &Arc<S>,
    run: impl FnOnce(&S) -> T + 'static,
) -> thread::JoinHandle<T> {
    let shared = shared.clone();
    thread::spawn(move || run(&shared))
}

//! Calls of coroutine functions.
//!
//! `f(x)` gives an object that does nothing until it is awaited (`call`): the call begins then, and what a clear removed before is not
//! seen. A hit ends it at once. Everything else is a coroutine of `quickcache.aio`, which asks a `Step` what to do next;
//! so asyncio's own tasks and futures do the waiting. A run of the function that stores without a flight is an `Anew`.

mod anew;
mod call;
mod step;

pub use anew::{Anew, Execution, skipped};
pub use call::{CachedCall, begin};
pub use step::Step;

//! The protocol: flights, validated joins, generations. One state machine, and the drivers that run it.

pub mod asynchronous;
pub mod blocking;
mod flights;
mod generations;
pub mod guarded;
pub mod machine;
mod shim;
mod signal;
mod stores;

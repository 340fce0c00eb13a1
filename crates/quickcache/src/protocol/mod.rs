//! The protocol: flights, validated joins, generations. One state machine, and the drivers that run it.

mod flights;
mod generations;
pub mod machine;
mod stores;

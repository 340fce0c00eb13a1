//! The protocol: flights, validated joins, generations. One state machine, and the drivers that run it.

mod generations;
pub mod machine;

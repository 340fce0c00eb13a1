//! Tiers: where values are kept. Memory is ours, and typed; whatever lies behind it knows bytes by text keys.

pub mod memory;
#[cfg(unix)]
pub mod store;
pub(crate) mod tiered;
pub(crate) mod user;

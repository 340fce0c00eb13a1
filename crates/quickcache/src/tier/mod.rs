//! Tiers: where values are kept. Memory is ours, and typed; whatever lies behind it knows bytes by text keys.

pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere it has no files"))]
pub mod store;
pub(crate) mod tiered;
pub(crate) mod user;

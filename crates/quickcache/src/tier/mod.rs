//! Tiers.

pub mod memory;

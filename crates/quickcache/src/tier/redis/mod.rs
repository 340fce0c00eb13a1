//! The Redis tier.

pub mod journal;

//! A function cache: one decorator, in Rust and in Python, over one engine.

pub mod key;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod tier;

#![doc = include_str!("../README.md")]
//!
//! # In this documentation
//!
//! [`macro@quickcache`] the attribute · [`QuickCache`] and its [`Builder`] the options of a cache · [`Memory`], [`Store`], [`Tier`],
//! [`TieredCache`] where values are · [`KeyPart`](trait@KeyPart) what a function can vary on · [`Cache`], [`AsyncCache`], [`Codec`] what to implement
//! for a store of your own · [`Cleared`], [`Entry`], [`Stats`], [`Explanation`] what the companions give · [`FakeClock`] for tests

#![warn(missing_docs)]

#[doc(hidden)]
#[allow(missing_docs)]
pub mod clock;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod codec;
mod config;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod entry;
mod error;
#[cfg(unix)]
mod fork;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod function;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internal;
pub mod key;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod probe;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod protocol;
mod scratch;
mod stats;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod tier;
mod weigh;

pub use clock::FakeClock;
pub use codec::Codec;
#[cfg(feature = "messagepack")]
pub use codec::MessagePack;
pub use config::{Builder, QuickCache, Timeout};
pub use error::Error;
pub use function::asynchronous::SettingAsync;
pub use function::entry::{Cleared, Setting};
pub use function::method::{Entry, EntryAsync};
pub use key::KeyPart;
/// Makes a struct or an enum a key value: see [`KeyPart`](trait@KeyPart).
#[cfg(feature = "macros")]
pub use quickcache_macros::KeyPart;
/// Caches a function, or the methods of an impl block: see the [front page](crate).
#[cfg(feature = "macros")]
pub use quickcache_macros::quickcache;
pub use stats::{Explanation, Miss, Stats};
pub use tier::memory::Memory;
#[cfg(feature = "redis")]
pub use tier::redis::Redis;
pub use tier::store::Store;
pub use tier::tiered::TieredCache;
pub use tier::user::{AsyncCache, Cache, Tier};
pub use weigh::Weigh;

/// The examples of the pages that are not in this documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[cfg_attr(feature = "redis", doc = include_str!("../../../docs/rust.md"))]
struct Pages;

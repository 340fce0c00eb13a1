//! A function cache: one attribute, in Rust and in Python, over one engine.

#![warn(missing_docs)]

mod clock;
mod codec;
mod config;
mod entry;
mod error;
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
pub use quickcache_macros::{KeyPart, quickcache};
pub use stats::{Explanation, Miss, Stats};
pub use tier::memory::Memory;
pub use tier::tiered::TieredCache;
pub use tier::user::{AsyncCache, Cache, Tier};
pub use weigh::Weigh;

//! A function cache whose `clear` wins every race: one attribute names the function, the cache, and what the value varies on.
//!
//! ```
//! use quickcache::quickcache;
//!
//! struct Person { id: u64, name: String }
//!
//! #[quickcache(vary_on = [person.id], skip_arg = force, timeout = "1h")]
//! fn get_all_posts(person: &Person, force: bool) -> Vec<String> {
//!     vec![format!("a post of {}", person.name)] // the expensive part
//! }
//!
//! let ann = Person { id: 1, name: "Ann".into() };
//! let posts = get_all_posts(&ann, false);             // computed
//! assert_eq!(get_all_posts(&ann, false), posts);      // from the cache
//! get_all_posts::clear(&ann);                         // Ann writes a new post
//! assert_eq!(get_all_posts::get_cached_value(&ann), None);
//! ```
//!
//! More to run and to copy from is in the crate's `examples`: a service, a cache of one's own behind async functions, tiers.
//!
//! # What the attribute takes
//!
//! | option | value | |
//! |---|---|---|
//! | `vary_on` | `[person.id, locale]`, or a function | required: expressions over the arguments, `[]` for a singleton |
//! | `skip_arg` | an argument, or a function | when true the function runs and its result is stored |
//! | `cache` | a [`QuickCache`], or a static `LazyLock` of one | default: [`QuickCache::shared`] |
//! | `timeout` | `"1h"`, or a `Duration` | how long a value may live, counted from the start of its execution |
//! | `memoize_timeout` | the same | the same for the memory tier, if there are tiers behind it |
//! | `name`, `version` | text, a number | what keys say instead of module, function and source text |
//! | `errors` | `keep` | cache `Err` too; otherwise only the `Ok` of a `Result` is cached |
//! | `codec` | a [`Codec`] | default: [`MessagePack`], for types that serde knows |
//! | `weigh` | a function | bytes of a value on the heap; default: [`Weigh`] |
//! | `entry` | a name | methods: the name of the sibling, instead of `<method>_entry` |
//! | `crate` | a path | this library, if it goes by another name |
//!
//! A `vary_on` or `skip_arg` function is given references and plain numbers as they are, and all other arguments by reference.
//!
//! # What can be done with the cache of a function
//!
//! Beside the function `f` there is a type `f` with the operations. They take the arguments that `vary_on` mentions, in the
//! function's order; `refresh` and `uncached` take all. On an async function they are async.
//!
//! | | |
//! |---|---|
//! | `f::clear(..)` | [`Cleared`]: who calls after it returned gets a value computed after it began |
//! | `f::get_cached_value(..)` | the value, if one is cached |
//! | `f::set_cached_value(..).to(v)` | stores `v` |
//! | `f::refresh(..)` | runs the function now, and stores the result |
//! | `f::uncached(..)` | runs the function alone |
//! | `f::key(..)` | the text of the key |
//! | `f::explain(..)` | [`Explanation`]: where the value is, how old, why the last call missed |
//! | `f::clear_all()`, `f::stats()` | everything of the function; [`Stats`] |
//!
//! In an impl block, with `#[quickcache]` on the block too, a method `get` has a sibling `get_entry(..)` that hands out an
//! [`Entry`] with the same operations.
//!
//! # What it promises
//!
//! * A call that starts after `clear` returned never gets a value computed before: threads, tasks, tiers, flights and all.
//! * Many calls of a cold key run the function once. A panic or a cancelled future ends a flight for nobody else.
//! * A hit in memory allocates nothing, and makes no text of the key.
//! * No failure of a tier reaches a caller; a damaged value in a tier is a miss.

#![warn(missing_docs)]

#[doc(hidden)]
#[allow(missing_docs)]
pub mod clock;
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
/// Makes a struct or an enum a key value: see [`KeyPart`](trait@KeyPart).
#[cfg(feature = "macros")]
pub use quickcache_macros::KeyPart;
/// Caches a function, or the methods of an impl block: see the [front page](crate).
#[cfg(feature = "macros")]
pub use quickcache_macros::quickcache;
pub use stats::{Explanation, Miss, Stats};
pub use tier::memory::Memory;
pub use tier::tiered::TieredCache;
pub use tier::user::{AsyncCache, Cache, Tier};
pub use weigh::Weigh;

//! The memory tier: a bounded table of entries in this process. Here lives what both fronts share, the table with its admission
//! and eviction; the locks around it, the shards and the typed keys belong to the front that owns it.

mod entry;
mod ghost;
mod index;
mod lock;
mod policy;
mod queue;
mod shards;
mod shim;
mod stored;
mod table;
mod tables;

pub use entry::{CacheLine, Life, NEVER, Standing};
pub use policy::Policy;
pub use shards::Memory;
pub(crate) use stored::{Stamp, Stored};
pub use table::{Found, Inserted, Limits, Table};
pub(crate) use tables::{Held, KeyHash, Left, Tables, number};

/// Makes the hash of a key that is one word: two words in, 64 well-mixed bits out, by one wide multiplication.
///
/// `seed` should be random per table, so that nobody can choose keys that collide.
#[inline]
#[must_use]
pub fn mix(key: u64, seed: u64) -> u64 {
    let wide =
        u128::from(key ^ seed) * u128::from(0x9E37_79B9_7F4A_7C15_u64 ^ seed.rotate_left(32) | 1);
    (wide as u64) ^ ((wide >> 64) as u64)
}

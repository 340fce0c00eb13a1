//! Key values, and the two texts a key can have.
//!
//! A call of a cached function has *key values*: what its `vary_on` gave. They are needed in two forms, made here:
//!
//! * in place, as typed parts that are hashed and compared without allocating ([`KeyPart`], [`Key`]): the memory tier;
//! * as text, for every tier outside the process: scheme [`seed`], byte for byte that of the Python library this one
//!   replaces, or scheme [`v1`], keyed and free of collisions. Both read a [`Value`].
//!
//! The bytes of both schemes are written down in `docs/keys.md`. Where keys are looked up is not this module's business.

mod float;
mod moment;
mod part;
pub mod seed;
pub mod v1;
mod value;

pub use moment::{Date, DateTime, Time};
pub use part::{KeptText, Key, KeyPart, Unordered};
pub use value::{BigInt, Value};

//! What the table takes from the standard library. The tests under the model checker compile `generations` and `leases` a second
//! time, with a `shim` of their own beside them.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

/// How many regions the slots of the table are in, a power of two.
pub(super) const REGIONS: usize = 256;

//! What the attribute's code calls. It is no part of the interface: do not rely on it.

pub use crate::config::IsCache;
pub use crate::function::call::{Call, How, Pending};
pub use crate::function::entry::Handle;
pub use crate::function::method::{OfValue, OfWhole, Unnameable};
pub use crate::function::{Declared, Identity, Site};
pub use crate::key::{Key, KeyPart};
pub use crate::probe;
pub use crate::probe::{Hooks, Kept, Outcome, Probe};

use crate::QuickCache;

/// A part of a key. Its bound is asked here and nowhere else, so that a part without a key form is one error.
#[inline(always)]
pub fn part<P: KeyPart + ?Sized>(part: &P) -> impl KeyPart + use<'_, P> {
    part
}

/// What `cache = ...` names.
pub fn cache_of<C: IsCache + ?Sized>(cache: &'static C) -> &'static QuickCache {
    cache.cache()
}

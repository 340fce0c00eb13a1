//! What the attribute's code calls. It is no part of the interface: do not rely on it.

pub use crate::config::IsCache;
pub use crate::function::call::{Call, How, Pending};
pub use crate::function::entry::Handle;
pub use crate::function::method::{OfValue, OfWhole, Run, Unnameable};
pub use crate::function::{Declared, Identity, Site};
pub use crate::key::{Key, KeyPart};
pub use crate::probe::asked;
pub use crate::probe::{Hooks, Kept, Outcome, Probe, may_fail};

use crate::QuickCache;

/// A part of a key, if it has a key form.
pub struct Part<'a, P: ?Sized>(pub &'a P);

impl<'a, P: KeyPart + ?Sized> Part<'a, P> {
    #[inline(always)]
    pub fn part(&self) -> &'a P {
        self.0
    }
}

/// A part without a key form: an error of [`has_key_form`] and of nothing else.
pub trait NoPart {
    fn part(&self) {}
}

impl<P: ?Sized> NoPart for Part<'_, P> {}

/// Here, and nowhere else, a part is asked for its key form.
pub fn has_key_form<P: KeyPart + ?Sized>(_: &P) {}

/// What `cache = ...` names.
pub fn cache_of<C: IsCache + ?Sized>(cache: &'static C) -> &'static QuickCache {
    cache.cache()
}

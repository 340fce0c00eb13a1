//! State that the GIL guards.

use pyo3::Python;
use std::cell::{Cell, UnsafeCell};

/// A value that is only touched by short closures with the GIL held. A closure must not call into Python: that could let
/// another thread in, or come back to the same cell; the flag turns such a mistake into a panic instead of two references.
pub struct GilCell<T> {
    value: UnsafeCell<T>,
    busy: Cell<bool>,
}

// SAFETY: `with` takes the proof that the GIL is held, and the module declares that it needs the GIL.
unsafe impl<T: Send> Sync for GilCell<T> {}
unsafe impl<T: Send> Send for GilCell<T> {}

impl<T> GilCell<T> {
    pub const fn new(value: T) -> Self {
        GilCell {
            value: UnsafeCell::new(value),
            busy: Cell::new(false),
        }
    }

    #[inline]
    pub fn with<R>(&self, _: Python, f: impl FnOnce(&mut T) -> R) -> R {
        struct Free<'a>(&'a Cell<bool>);
        impl Drop for Free<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        assert!(
            !self.busy.replace(true),
            "a guarded structure was entered twice"
        );
        let _free = Free(&self.busy);
        // SAFETY: the flag says that no other reference exists.
        f(unsafe { &mut *self.value.get() })
    }

    /// For the hit path.
    ///
    /// # Safety
    /// The GIL is held, and no closure of `with` runs (none calls into Python), for as long as the reference lives.
    #[inline(always)]
    pub unsafe fn peek(&self) -> &T {
        unsafe { &*self.value.get() }
    }
}

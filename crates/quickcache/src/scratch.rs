//! Memory for what is made and thrown away within a call.

use std::cell::Cell;

/// A buffer of this thread's, empty at first, which the thread keeps for the next unless it has become large.
pub(crate) struct Scratch(pub(crate) Vec<u8>);

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    pub(crate) fn take() -> Self {
        // A thread that is ending has none any more.
        let mut kept = KEPT.try_with(Cell::take).unwrap_or_default();
        kept.clear();
        Scratch(kept)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        const MOST: usize = 64 << 10;
        if self.0.capacity() <= MOST {
            let _ = KEPT.try_with(|kept| kept.set(std::mem::take(&mut self.0)));
        }
    }
}

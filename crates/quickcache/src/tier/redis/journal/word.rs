//! The word of a journal in the table of generations. It never comes back to a value that it had, and 0 is where it begins.
//!
//! ```text
//! bit 0       a clear was lost that could be written down nowhere else: everything is pending
//! bits 1-20   how often that was
//! bits 21-63  how often it moved
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

const LOST: u64 = 1;
const ONE_LOSS: u64 = 1 << 1;
const LOSSES: u64 = ((1 << 20) - 1) << 1;
const STEP: u64 = 1 << 21;

#[derive(Clone, Copy)]
pub(super) struct Word(pub(super) &'static AtomicU64);

/// The word at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen(pub(super) u64);

impl Seen {
    /// Says that everything is pending, as no state does in which nothing is.
    pub(super) const NEVER: Seen = Seen(u64::MAX);

    pub(super) fn is_lost(self) -> bool {
        self.0 & LOST != 0
    }
}

impl Word {
    /// Acquire: what was done before it was moved here is seen.
    #[inline]
    pub(super) fn load(self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// The files have changed: whoever looks at the word looks into them. Release: as above.
    pub(super) fn move_on(self) {
        self.0.fetch_add(STEP, Ordering::Release);
    }

    /// A clear was lost.
    pub(super) fn lose(self) {
        self.change(|word| {
            let losses = word.wrapping_add(ONE_LOSS) & LOSSES;
            word & !LOSSES | losses | LOST
        });
    }

    /// Everything that was pending at `seen` was applied. What was lost since then is not.
    pub(super) fn applied(self, seen: Seen) {
        self.change(|word| {
            if word & LOSSES == seen.0 & LOSSES {
                word & !LOST
            } else {
                word
            }
        });
    }

    fn change(self, to: impl Fn(u64) -> u64) {
        let moved = |word| Some(to(word).wrapping_add(STEP));
        // It always changes.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word() -> Word {
        Word(Box::leak(Box::default()))
    }

    #[test]
    fn it_moves_whatever_happens() {
        let word = word();
        let mut before = word.load();
        for change in [Word::move_on, Word::lose, |word: Word| {
            word.applied(word.load())
        }] {
            change(word);
            assert!(word.load().0 > before.0);
            before = word.load();
        }
        assert!(!before.is_lost());
    }

    #[test]
    fn what_is_lost_while_everything_is_applied_is_still_lost() {
        let word = word();
        word.lose();
        let seen = word.load();
        word.lose();
        word.applied(seen);
        assert!(word.load().is_lost());
        word.move_on();
        word.applied(word.load());
        assert!(!word.load().is_lost());
    }

    #[test]
    fn losses_that_come_round_are_no_moves() {
        let word = word();
        word.0.store(LOSSES, Ordering::Relaxed);
        word.lose();
        assert_eq!(word.load(), Seen(STEP | LOST));
    }
}

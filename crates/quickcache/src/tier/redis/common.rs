//! What the processes of a machine know together of a Redis: eight words in the header of the table of generations.
//!
//! ```text
//!  0  which Redis: server, database, namespace       4  since when the chain runs
//!  1  proof: chain (16 bits), until when (48)        5  lag of the last canary, in microseconds
//!  2  fence of the server that is listened to        6  bell, for who waits for a lease to end
//!  3  journal of pending clears                      7  reach: whether it is out (1 bit), as of when (63)
//! ```
//!
//! The *proof* is a moment of the boot clock, until which hits in memory and in the store may be served: one bound, as the users of the server have
//! agreed on it, after a PING was sent whose PONG has come, and everything that came before it was applied. Every clear that Redis had executed
//! when the PING was sent has moved the table on. Hits ask for it before they look at the table. A *chain* is a time in which somebody has listened all along,
//! perhaps one process after the other. Whoever begins one clears everything: nobody knows what was cleared in between.
//!
//! *Reach* is for caches that serve without a proof while Redis is out of reach. An attempt that failed says so, as of when it began, one that
//! succeeded the contrary; the later one holds, so that who was stopped in between changes nothing by what it knew before. Who
//! cannot reach it says so again at least every three seconds; if nobody does, since all were killed or stopped, it holds no more after five. An outage
//! goes on from a proof of a moment ago, or from an outage: whoever finds neither, so that clears may have been missed before, clears everything first.
//! When Redis answers nothing is served until it is proven, for which a chain begins anew, unless another process has kept it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::Fence;
use crate::clock;
use crate::tier::store::proof::{MILLIS, Proof, Reach};

pub const WORDS: usize = 8;

#[derive(Clone, Copy)]
pub struct Common(&'static [AtomicU64; WORDS]);

impl Common {
    pub fn new(words: &'static [AtomicU64; WORDS]) -> Self {
        Common(words)
    }

    /// Whether memory and store may serve.
    pub fn is_proven(&self) -> bool {
        self.proof().is_fresh()
    }

    pub fn proof(&self) -> Proof {
        Proof::of(self.0[1].load(Ordering::Acquire))
    }

    /// Moves the proof of a chain on, which listens to this server. `false`: the chain has ended.
    pub fn prove(&self, chain: u16, fence: &Fence, until: u64) -> bool {
        // Again and again: whoever was stopped when it began a chain may write another one when it goes on.
        self.0[2].store(listened(chain, fence), Ordering::Release);
        let word = &self.0[1];
        let moved = word.fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
            let proof = Proof::of(word);
            (proof.chain == chain).then(|| {
                let until = proof.until.max(until);
                Proof { chain, until }.word()
            })
        });
        moved.is_ok()
    }

    /// Begins a chain in place of `before`, to be relied on until a moment. `clear` clears everything in the table. In this order nobody keeps what
    /// came from a server that nobody listens to: whoever still saw the old chain has a stamp of before the clear.
    pub fn begin(
        &self,
        before: Proof,
        fence: &Fence,
        until: u64,
        clear: impl FnOnce(),
    ) -> Option<u16> {
        let chain = self.end(before)?;
        clear();
        self.0[4].store(clock::boot(), Ordering::Release);
        self.prove(chain, fence, until).then_some(chain)
    }

    /// Ends a chain: nothing is proven. The number of the next one.
    fn end(&self, before: Proof) -> Option<u16> {
        let chain = before.chain.wrapping_add(1);
        let end = Proof { chain, until: 0 };
        self.0[1]
            .compare_exchange(
                before.word(),
                end.word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
        Some(chain)
    }

    /// Whether what this server says may be kept, since its clears are listened to. Asked after the key's stamp was read, and before the
    /// server was.
    pub fn listens_to(&self, fence: &Fence) -> bool {
        let word = self.0[2].load(Ordering::Acquire);
        word == listened(self.proof().chain, fence)
    }

    /// Whether the chain began before this moment.
    pub fn since(&self) -> u64 {
        self.0[4].load(Ordering::Acquire)
    }

    /// The word of the journal.
    pub fn journal(&self) -> &'static AtomicU64 {
        &self.0[3]
    }

    /// How long a clear takes to be heard of here, as it was measured last.
    pub fn lag(&self) -> Option<Duration> {
        match self.0[5].load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    pub fn set_lag(&self, lag: Duration) {
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.0[5].store(micros.max(1), Ordering::Relaxed);
    }

    /// Whether Redis is known to be out of reach.
    pub fn is_out(&self) -> bool {
        Reach::of(self.0[7].load(Ordering::Acquire)).is_out()
    }

    /// Redis did not answer an attempt that began at `since`. `clear` clears everything in the table.
    pub fn lost(&self, since: u64, bound: u64, clear: impl FnOnce()) {
        // Up to three bounds later: whoever listened has been slow to see that it broke off, no more.
        if !self.is_out() && self.proof().until + 3 * bound < clock::boot() {
            clear();
        }
        self.note(Reach {
            out: true,
            millis: since,
        });
    }

    /// Redis answered at `at`.
    pub fn reached(&self, at: u64) {
        self.note(Reach {
            out: false,
            millis: at,
        });
    }

    fn note(&self, reach: Reach) {
        let _older = self.0[7].fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (Reach::of(word).millis <= reach.millis).then(|| reach.word())
        });
    }

    /// Moved on, and rung, when a lease has ended for which somebody waits.
    pub fn bell(&self) -> &'static AtomicU64 {
        &self.0[6]
    }
}

/// The word that says to whom a chain listens; never 0.
fn listened(chain: u16, fence: &Fence) -> u64 {
    let (first, _) = fence.split_first_chunk().expect("a fence has 16 bytes");
    let until = (u64::from_le_bytes(*first) | 1) & MILLIS;
    Proof { chain, until }.word()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const BOUND: u64 = 250;

    fn common() -> Common {
        Common::new(Box::leak(Box::default()))
    }

    #[test]
    fn an_outage_holds_until_it_answers_or_nobody_says_it_any_more() {
        let (common, now) = (common(), clock::boot());
        assert!(!common.is_out());
        common.lost(now - 100, BOUND, || ());
        assert!(common.is_out());
        common.reached(now - 200);
        assert!(common.is_out(), "that was before");
        common.reached(now - 50);
        assert!(!common.is_out());
        common.lost(now - 60, BOUND, || ());
        assert!(
            !common.is_out(),
            "who was stopped in between knows nothing new"
        );
        common.lost(now, BOUND, || ());
        assert!(common.is_out());
        let left_alone = self::common();
        left_alone.lost(now - 5000, BOUND, || ());
        assert!(!left_alone.is_out());
    }

    #[test]
    fn an_outage_begins_with_nothing_unless_clears_were_heard_until_then() {
        let (common, now) = (common(), clock::boot());
        let clears = Cell::new(0);
        let lost = |since| common.lost(since, BOUND, || clears.set(clears.get() + 1));
        lost(now);
        assert_eq!(clears.get(), 1, "nobody has listened");
        lost(now);
        assert_eq!(clears.get(), 1, "it goes on");
        common.reached(now + 1);
        lost(now + 2);
        assert_eq!(clears.get(), 2, "nobody has listened in between");
        common.reached(now + 3);
        common.begin(common.proof(), &[7; 16], now, || ());
        lost(now + 4);
        assert_eq!(clears.get(), 2, "somebody has");
    }
}

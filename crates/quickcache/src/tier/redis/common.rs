//! What the processes of a machine know together of a Redis: eight words in the header of the table of generations.
//!
//! ```text
//!  0  which Redis: server, database, namespace       4  since when the chain runs
//!  1  proof: chain (16 bits), until when (48)        5  lag of the last canary, in microseconds
//!  2  fence of the server that is listened to        6  bell, for who waits for a lease to end
//!  3  journal of pending clears                      7  -
//! ```
//!
//! The *proof* is a moment of the boot clock, until which hits in memory and in the store may be served: one bound, as the users of the server have
//! agreed on it, after a PING was sent whose PONG has come, and everything that came before it was applied. Every clear that Redis had executed
//! when the PING was sent has moved the table on. Hits ask for it before they look at the table. A *chain* is a time in which somebody has listened all along,
//! perhaps one process after the other. Whoever begins one clears everything: nobody knows what was cleared in between.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::Fence;
use crate::clock;
use crate::tier::store::proof::{MILLIS, Proof};

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

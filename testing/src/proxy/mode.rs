//! The ways in which the proxy's network fails.

use std::time::Duration;

use super::answer::Answer;

/// The way that bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
    Both,
}

/// What becomes of the bytes of a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// They are delivered as they come.
    Pass,
    /// Each byte arrives so much later (a round trip takes twice that for `Both`); the throughput stays.
    Delay(Direction, Duration),
    /// Nothing arrives, no end of a connection either, and nobody is told. What was sent is delivered when another mode is set, as TCP
    /// does when a cable is plugged in again.
    Blackhole(Direction),
    /// At most so many bytes per tick.
    Drip {
        direction: Direction,
        bytes: usize,
        every: Duration,
    },
    /// Single bits are flipped.
    Corrupt(Direction, Flips),
    /// After so many bytes in this direction the connection is closed, to both sides. `Both` counts each direction for itself.
    Cut(Direction, u64),
}

/// Which bits [`Mode::Corrupt`] flips. Bytes are counted in each direction of each connection from when the mode was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flips {
    /// One bit of each n-th byte: of the first its lowest, of the next the one above, and so on.
    EveryNth(u64),
    /// One bit of one byte in so many on average, at random: the same ones for the same seed.
    Random { seed: u64, one_in: u64 },
}

/// What becomes of new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// They are let in.
    Open,
    /// They are accepted and reset at once, as by a balancer without a server.
    Reset,
    /// They are accepted, told this, and closed, as by a server that has too many: [`Answer::MAXCLIENTS`].
    Greet(Vec<u8>),
    /// Nobody listens: they are refused, and the port stays the proxy's.
    Closed,
}

/// Connections by what they have sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    All,
    Only(Vec<u8>),
    AllBut(Vec<u8>),
}

/// A mode and whom it is for. The first of the rules is for all; of the others the last one that fits a connection decides.
pub(super) struct Rule {
    pub number: u64,
    pub whom: Whom,
    pub mode: Mode,
}

/// What holds for the connections of a proxy.
#[derive(Default)]
pub(super) struct Regime {
    pub rules: Vec<Rule>,
    pub answers: Vec<Answer>,
}

impl Direction {
    /// Whether it includes this one of the two.
    pub(super) fn covers(self, one: Direction) -> bool {
        self == one || self == Direction::Both
    }
}

impl Mode {
    pub(super) fn holds(&self, one: Direction) -> bool {
        matches!(self, Mode::Blackhole(direction) if direction.covers(one))
    }

    pub(super) fn delay(&self, one: Direction) -> Duration {
        match self {
            Mode::Delay(direction, by) if direction.covers(one) => *by,
            _ => Duration::ZERO,
        }
    }

    /// How many bytes per tick, and the tick.
    pub(super) fn drip(&self, one: Direction) -> Option<(usize, Duration)> {
        match self {
            Mode::Drip {
                direction,
                bytes,
                every,
            } if direction.covers(one) => Some((*bytes, *every)),
            _ => None,
        }
    }

    /// After how many bytes the connection is closed.
    pub(super) fn cut(&self, one: Direction) -> Option<u64> {
        match self {
            Mode::Cut(direction, after) if direction.covers(one) => Some(*after),
            _ => None,
        }
    }

    /// Flips what is to be flipped in bytes of which the first is the `position`-th.
    pub(super) fn corrupt(&self, one: Direction, position: u64, bytes: &mut [u8]) {
        let Mode::Corrupt(direction, flips) = self else {
            return;
        };
        if !direction.covers(one) {
            return;
        }
        for (position, byte) in (position..).zip(bytes) {
            *byte ^= flips.mask(position);
        }
    }
}

impl Flips {
    /// The bit to flip in the byte at this position, counted from 0; 0 for none.
    fn mask(self, position: u64) -> u8 {
        match self {
            Flips::EveryNth(n) => match (position + 1) % n.max(1) {
                0 => 1 << (position / n.max(1) % 8),
                _ => 0,
            },
            Flips::Random { seed, one_in } => {
                let random = splitmix(splitmix(seed) ^ position);
                match (random >> 8) % one_in.max(1) {
                    0 => 1 << (random % 8),
                    _ => 0,
                }
            }
        }
    }
}

/// SplitMix64's output function (Steele, Lea, Flood, 2014).
fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

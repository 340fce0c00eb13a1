//! What becomes of connections, through the proxy that they go by.

use std::time::Duration;

use quickcache_testing::{Answer, Direction, Door, Mode, Proxy};

use super::ground::up_to;
use crate::history::Choices;

/// What the connections have sent on which clears are heard: `SUBSCRIBE`, or `SSUBSCRIBE`.
pub const LISTENER: &[u8] = b"SUBSCRIBE";

/// What the connections of calls have sent.
pub const CALLS: &[u8] = b"SCRIPT";

/// What all connections have sent.
pub const ANY: &[u8] = b"";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Slow: up to so many milliseconds each way.
    Delay(u64),
    /// Silent.
    Hole,
    Drip,
    /// Closed after some bytes.
    Cut,
    Reset,
    HalfClose,
    /// New ones are refused, and all are reset, whatever they have sent.
    Refuse,
}

/// Does it to the connections that have sent this. For how long, if it has to be healed.
pub fn harm(front: &Proxy, whom: &[u8], harm: Harm, choices: &mut Choices) -> Option<Duration> {
    let ways = [Direction::ToServer, Direction::ToClient, Direction::Both];
    let way = ways[choices.below(3) as usize];
    let one_way = ways[choices.below(2) as usize];
    let most = if choices.below(8) == 0 { 2500 } else { 700 };
    let time = up_to(choices, most);
    let concerned = front.only(whom);
    match harm {
        Harm::Delay(most) => concerned.set(Mode::Delay(way, up_to(choices, most))),
        Harm::Hole => concerned.set(Mode::Blackhole(way)),
        Harm::Drip => concerned.set(Mode::Drip {
            direction: way,
            bytes: 1 + choices.below(60) as usize,
            every: up_to(choices, 30),
        }),
        Harm::Cut => concerned.set(Mode::Cut(one_way, choices.below(3000))),
        Harm::Reset => {
            concerned.reset();
            return None;
        }
        Harm::HalfClose => {
            concerned.half_close(one_way);
            return None;
        }
        Harm::Refuse => {
            front.door(match choices.below(3) {
                0 => Door::Closed,
                1 => Door::Reset,
                _ => Door::Greet(Answer::MAXCLIENTS.to_vec()),
            });
            front.reset()
        }
    };
    Some(time)
}

//! Claims of the protocol, each named for the promise it holds: sequences of events told to a `Machine`, and the two Rust
//! drivers with futures polled by hand and threads that meet at known points. Nothing here sleeps or races; interleavings
//! are `shuttle_protocol`'s work.

mod asynchronous;
mod blocking;
mod p1;
mod p11;
mod p7;

use quickcache::protocol::machine::{Call, Enter, Following, KeyOf, Machine, Ticket};

type Cell = u32;
type Flights = Machine<&'static str, Cell>;

const F: u32 = 1;
const G: u32 = 2;

/// A key of a function; the first byte is the hash, so that "ab" and "ac" meet in one slot.
fn key(function: u32, key: &'static &'static str) -> KeyOf<'static, &'static str> {
    KeyOf {
        function,
        hash: u64::from(key.as_bytes()[0]),
        key,
    }
}

trait Claims {
    fn leads(&mut self, key: KeyOf<'_, &'static str>, call: Call) -> Ticket;
    fn follows(&mut self, key: KeyOf<'_, &'static str>, call: Call) -> Following;
    fn runs_alone(&mut self, key: KeyOf<'_, &'static str>, call: Call) -> Ticket;
}

impl Claims for Flights {
    #[track_caller]
    fn leads(&mut self, key: KeyOf<'_, &'static str>, call: Call) -> Ticket {
        match self.enter(key, call, || 0) {
            Enter::Lead(ticket) => ticket,
            other => panic!("leads, not {other:?}"),
        }
    }

    #[track_caller]
    fn follows(&mut self, key: KeyOf<'_, &'static str>, call: Call) -> Following {
        match self.enter(key, call, || 0) {
            Enter::Follow(following, _) => following,
            other => panic!("follows, not {other:?}"),
        }
    }

    #[track_caller]
    fn runs_alone(&mut self, key: KeyOf<'_, &'static str>, call: Call) -> Ticket {
        match self.enter(key, call, || 0) {
            Enter::Alone(ticket) => ticket,
            other => panic!("runs alone, not {other:?}"),
        }
    }
}

const OUTSIDE: Call = Call {
    within: None,
    generation: 0,
};

/// A call that the execution of `ticket` makes.
fn within(ticket: &Ticket) -> Call {
    Call {
        within: ticket.flight(),
        generation: 0,
    }
}

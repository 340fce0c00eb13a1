//! The duties of a flight: the leader ends it whatever happens, followers are woken, and nobody waits for ever.

use crate::flight::{Cell, Outcome};
use crate::stack::TextKey;
use crate::state::{self, FLIGHTS};
use pyo3::prelude::*;
use quickcache::protocol::machine::{self, Seq, Ticket, ValidFrom};
use std::sync::Arc;
use std::time::Duration;

/// How long a follower waits for a leader before it runs the function itself: five times what it has taken on average, or,
/// as long as nothing is known, half a minute.
pub fn patience(counts: &state::Counts) -> Duration {
    match counts.executions.get() {
        0 => Duration::from_secs(30),
        n => Duration::from_nanos(counts.compute_nanos.get() / n * 5).max(Duration::from_secs(1)),
    }
}

/// A leader's duty to end its flight: an early return or a panic abandons it.
pub struct Lead<'a, 'py> {
    pub key: &'a TextKey<'py>,
    pub ticket: Option<Ticket>,
}

impl Lead<'_, '_> {
    pub(super) fn flight(&self) -> Option<machine::FlightId> {
        self.ticket.as_ref().and_then(Ticket::flight)
    }

    pub(super) fn token(&self) -> Seq {
        self.ticket.as_ref().expect("not landed yet").token()
    }

    pub(super) fn end(self, outcome: Outcome) -> PyResult<()> {
        self.end_from(outcome, ValidFrom::Joined)
    }

    /// The result counts from then on only.
    pub(super) fn end_from(mut self, outcome: Outcome, valid_from: ValidFrom) -> PyResult<()> {
        let py = self.key.py;
        let landed = FLIGHTS.with(py, |m| m.land(self.ticket.take().expect("landed once")));
        match landed.left {
            Some((_, cell)) => {
                cell.counts_from(valid_from);
                cell.wake(py, outcome)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Lead<'_, '_> {
    fn drop(&mut self) {
        let py = self.key.py;
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        if let Some((_, cell)) = FLIGHTS.with(py, |m| m.abandon(ticket))
            && let Err(e) = cell.wake(py, Outcome::Nothing)
        {
            e.write_unraisable(py, None);
        }
    }
}

/// Those who wait for a flight that has landed: they are woken, whatever becomes of the fill.
pub(super) struct Followers<'py>(pub(super) Python<'py>, pub(super) Option<Arc<Cell>>);

impl Followers<'_> {
    /// Whether there are any.
    pub(super) fn wait(&self) -> bool {
        self.1
            .as_ref()
            .is_some_and(|cell| Arc::strong_count(cell) > 1)
    }

    pub(super) fn wake(mut self, outcome: Outcome, valid_from: ValidFrom) -> PyResult<()> {
        let Some(cell) = self.1.take() else {
            return Ok(());
        };
        cell.counts_from(valid_from);
        cell.wake(self.0, outcome)
    }
}

impl Drop for Followers<'_> {
    fn drop(&mut self) {
        if let Some(cell) = self.1.take()
            && let Err(e) = cell.wake(self.0, Outcome::Nothing)
        {
            e.write_unraisable(self.0, None);
        }
    }
}

pub(super) enum Followed {
    Outcome(Arc<Outcome>),
    GaveUp(Ticket),
}

pub(super) fn follow(
    py: Python,
    key: &TextKey,
    following: machine::Following,
    cell: &Cell,
    patience: Duration,
) -> PyResult<Followed> {
    let waited = cell.wait(py, patience);
    match waited {
        Ok(None) => Ok(Followed::GaveUp(
            FLIGHTS.with(py, |m| m.give_up(key.of(), following)),
        )),
        Ok(Some(outcome)) => {
            FLIGHTS.with(py, |m| m.wait_end(following));
            Ok(Followed::Outcome(outcome))
        }
        Err(e) => {
            FLIGHTS.with(py, |m| m.wait_end(following));
            Err(e)
        }
    }
}

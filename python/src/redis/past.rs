//! What a Redis has for a call whose function has raised, in the order in which the Rust front asks.

use super::ask::{Answer, Job};
use super::at::{At, moment};
use crate::call::Hand;
use crate::stack::{Native, TextKey};
use crate::state::{Counts, add};
use crate::store::Standing;
use crate::value::is_ellipsis;
use pyo3::prelude::*;
use quickcache::entry::{Entry, Head, Rejected};
use quickcache::tier::redis::{Out, Past, Released};
use quickcache::tier::store::StoreKey;
use std::time::Duration;

/// The last value, as a Redis tells.
pub enum Last<'py> {
    Is(Bound<'py, PyAny>),
    /// It has none, or none that may be served.
    None,
    /// It cannot be asked, or this machine knows better: its other tiers decide.
    Unknown,
}

impl At {
    /// What else is to be asked when the lease, if there was one, has been given back. It says from when on the result counts.
    pub fn past_job(&self, py: Python, n: &Native, key: &StoreKey, hand: &mut Hand) -> Option<Job> {
        if hand.redis.released.is_some() || self.is_pending(n, key) {
            return None;
        }
        hand.redis.since = Some(moment(py));
        Some(Job::LookPast)
    }

    /// The last value; `answer` is that to `past_job`.
    pub fn last<'py>(
        &self,
        py: Python<'py>,
        n: &Native,
        key: &StoreKey,
        (hand, counts): (&mut Hand, &Counts),
        answer: Option<Result<Answer, Out>>,
    ) -> PyResult<Last<'py>> {
        // What is there may be what a clear of this machine was to remove; its other tiers know of that.
        if self.is_pending(n, key) {
            return Ok(Last::Unknown);
        }
        let past = match (hand.redis.released.take(), answer) {
            (Some(Released::Lost), _) => None,
            (Some(Released::Stood(past)), _) | (None, Some(Ok(Answer::Past(past)))) => past,
            _ => return Ok(Last::Unknown),
        };
        let value = match past {
            Some(past) => self.read_past(py, key, &past, counts)?,
            None => None,
        };
        Ok(value.map_or(Last::None, Last::Is))
    }

    /// As `last`, in place.
    pub fn ask_last<'py>(
        &self,
        py: Python<'py>,
        n: &Native,
        key: &TextKey,
        hand: &mut Hand,
        counts: &Counts,
    ) -> PyResult<Last<'py>> {
        let key = self.key(key);
        let job = self.past_job(py, n, &key, hand);
        let answer = job.map(|job| job.ask(py, &self.at(), &key));
        self.last(py, n, &key, (hand, counts), answer)
    }

    /// The value, if it has not been stale for too long.
    fn read_past<'py>(
        &self,
        py: Python<'py>,
        key: &StoreKey,
        past: &Past,
        counts: &Counts,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let then = super::now().saturating_sub(self.times.stale);
        let read = self.redis.get().decode(py, key, then, past.entry());
        Ok(match read? {
            // To a call it says "nothing is stored" (drop-in.md R2).
            Ok((value, due)) => {
                (!is_ellipsis(&value) && self.left(due, past).is_some()).then_some(value)
            }
            Err(Rejected::Expired) => None,
            Err(_) => {
                add(&counts.rejected);
                None
            }
        })
    }

    /// For how long it may be served, and whether it is stale. The clocks of others may shorten that, and what the server says holds.
    fn left(&self, due: u64, past: &Past) -> Option<(Duration, bool)> {
        let by_clock = Duration::from_millis(super::now().saturating_sub(due));
        let since = past.since.max(by_clock);
        let stale = Duration::from_millis(self.times.stale);
        let left = stale.checked_sub(since)?.min(past.left);
        (!left.is_zero()).then_some((left, !since.is_zero()))
    }

    /// For how long an entry may yet be served that a clock says is stale.
    pub(super) fn late_by_clock(&self, key: &StoreKey, entry: &[u8]) -> Option<Duration> {
        let now = super::now();
        let then = now.saturating_sub(self.times.stale);
        let read = self.redis.get().seal.read(key.bytes(), then, entry).ok()?;
        let until = read.head.deadline.saturating_add(self.times.stale);
        Some(Duration::from_millis(until.saturating_sub(now))).filter(|left| !left.is_zero())
    }

    /// For `explain`: as `standing`, of what is stale.
    pub(super) fn standing_past(&self, py: Python, key: &StoreKey) -> Option<Standing> {
        if self.times.stale == 0 {
            return None;
        }
        let Ok(Answer::Past(Some(past))) = Job::LookPast.ask(py, &self.at(), key) else {
            return None;
        };
        let now = super::now();
        let then = now.saturating_sub(self.times.stale);
        let seal = &self.redis.get().seal;
        let Entry { head, payload, .. } = seal.read(key.bytes(), then, past.entry()).ok()?;
        let (left, stale) = self.left(head.deadline, &past)?;
        let Head {
            started, deadline, ..
        } = head;
        let by_clock = now.saturating_sub(started);
        let life = deadline.saturating_sub(started);
        let by_server = life.saturating_add(past.since.as_millis() as u64);
        let age = if stale {
            by_clock.max(by_server)
        } else {
            by_clock
        };
        Some(Standing {
            age: Some(age as f64 / 1e3),
            stale,
            left: Some(left.as_secs_f64()),
            bytes: payload.len(),
        })
    }
}

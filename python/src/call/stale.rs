//! What a call gives whose function has raised, where it may give a value beyond its timeout then: `stale_timeout`.
//!
//! Store, Redis and the memory before them keep every value for so long after its time. It is looked for when the function has raised, as a
//! hit is looked for: so whatever was cleared by then is not found, wherever it was cleared. A Redis that answers decides. What is found
//! goes to the followers of the flight too, and is stored nowhere, so that its age goes on.

use super::{Call, Hand, Op};
use crate::flight::Outcome;
use crate::keys::KeyParts;
use crate::memory::served;
use crate::redis::Last;
use crate::stack::{Native, TextKey};
use crate::state::{add, debug, debugging};
use crate::value::is_ellipsis;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// The last value, and what the followers get of it.
pub struct Stale<'py> {
    pub value: Bound<'py, PyAny>,
    pub outcome: Outcome,
}

impl<'py> Op<'py> {
    /// Whether a value may take the place of this error. An interrupt is none.
    pub fn may_be_stale(&self, n: &Native, error: &PyErr) -> bool {
        n.space.stale != 0 && error.is_instance_of::<PyException>(self.py)
    }

    /// Runs the function without a flight.
    pub(super) fn alone(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        key: &TextKey<'py>,
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.execute(call).result.or_else(|error| {
            let stale = self.or_stale(n, parts, key, &mut Hand::default(), &error)?;
            stale.map_or(Err(error), |stale| Ok(stale.value))
        })
    }

    /// What there is in place of an error.
    pub(super) fn or_stale(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        key: &TextKey<'py>,
        hand: &mut Hand,
        error: &PyErr,
    ) -> PyResult<Option<Stale<'py>>> {
        if !self.may_be_stale(n, error) {
            return Ok(None);
        }
        let last = match &n.redis {
            Some(at) => at.ask_last(self.py, n, key, hand, self.counts())?,
            None => Last::Unknown,
        };
        self.last(n, parts, key, last)
    }

    /// The last value, by what a Redis has said.
    pub fn last(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        key: &TextKey<'py>,
        last: Last<'py>,
    ) -> PyResult<Option<Stale<'py>>> {
        let py = self.py;
        let value = match last {
            Last::Is(value) => Some(value),
            Last::None => return Ok(None),
            Last::Unknown => self.stale_in_store(n, key)?,
        };
        let stale = match value {
            Some(value) => {
                let outcome = match self.stored(n, &value)? {
                    Some(stored) => Outcome::Stale(stored.object.unbind(), stored.encoded),
                    None => Outcome::Nothing,
                };
                Stale { value, outcome }
            }
            None => match n.memory.get().look_stale(py, &n.space, &parts.parts) {
                Some((object, encoded)) if !is_ellipsis(&object) => Stale {
                    value: served(object.clone(), encoded)?,
                    outcome: Outcome::Stale(object.unbind(), encoded),
                },
                _ => return Ok(None),
            },
        };
        add(&self.counts().stale_hits);
        if debugging(py) {
            let name = self.c.name(py)?;
            debug(py, &format!("{name} raised: its last value is served"))?;
        }
        Ok(Some(stale))
    }

    /// At the generation of now.
    fn stale_in_store(&self, n: &Native, key: &TextKey) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (&n.store, n.see(key)) {
            (Some(at), Some(seen)) => at.get_stale(self.py, &seen, self.counts(), n.space.stale),
            _ => Ok(None),
        }
    }
}

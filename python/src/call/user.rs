//! A call over the user's caches.

use super::leader::{Followed, Lead, follow, patience};
use super::{Call, execute};
use crate::clock;
use crate::flight::{self, Cell, FlightKey, Outcome};
use crate::plan::Plan;
use crate::stack::{TextKey, Tiers};
use crate::state::{FLIGHTS, add, debug, debugging};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use quickcache::protocol::machine::{self, Enter, KeyOf};
use std::time::Duration;

/// A call over the user's caches, by text key. Followers read the caches again: they never share the leader's object.
pub struct User<'a, 'py> {
    pub op: Python<'py>,
    pub plan: Option<&'a Bound<'py, Plan>>,
    pub tiers: &'a Tiers,
    pub function: &'a Bound<'py, PyAny>,
}

impl<'py> User<'_, 'py> {
    pub fn flight_key(plan: Option<&Bound<'py, Plan>>, key: &TextKey) -> FlightKey {
        match (&key.flight, plan) {
            (FlightKey::Text(t), Some(p)) => FlightKey::Of(p.as_ptr() as usize, t.clone()),
            (other, _) => other.clone(),
        }
    }

    /// Later calls do not join a flight of this function and key that runs now.
    pub fn detach(py: Python<'py>, plan: &Bound<'py, Plan>, key: &TextKey) -> PyResult<()> {
        let flight = Self::flight_key(Some(plan), key);
        FLIGHTS.with(py, |m| {
            m.clear(KeyOf {
                function: key.function,
                hash: key.hash,
                key: &flight,
            })
        });
        Ok(())
    }

    pub fn call(&self, key: &TextKey<'py>, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let py = self.op;
        let counts = self.plan.map(|p| &p.get().counts);
        let landings = || counts.map_or(0, |c| c.landings.get());
        let seen = landings();
        let token = FLIGHTS.with(py, |m| m.begin());
        if let Some(v) = self.tiers.get(key, token)? {
            counts.inspect(|c| add(&c.outer_hits));
            return Ok(v);
        }
        if debugging(py) {
            debug(
                py,
                &format!(
                    "cache miss, calling {}",
                    self.function.getattr(intern!(py, "__name__"))?
                ),
            )?;
        }
        let flight = Self::flight_key(self.plan, key);
        let within = flight::within(py)?;
        let mut waited = 0;
        loop {
            let of = KeyOf {
                function: key.function,
                hash: key.hash,
                key: &flight,
            };
            let call_of = machine::Call {
                within,
                generation: 0,
            };
            match FLIGHTS.with(py, |m| m.enter(of, call_of, Cell::new)) {
                Enter::Lead(ticket) | Enter::Alone(ticket) => {
                    let lead = Lead {
                        key,
                        ticket: Some(ticket),
                    };
                    // What landed since we looked may have stored our value.
                    if waited == 0 && landings() != seen {
                        let token = FLIGHTS.with(py, |m| m.begin());
                        if let Some(v) = self.tiers.get(key, token)? {
                            return Ok(v);
                        }
                    }
                    return flight::inside(py, lead.flight(), || self.lead(key, lead, call));
                }
                Enter::Follow(following, cell) => {
                    let patience = counts.map_or(Duration::from_secs(30), patience);
                    match follow(py, key, following, &cell, patience)? {
                        Followed::GaveUp(_) => {
                            return execute(self.plan, self.function, call);
                        }
                        Followed::Outcome(o) => {
                            counts.inspect(|c| add(&c.followed));
                            if let Outcome::Raised(e) = &*o {
                                return Err(e.clone_ref(py));
                            }
                        }
                    }
                    let token = FLIGHTS.with(py, |m| m.begin());
                    if let Some(v) = self.tiers.get(key, token)? {
                        return Ok(v);
                    }
                    waited += 1;
                    if waited == 2 {
                        // A cache that keeps nothing, or a key that is cleared all the time: wait no more.
                        return self.alone(key, call);
                    }
                }
            }
        }
    }

    fn lead(
        &self,
        key: &TextKey<'py>,
        lead: Lead<'_, 'py>,
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.op;
        let counts = self.plan.map(|p| &p.get().counts);
        counts.inspect(|c| add(&c.misses));
        let token = lead.token();
        let began = clock::now();
        let result = execute(self.plan, self.function, call);
        match result {
            Err(e) => {
                if e.is_instance_of::<PyException>(py) {
                    lead.end(Outcome::Raised(e.clone_ref(py)))?;
                }
                Err(e)
            }
            Ok(value) => {
                let filled = self.tiers.fill(key, token, began, &value);
                counts.inspect(|c| {
                    add(if matches!(filled, Ok(Some(_))) {
                        &c.fills
                    } else {
                        &c.refused
                    });
                    add(&c.landings);
                });
                lead.end(Outcome::Nothing)?;
                filled.map(|_| value)
            }
        }
    }

    fn alone(&self, key: &TextKey<'py>, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let py = self.op;
        let token = FLIGHTS.with(py, |m| m.begin());
        let began = clock::now();
        let value = execute(self.plan, self.function, call)?;
        self.tiers.fill(key, token, began, &value)?;
        Ok(value)
    }
}

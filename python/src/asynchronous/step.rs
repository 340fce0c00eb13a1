//! The steps of an asynchronous call, for `quickcache.aio`.

use crate::call::{Hand, Lead, Op, Spread, User, patience};
use crate::clock;
use crate::fault;
use crate::flight::{self, Cell, FlightKey, Outcome};
use crate::helper;
use crate::memory::served;
use crate::plan::Plan;
use crate::redis::{self, Asking};
use crate::stack::{Native, Stack, TextKey, Tiers};
use crate::state::{FLIGHTS, add};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use quickcache::protocol::machine::{self, Enter, Following, KeyOf, Seq, Ticket, ValidFrom};
use quickcache::tier::store::{Next, Patience, Waiting};
use std::sync::Arc;
use std::time::Duration;

/// One asynchronous call on its way: what the protocol says, for `quickcache.aio` to do.
#[pyclass(module = "quickcache._native", immutable_type)]
pub struct Step {
    /// Of a helper that is ours; else the caches below are asked by text.
    compiled: Option<Arc<crate::plan::Compiled>>,
    plan: Option<Py<Plan>>,
    kept: Option<crate::keys::Kept>,
    tiers: Tiers,
    text: Py<PyAny>,
    function: u32,
    /// Before anything was asked.
    started: Seq,
    token: Seq,
    began: u64,
    space: u32,
    ticket: Option<Ticket>,
    /// What is known of the key in the tiers that others share, and whose lease in the store it waits for.
    hand: Hand,
    /// Of a question that stores or gives back a lease: when it was asked, and whether it stores.
    asked: Option<(ValidFrom, bool)>,
    waiting: Option<Waiting>,
    waits: Option<Patience>,
    following: Option<Following>,
    cell: Option<Arc<Cell>>,
}

impl Step {
    /// Of a key, before anything is known of it.
    fn of(text: Py<PyAny>, function: u32) -> Step {
        Step {
            compiled: None,
            plan: None,
            kept: None,
            tiers: Tiers::None,
            text,
            function,
            started: Seq::NEVER,
            token: Seq::NEVER,
            began: 0,
            space: 0,
            ticket: None,
            hand: Hand::default(),
            asked: None,
            waiting: None,
            waits: None,
            following: None,
            cell: None,
        }
    }

    fn op<'py>(&self, py: Python<'py>) -> Option<Op<'py>> {
        Some(Op {
            py,
            plan: self.plan.as_ref()?.bind(py).clone(),
            c: self.compiled.clone()?,
        })
    }

    /// Of a function whose first tier is one of ours.
    fn native<R>(&self, py: Python, f: impl FnOnce(&Op, &Native) -> R) -> Option<R> {
        let op = self.op(py)?;
        match &op.c.stack {
            Stack::Native(n) => Some(f(&op, n)),
            Stack::Foreign(_) => None,
        }
    }

    fn key<'py>(&self, py: Python<'py>) -> PyResult<TextKey<'py>> {
        let object = self.text.bind(py);
        match object.cast::<PyString>() {
            Ok(text) if self.compiled.is_some() => {
                Ok(TextKey::as_object(object, text.to_str()?, self.function))
            }
            _ => Ok(TextKey::of_any(object)),
        }
    }

    fn parts<'py>(&self, op: &Op<'py>) -> crate::keys::KeyParts<'py> {
        self.kept.as_ref().expect("made with the plan").bind(op.py)
    }

    fn flight(&self, key: &TextKey, py: Python) -> FlightKey {
        match self.op(py).map(|op| matches!(op.c.stack, Stack::Native(_))) {
            Some(true) => key.flight.clone(),
            _ => User::flight_key(self.plan.as_ref().map(|p| p.bind(py)), key),
        }
    }

    /// Other processes may run the function now. An exception keeps the frames it came through, and they this: not when it is
    /// dropped.
    fn release(&mut self) {
        self.hand = Hand::default();
        self.waiting = None;
    }

    fn turn_in_store(&mut self, py: Python) -> PyResult<(&'static str, Py<PyAny>)> {
        let (Some(op), Some(mut seen)) = (self.op(py), self.hand.seen.take()) else {
            return Ok(("run", py.None()));
        };
        let Stack::Native(
            n @ Native {
                store: Some(at), ..
            },
        ) = &op.c.stack
        else {
            return Ok(("run", py.None()));
        };
        let counts = op.counts();
        let waits = self
            .waits
            .get_or_insert_with(|| Patience::new(patience(counts)));
        let over = waits.is_over();
        match at.step(py, &mut seen, op.counts(), self.waiting.as_ref(), over)? {
            Next::Found(found) => {
                let (key, parts) = (self.key(py)?, self.parts(&op));
                let ticket = self.ticket.take();
                let mut lead = Lead { key: &key, ticket };
                let hand = Hand::of(Some(seen));
                let value = op.found_in_store(n, &parts, &mut lead, self.space, hand, found)?;
                Ok(("found", value.unbind()))
            }
            Next::Run => {
                self.began = clock::now();
                self.hand.seen = Some(seen);
                Ok(("run", py.None()))
            }
            Next::Wait(waiting) => {
                // It begins now, if it has not yet.
                let _left = waits.left();
                self.waiting = Some(waiting);
                self.hand.seen = Some(seen);
                Ok(("wait", py.None()))
            }
        }
    }

    fn end(&mut self, py: Python, outcome: Outcome, valid_from: ValidFrom) -> PyResult<()> {
        let Some(ticket) = self.ticket.take() else {
            return Ok(());
        };
        match FLIGHTS.with(py, |m| m.land(ticket)).left {
            Some((_, cell)) => {
                cell.counts_from(valid_from);
                cell.wake(py, outcome)
            }
            None => Ok(()),
        }
    }
}

#[pymethods]
impl Step {
    #[new]
    fn new(
        py: Python,
        helper: &Bound<PyAny>,
        args: &Bound<PyTuple>,
        kwargs: &Bound<PyDict>,
    ) -> PyResult<Step> {
        let plan = helper::plan_of(helper)?.map(Bound::unbind);
        let mut step = Step::of(py.None(), 0);
        step.started = FLIGHTS.with(py, |m| m.begin());
        step.plan = plan;
        if let Some(op) = helper::ready(helper)? {
            let values = op.values(Spread::new(args, kwargs)?.call())?;
            let parts = op.key(&values)?;
            let key = op.text_key(&parts)?;
            step.text = key.object().clone().unbind();
            step.function = key.function;
            step.kept = Some(parts.keep());
            step.compiled = Some(op.c);
        } else {
            let key = helper.getattr("get_cache_key")?.call(args, Some(kwargs))?;
            let (tiers, key) = helper::text(helper, &key)?;
            step.text = key.object().clone().unbind();
            step.tiers = tiers;
        }
        Ok(step)
    }

    /// `(True, value)` when it is stored.
    fn look(&self, py: Python) -> PyResult<(bool, Py<PyAny>)> {
        let found = match self.op(py) {
            Some(op) => fault::contained(|| op.cached(&self.parts(&op), true))?,
            None => {
                let token = FLIGHTS.with(py, |m| m.begin());
                self.tiers.get(&self.key(py)?, token)?
            }
        };
        Ok(found.map_or_else(|| (false, py.None()), |v| (true, v.unbind())))
    }

    /// `'lead'`, `'follow'` or `'alone'`.
    fn enter(&mut self, py: Python) -> PyResult<&'static str> {
        let within = flight::within(py)?;
        let key = self.key(py)?;
        let flight = self.flight(&key, py);
        let of = KeyOf {
            function: key.function,
            hash: key.hash,
            key: &flight,
        };
        let fresh = Cell::new();
        let hand = Hand::of(self.native(py, |_, n| n.see(&key)).flatten());
        let generation = hand.generation();
        let entered = FLIGHTS.with(py, |m| {
            let _ = m.begin();
            m.enter(of, machine::Call { within, generation }, || fresh.clone())
        });
        let ticket = match entered {
            Enter::Follow(following, cell) => {
                self.following = Some(following);
                self.cell = Some(cell);
                return Ok("follow");
            }
            Enter::Lead(ticket) | Enter::Alone(ticket) => ticket,
        };
        self.token = ticket.token();
        self.began = clock::now();
        self.hand = hand;
        self.space = self.native(py, |_, n| n.space.id.get()).unwrap_or(0);
        let leads = ticket.flight().is_some();
        self.cell = leads.then_some(fresh);
        self.ticket = Some(ticket);
        Ok(if leads { "lead" } else { "alone" })
    }

    /// Whether a look takes longer than a loop may wait.
    fn takes_time(&self, py: Python) -> PyResult<bool> {
        let key = self.key(py)?;
        let takes_time = |n: &Native| n.store.as_ref().is_some_and(|at| at.takes_time(&key));
        Ok(self.native(py, |_, n| takes_time(n)).unwrap_or(false))
    }

    /// Does what takes so long, in a thread that is not the loop's.
    fn fetch(&self, py: Python) -> PyResult<()> {
        let key = self.key(py)?;
        self.native(py, |_, n| {
            if let Some(at) = &n.store {
                at.fetch(py, &key);
            }
        });
        Ok(())
    }

    /// `('run', None)`; or `('found', value)` when the store has it, and then the flight is over; or `('wait', None)` as long as another
    /// process runs the function.
    fn turn(&mut self, py: Python) -> PyResult<(&'static str, Py<PyAny>)> {
        let turn = self.turn_in_store(py)?;
        if turn.0 == "run" {
            // Of a Redis behind it.
            self.waits = None;
        }
        Ok(turn)
    }

    /// What a call that leads asks over the network before it runs the function; `None`: nothing.
    fn ask(&mut self, py: Python) -> PyResult<Option<Asking>> {
        let key = self.key(py)?;
        let mut hand = std::mem::take(&mut self.hand);
        let asking = self.native(py, |_, n| {
            let at = n.redis.as_ref()?;
            let own = at.key(&key);
            let job = at.turn_job(py, n, &own, &mut hand)?;
            Some(Asking::new(at.at(), own, job))
        });
        self.hand = hand;
        Ok(asking.flatten())
    }

    /// What the answer means, as `turn` does; or `('ask', question)`, one more.
    fn answered(&mut self, py: Python, asking: &Asking) -> PyResult<(&'static str, Py<PyAny>)> {
        let Some(op) = self.op(py) else {
            return Ok(("run", py.None()));
        };
        let Stack::Native(n) = &op.c.stack else {
            return Ok(("run", py.None()));
        };
        let Some(at) = &n.redis else {
            return Ok(("run", py.None()));
        };
        let (key, counts) = (self.key(py)?, op.counts());
        let (own, answer) = (at.key(&key), asking.answer(py));
        match at.answered(py, &own, &mut self.hand, counts, answer)? {
            redis::Turn::Found(found) => {
                let (parts, ticket) = (self.parts(&op), self.ticket.take());
                let mut lead = Lead { key: &key, ticket };
                let hand = std::mem::take(&mut self.hand);
                let value =
                    op.found_in_redis(n, &parts, &mut lead, self.space, hand, found, true)?;
                Ok(("found", value.unbind()))
            }
            redis::Turn::Ask(job) => {
                let next = Asking::new(at.at(), own, job);
                Ok(("ask", Py::new(py, next)?.into_any()))
            }
            redis::Turn::Wait => {
                let leads = self
                    .ticket
                    .as_ref()
                    .is_some_and(|ticket| ticket.flight().is_some());
                // One from inside the function would wait for its own call.
                let most = if leads {
                    patience(counts)
                } else {
                    Duration::ZERO
                };
                let waits = self.waits.get_or_insert_with(|| Patience::new(most));
                if waits.is_over() {
                    return Ok(("run", py.None()));
                }
                let _left = waits.left();
                Ok(("wait", py.None()))
            }
            redis::Turn::Run => Ok(("run", py.None())),
        }
    }

    /// The function begins.
    fn begin(&mut self, py: Python) {
        if let Some(p) = &self.plan {
            add(&p.bind(py).get().counts.misses);
        }
        self.began = clock::now();
        let mut hand = std::mem::take(&mut self.hand);
        self.native(py, |_, n| {
            if let Some(at) = &n.redis {
                at.begin(py, &mut hand);
            }
        });
        self.hand = hand;
    }

    /// What stores the value of the function over the network; without one, what gives back the right to. `None`: there is nothing to ask.
    #[pyo3(signature = (value=None))]
    fn store(&mut self, py: Python, value: Option<&Bound<PyAny>>) -> PyResult<Option<Asking>> {
        let key = self.key(py)?;
        let mut hand = std::mem::take(&mut self.hand);
        let began = self.began;
        let asking = self.native(py, |op, n| {
            let Some(at) = &n.redis else {
                return Ok(None);
            };
            let job = match value {
                Some(value) => op.fill_in_redis(at, &key, &mut hand, value, began)?,
                None => at.release_job(&mut hand),
            };
            let asked = |job| {
                let is_fill = matches!(job, redis::Job::Fill { .. });
                let asked = (redis::moment(py), is_fill);
                (asked, Asking::new(at.at(), at.key(&key), job))
            };
            PyResult::Ok(job.map(asked))
        });
        self.hand = hand;
        let Some((asked, asking)) = asking.transpose()?.flatten() else {
            return Ok(None);
        };
        self.asked = Some(asked);
        Ok(Some(asking))
    }

    /// What came of that.
    fn stood(&mut self, py: Python, asking: &Asking) {
        let Some((since, is_fill)) = self.asked.take() else {
            return;
        };
        let mut hand = std::mem::take(&mut self.hand);
        self.native(py, |_, n| {
            if let Some(at) = &n.redis {
                at.stood(&mut hand, since, is_fill, asking.answer(py));
            }
        });
        self.hand = hand;
    }

    /// Who has the task of the flight that this call leads.
    fn owned_by(&self, owner: Py<PyAny>) {
        if let Some(cell) = &self.cell {
            cell.set_owner(owner);
        }
    }

    /// For the caller that leads: a step of its own, to wait for the flight as its followers do.
    fn waiting(&self, py: Python) -> Step {
        let mut step = Step::of(self.text.clone_ref(py), self.function);
        step.started = self.started;
        step.cell = self.cell.clone();
        step
    }

    fn owner(&self, py: Python) -> Option<Py<PyAny>> {
        self.cell.as_ref()?.owner(py)
    }

    /// From here on calls in this context are part of the flight.
    fn inside(&self, py: Python) -> PyResult<()> {
        flight::stay_inside(py, self.ticket.as_ref().and_then(Ticket::flight))
    }

    /// `wake` is called when the flight ends; false when it has ended.
    fn on_wake(&self, wake: Py<PyAny>) -> bool {
        self.cell.as_ref().is_some_and(|c| c.on_wake(wake))
    }

    /// `(True, value)`, or `(False, None)`: look again. Raises what the function raised.
    fn outcome(&mut self, py: Python) -> PyResult<(bool, Py<PyAny>)> {
        let follows = self.following.is_some();
        if let Some(f) = self.following.take() {
            FLIGHTS.with(py, |m| m.wait_end(f));
            if let Some(p) = &self.plan {
                add(&p.bind(py).get().counts.followed);
            }
        }
        let cell = self
            .cell
            .take()
            .filter(|c| !follows || c.is_for(self.started));
        match cell.and_then(|c| c.taken(py)).as_deref() {
            Some(Outcome::Raised(e)) => Err(e.clone_ref(py)),
            Some(Outcome::Value(v, encoded)) => {
                Ok((true, served(v.bind(py).clone(), *encoded)?.unbind()))
            }
            Some(Outcome::Stale(v, encoded)) => {
                // The step that led has counted its own.
                if let Some(p) = self.plan.as_ref().filter(|_| follows) {
                    add(&p.bind(py).get().counts.stale_hits);
                }
                Ok((true, served(v.bind(py).clone(), *encoded)?.unbind()))
            }
            Some(Outcome::Nothing) | None => Ok((false, py.None())),
        }
    }

    /// The caller waits no longer: it was cancelled, or its patience is over.
    fn leave(&mut self, py: Python) {
        if let Some(f) = self.following.take() {
            FLIGHTS.with(py, |m| m.wait_end(f));
        }
        self.cell = None;
    }

    /// Later calls do not join the flight that was found: nobody will ever land it.
    fn detach(&mut self, py: Python) {
        if let Some(f) = self.following.take() {
            FLIGHTS.with(py, |m| {
                m.detach(f.flight());
                m.wait_end(f);
            });
        }
        self.cell = None;
    }

    /// Seconds that a follower waits.
    fn patience(&self, py: Python) -> f64 {
        self.plan
            .as_ref()
            .map_or(30.0, |p| patience(&p.bind(py).get().counts).as_secs_f64())
    }

    /// The function gave this value.
    fn finish(&mut self, value: &Bound<PyAny>) -> PyResult<()> {
        let py = value.py();
        let key = self.key(py)?;
        if let Some(op) = self.op(py)
            && let Stack::Native(n) = &op.c.stack
        {
            let parts = self.parts(&op);
            let Some(ticket) = self.ticket.take() else {
                return Ok(());
            };
            let (space, began) = (self.space, self.began);
            let hand = std::mem::take(&mut self.hand);
            return fault::contained(|| {
                op.finish(n, &parts, &key, ticket, space, hand, value, began, true)
            });
        }
        let compiled = self.compiled.clone();
        let tiers = match compiled.as_ref().map(|c| &c.stack) {
            Some(Stack::Foreign(t)) => t,
            _ => &self.tiers,
        };
        let filled = tiers.fill(&key, self.token, self.began, value);
        if let Some(p) = &self.plan {
            let counts = &p.bind(py).get().counts;
            add(if matches!(filled, Ok(Some(_))) {
                &counts.fills
            } else {
                &counts.refused
            });
            add(&counts.landings);
        }
        self.end(py, Outcome::Nothing, ValidFrom::Joined)?;
        filled.map(|_| ())
    }

    /// Whether the last value may take the place of what the function raised.
    fn may_be_stale(&self, error: &Bound<PyAny>) -> bool {
        let py = error.py();
        let error = PyErr::from_value(error.clone());
        let may_be = |op: &Op, n: &Native| op.may_be_stale(n, &error);
        self.native(py, may_be).unwrap_or(false)
    }

    /// What is asked over the network for that; `None`: nothing.
    fn past(&mut self, py: Python) -> PyResult<Option<Asking>> {
        let key = self.key(py)?;
        let mut hand = std::mem::take(&mut self.hand);
        let asking = self.native(py, |_, n| {
            let at = n.redis.as_ref()?;
            let own = at.key(&key);
            let job = at.past_job(py, n, &own, &mut hand)?;
            Some(Asking::new(at.at(), own, job))
        });
        self.hand = hand;
        Ok(asking.flatten())
    }

    /// `(True, value)`: the last value, with which the flight is over; or `(False, None)`.
    #[pyo3(signature = (asking))]
    fn last(&mut self, py: Python, asking: Option<&Asking>) -> PyResult<(bool, Py<PyAny>)> {
        let Some(op) = self.op(py) else {
            return Ok((false, py.None()));
        };
        let Stack::Native(n) = &op.c.stack else {
            return Ok((false, py.None()));
        };
        let (key, parts, counts) = (self.key(py)?, self.parts(&op), op.counts());
        let last = match &n.redis {
            Some(at) => {
                let answer = asking.map(|asking| asking.answer(py));
                at.last(py, n, &at.key(&key), (&mut self.hand, counts), answer)?
            }
            None => redis::Last::Unknown,
        };
        let Some(stale) = op.last(n, &parts, &key, last)? else {
            return Ok((false, py.None()));
        };
        let valid_from = n.valid_from(&self.hand);
        self.release();
        self.end(py, stale.outcome, valid_from)?;
        Ok((true, stale.value.unbind()))
    }

    /// The function raised this exception.
    fn raised(&mut self, error: &Bound<PyAny>) -> PyResult<()> {
        let py = error.py();
        let valid_from = self.native(py, |_, n| n.valid_from(&self.hand));
        self.release();
        let raised = Outcome::Raised(PyErr::from_value(error.clone()));
        self.end(py, raised, valid_from.unwrap_or(ValidFrom::Joined))
    }

    /// The execution was cancelled: its followers look again.
    fn abandon(&mut self, py: Python) -> PyResult<()> {
        self.release();
        let Some(ticket) = self.ticket.take() else {
            return Ok(());
        };
        match FLIGHTS.with(py, |m| m.abandon(ticket)) {
            Some((_, cell)) => cell.wake(py, Outcome::Nothing),
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.plan)
    }
}

impl Drop for Step {
    /// A coroutine that is thrown away half-way ends its flight.
    fn drop(&mut self) {
        Python::attach(|py| {
            self.leave(py);
            if let Err(e) = self.abandon(py) {
                e.write_unraisable(py, None);
            }
        });
    }
}

//! Calls of coroutine functions.
//!
//! `f(x)` gives an object that does nothing until it is awaited: the call begins then, and what a clear removed before is not
//! seen. A hit ends it at once. Everything else is a coroutine of `quickcache.aio`, which asks a `Step` what to do next;
//! so asyncio's own tasks and futures do the waiting.

use crate::call::{Call, Lead, Op, Spread, User, patience};
use crate::cell::GilCell;
use crate::clock;
use crate::fault;
use crate::ffi::{self, PyObject};
use crate::flight::{self, Cell, FlightKey, Outcome};
use crate::function::Function;
use crate::helper;
use crate::hit;
use crate::memory::served;
use crate::plan::Plan;
use crate::stack::{Native, Stack, TextKey, Tiers};
use crate::state::{FLIGHTS, add};
use crate::testing;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use quickcache::protocol::machine::{self, Enter, Following, KeyOf, Seq, Ticket};
use quickcache::tier::store::{Next, Seen, Waiting};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Instant;

/// A call that has not begun, runs, or is over.
#[pyclass(module = "quickcache", immutable_type)]
pub struct CachedCall {
    state: State,
}

enum State {
    New {
        function: Py<PyAny>,
        args: Vec<Py<PyAny>>,
        kwnames: Option<Py<PyTuple>>,
        positional: usize,
    },
    /// Handed on to this coroutine.
    Running(Py<PyAny>),
    Over,
}

/// The object for a call.
///
/// # Safety
/// `function` is one of ours, `call` came with it, the GIL is held.
pub unsafe fn begin(function: *mut PyObject, call: Call) -> *mut PyObject {
    Python::attach(|py| unsafe {
        let n = call.nargs()
            + if call.kwnames.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(call.kwnames) as usize
            };
        let own = |o: *mut PyObject| Bound::from_borrowed_ptr(py, o).unbind();
        let state = State::New {
            function: own(function),
            args: (0..n).map(|i| own(*call.args.add(i))).collect(),
            kwnames: (!call.kwnames.is_null()).then(|| {
                Bound::from_borrowed_ptr(py, call.kwnames)
                    .cast_into_unchecked::<PyTuple>()
                    .unbind()
            }),
            positional: call.nargs(),
        };
        match Py::new(py, CachedCall { state }) {
            Ok(o) => o.into_ptr(),
            Err(e) => {
                e.restore(py);
                null_mut()
            }
        }
    })
}

fn drive<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || {
        PyResult::Ok(py.import("quickcache.aio")?.into_any().unbind())
    })?;
    module.bind(py).getattr(name)
}

impl CachedCall {
    /// The first step: a hit, or the coroutine that goes on.
    fn first<'py>(
        py: Python<'py>,
        state: State,
    ) -> PyResult<Result<Bound<'py, PyAny>, Bound<'py, PyAny>>> {
        let State::New {
            function,
            args,
            kwnames,
            positional,
        } = state
        else {
            return Err(PyRuntimeError::new_err(
                "cannot reuse already awaited coroutine",
            ));
        };
        let call = Call {
            // `Py` is a pointer to the object and nothing else.
            args: args.as_ptr() as *const *mut PyObject,
            nargsf: positional,
            kwnames: kwnames.as_ref().map_or(null_mut(), |n| n.as_ptr()),
        };
        // SAFETY: `function` is one of ours (`begin`), and we hold it and the arguments.
        unsafe {
            let f = &*(function.as_ptr() as *const Function);
            let found = hit::or_else(f, call, |_| null_mut());
            if let Some(v) = Bound::from_owned_ptr_or_opt(py, found) {
                return Ok(Ok(v));
            }
            if let Some(e) = PyErr::take(py) {
                return Err(e);
            }
            let helper = Bound::from_borrowed_ptr(py, f.helper);
            let (args, kwargs) = call.spread(py)?;
            Ok(Err(drive(py, "call")?.call1((helper, args, kwargs))?))
        }
    }
}

#[pymethods]
impl CachedCall {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        Self::send(slf, py.None().bind(py))
    }

    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let state = std::mem::replace(&mut slf.borrow_mut().state, State::Over);
        let coroutine = match state {
            State::Running(c) => c.into_bound(py),
            state => match Self::first(py, state)? {
                Ok(v) => return Err(PyStopIteration::new_err((v.unbind(),))),
                Err(coroutine) => coroutine,
            },
        };
        slf.borrow_mut().state = State::Running(coroutine.clone().unbind());
        let result = ffi::method(&coroutine, pyo3::intern!(py, "send"), &[value]);
        if result.is_err() {
            slf.borrow_mut().state = State::Over;
        }
        result
    }

    #[pyo3(signature = (*args))]
    fn throw<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let state = std::mem::replace(&mut slf.borrow_mut().state, State::Over);
        let State::Running(coroutine) = state else {
            // Never begun, or over: what is thrown comes straight out, as from a coroutine. A coroutine of Python's own says
            // how its three forms are read.
            return drive(py, "nothing")?.call0()?.call_method1("throw", args);
        };
        slf.borrow_mut().state = State::Running(coroutine.clone_ref(py));
        let result = coroutine.into_bound(py).call_method1("throw", args);
        if result.is_err() {
            slf.borrow_mut().state = State::Over;
        }
        result
    }

    fn close(slf: &Bound<Self>) -> PyResult<()> {
        let state = std::mem::replace(&mut slf.borrow_mut().state, State::Over);
        match state {
            State::Running(c) => c.call_method0(slf.py(), "close").map(|_| ()),
            _ => Ok(()),
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        match &self.state {
            State::New { function, args, .. } => {
                visit.call(function)?;
                args.iter().try_for_each(|a| visit.call(a))
            }
            State::Running(c) => visit.call(c),
            State::Over => Ok(()),
        }
    }

    fn __clear__(&mut self) {
        self.state = State::Over;
    }
}

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
    token: Seq,
    began: u64,
    space: u32,
    ticket: Option<Ticket>,
    /// What is known of the key in the store, and whose lease it waits for.
    seen: Option<Seen>,
    waiting: Option<Waiting>,
    since: Option<Instant>,
    following: Option<Following>,
    cell: Option<Arc<Cell>>,
}

impl Step {
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
        let text = self.text.bind(py);
        match text.cast::<PyString>() {
            Ok(t) if self.compiled.is_some() => TextKey::new(t.clone(), self.function),
            _ => TextKey::of_any(text),
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
        self.seen = None;
        self.waiting = None;
    }

    fn turn_in_store(&mut self, py: Python) -> PyResult<(&'static str, Py<PyAny>)> {
        let (Some(op), Some(mut seen)) = (self.op(py), self.seen.take()) else {
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
        let patience = patience(op.counts());
        let over = self.since.is_some_and(|since| since.elapsed() >= patience);
        match at.step(py, &mut seen, op.counts(), self.waiting.as_ref(), over)? {
            Next::Found(found) => {
                let (key, parts) = (self.key(py)?, self.parts(&op));
                let ticket = self.ticket.take();
                let mut lead = Lead { key: &key, ticket };
                let value = op.found_in_store(n, &parts, &mut lead, self.space, &seen, found)?;
                Ok(("found", value.unbind()))
            }
            Next::Run => {
                self.began = clock::now();
                self.seen = Some(seen);
                Ok(("run", py.None()))
            }
            Next::Wait(waiting) => {
                self.since.get_or_insert_with(Instant::now);
                self.waiting = Some(waiting);
                self.seen = Some(seen);
                Ok(("wait", py.None()))
            }
        }
    }

    fn end(&mut self, py: Python, outcome: Outcome) -> PyResult<()> {
        let Some(ticket) = self.ticket.take() else {
            return Ok(());
        };
        match FLIGHTS.with(py, |m| m.land(ticket)).left {
            Some((_, cell)) => cell.wake(py, outcome),
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
        let mut step = Step {
            compiled: None,
            plan,
            kept: None,
            tiers: Tiers::None,
            text: py.None(),
            function: 0,
            token: Seq::NEVER,
            began: 0,
            space: 0,
            ticket: None,
            seen: None,
            waiting: None,
            since: None,
            following: None,
            cell: None,
        };
        if let Some(op) = helper::ready(helper)? {
            let values = op.values(Spread::new(args, kwargs)?.call())?;
            let parts = op.key(&values)?;
            let key = op.text_key(&parts)?;
            step.text = key.text.unbind();
            step.function = key.function;
            step.kept = Some(parts.keep());
            step.compiled = Some(op.c);
        } else {
            let key = helper.getattr("get_cache_key")?.call(args, Some(kwargs))?;
            let (tiers, key) = helper::text(helper, &key)?;
            step.text = key.text.unbind();
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
        let seen = self.native(py, |_, n| n.see(&key)).flatten();
        let generation = seen.as_ref().map_or(0, Seen::generation);
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
        self.seen = seen;
        self.space = self.native(py, |_, n| n.space.id.get()).unwrap_or(0);
        let leads = ticket.flight().is_some();
        self.cell = leads.then_some(fresh);
        self.ticket = Some(ticket);
        Ok(if leads { "lead" } else { "alone" })
    }

    /// Whether the store is to be opened, which takes longer than a loop may wait.
    fn is_to_open(&self, py: Python) -> bool {
        let closed = |n: &Native| n.store.as_ref().is_some_and(|at| at.takes_time());
        self.native(py, |_, n| closed(n)).unwrap_or(false)
    }

    /// Opens it, in a thread that is not the loop's.
    fn open(&self, py: Python) {
        self.native(py, |op, n| {
            if let Some(at) = &n.store {
                op.py.detach(|| at.is_open());
            }
        });
    }

    /// `('run', None)`; or `('found', value)` when the store has it, and then the flight is over; or `('wait', None)` as long as another
    /// process runs the function.
    fn turn(&mut self, py: Python) -> PyResult<(&'static str, Py<PyAny>)> {
        let turn = self.turn_in_store(py)?;
        if turn.0 == "run"
            && let Some(p) = &self.plan
        {
            add(&p.bind(py).get().counts.misses);
        }
        Ok(turn)
    }

    /// For the caller that leads: a step of its own, to wait for the flight as its followers do. `owner` is what has
    /// the task.
    fn waiting(&self, py: Python, owner: Py<PyAny>) -> Step {
        if let Some(cell) = &self.cell {
            cell.set_owner(owner);
        }
        Step {
            compiled: None,
            plan: None,
            kept: None,
            tiers: Tiers::None,
            text: self.text.clone_ref(py),
            function: self.function,
            token: Seq::NEVER,
            began: 0,
            space: 0,
            ticket: None,
            seen: None,
            waiting: None,
            since: None,
            following: None,
            cell: self.cell.clone(),
        }
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
        if let Some(f) = self.following.take() {
            FLIGHTS.with(py, |m| m.wait_end(f));
            if let Some(p) = &self.plan {
                add(&p.bind(py).get().counts.followed);
            }
        }
        match self.cell.take().and_then(|c| c.taken(py)).as_deref() {
            Some(Outcome::Raised(e)) => Err(e.clone_ref(py)),
            Some(Outcome::Value(v, encoded)) => {
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
            let (space, began, seen) = (self.space, self.began, self.seen.take());
            return fault::contained(|| {
                op.finish(n, &parts, &key, ticket, space, seen, value, began, true)
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
        self.end(py, Outcome::Nothing)?;
        filled.map(|_| ())
    }

    /// The function raised this exception.
    fn raised(&mut self, error: &Bound<PyAny>) -> PyResult<()> {
        self.release();
        self.end(
            error.py(),
            Outcome::Raised(PyErr::from_value(error.clone())),
        )
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

/// `with Execution(helper):` around one run of its function, whichever way it ends: what `stats` counts.
#[pyclass(module = "quickcache._native", frozen)]
pub struct Execution {
    plan: Option<Py<Plan>>,
    start: Instant,
}

#[pymethods]
impl Execution {
    #[new]
    fn new(helper: &Bound<PyAny>) -> PyResult<Execution> {
        Ok(Execution {
            plan: helper::plan_of(helper)?.map(Bound::unbind),
            start: Instant::now(),
        })
    }

    fn __enter__(&self) {}

    fn __exit__(
        &self,
        py: Python,
        _kind: &Bound<PyAny>,
        _error: &Bound<PyAny>,
        _traceback: &Bound<PyAny>,
    ) {
        if let Some(p) = &self.plan {
            let counts = &p.bind(py).get().counts;
            add(&counts.executions);
            counts
                .compute_nanos
                .set(counts.compute_nanos.get() + self.start.elapsed().as_nanos() as u64);
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.plan)
    }
}

/// A call that `skip_arg` sends past the cache.
#[pyfunction]
pub fn skipped(helper: &Bound<PyAny>) -> PyResult<()> {
    if let Some(p) = helper::plan_of(helper)? {
        add(&p.get().counts.skips);
    }
    Ok(())
}

/// The moment before an execution that stores without a flight (skip, refresh).
#[pyclass(module = "quickcache._native", frozen)]
pub struct Anew {
    token: Seq,
    began: u64,
    seen: GilCell<Option<Seen>>,
}

#[pymethods]
impl Anew {
    #[new]
    fn new(helper: &Bound<PyAny>, args: &Bound<PyTuple>, kwargs: &Bound<PyDict>) -> PyResult<Anew> {
        let py = helper.py();
        let token = FLIGHTS.with(py, |m| m.begin());
        let seen = match helper::ready(helper)? {
            Some(op) => op.see(Spread::new(args, kwargs)?.call())?,
            None => None,
        };
        Ok(Anew {
            token,
            began: clock::now(),
            seen: GilCell::new(seen),
        })
    }

    /// Stores the value that the function gave, under the key that the arguments have now.
    fn store(
        &self,
        helper: &Bound<PyAny>,
        args: &Bound<PyTuple>,
        kwargs: &Bound<PyDict>,
        value: &Bound<PyAny>,
    ) -> PyResult<()> {
        if testing::disabled() {
            return Ok(());
        }
        if let Some(op) = helper::ready(helper)? {
            let parts = op.key(&op.values(Spread::new(args, kwargs)?.call())?)?;
            let seen = self.seen.with(value.py(), Option::take);
            let store = || op.store(&parts, self.token, seen, self.began, value);
            return fault::contained(store).map(|_| ());
        }
        let key = helper.getattr("get_cache_key")?.call(args, Some(kwargs))?;
        let (tiers, key) = helper::text(helper, &key)?;
        tiers
            .supersede(&key, self.token, self.began, value, || ())
            .map(|_| ())
    }
}

//! A call that the hit path did not serve: skip, key, flight, slower tiers, the function, the fill.
//!
//! The steps and their order are those of the replaced library (drop-in.md R1 to R3); the protocol stands between them.

use crate::clock;
use crate::ffi::{self, PyObject};
use crate::flight::{self, Cell, FlightKey, Outcome};
use crate::function::Function;
use crate::hit::Values;
use crate::memory::{Stored, deadline, served};
use crate::plan::{Chosen, Compiled, Plan, Skip};
use crate::stack::{Native, Stack, TextKey, Tiers};
use crate::state::{self, FLIGHTS, Home, add, debug, debugging, home};
use crate::text::KeyParts;
use crate::value::is_ellipsis;
use crate::{fault, testing, text, warn};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use quickcache::protocol::machine::{self, Enter, KeyOf, Seq, Ticket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The arguments of a vectorcall, borrowed.
#[derive(Clone, Copy)]
pub struct Call {
    pub args: *const *mut PyObject,
    pub nargsf: usize,
    pub kwnames: *mut PyObject,
}

impl Call {
    #[inline(always)]
    pub fn nargs(self) -> usize {
        unsafe { ffi::PyVectorcall_NARGS(self.nargsf) as usize }
    }

    /// Just `n` positional arguments.
    #[inline(always)]
    pub fn is_plain(self, n: usize) -> bool {
        self.nargs() == n && self.kwnames.is_null()
    }

    pub fn keyword_names<'py>(self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        if self.kwnames.is_null() {
            return vec![];
        }
        // SAFETY: the names of a vectorcall are a tuple.
        let names =
            unsafe { Bound::from_borrowed_ptr(py, self.kwnames).cast_into_unchecked::<PyTuple>() };
        names.iter().collect()
    }

    /// Calls `f` with these arguments.
    pub fn apply<'py>(self, f: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the arguments are alive for the length of the call that they came with. Without the offset flag: the
        // place before them is not ours to lend a second time.
        unsafe {
            let result = ffi::call(f.as_ptr(), self.args, self.nargs(), self.kwnames);
            Bound::from_owned_ptr_or_err(f.py(), result)
        }
    }

    /// As a tuple and a dict.
    pub fn spread<'py>(
        self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let arg = |i| unsafe { Bound::from_borrowed_ptr(py, *self.args.add(i)) };
        let kwargs = PyDict::new(py);
        for (k, name) in self.keyword_names(py).iter().enumerate() {
            kwargs.set_item(name, arg(self.nargs() + k))?;
        }
        Ok((
            PyTuple::new(py, (0..self.nargs()).map(arg).collect::<Vec<_>>())?,
            kwargs,
        ))
    }
}

/// Arguments that came as a tuple and a dict.
pub struct Spread<'py> {
    objects: Vec<Bound<'py, PyAny>>,
    positional: usize,
    names: Option<Bound<'py, PyTuple>>,
}

impl<'py> Spread<'py> {
    pub fn new(args: &Bound<'py, PyTuple>, kwargs: &Bound<'py, PyDict>) -> PyResult<Spread<'py>> {
        let mut objects: Vec<_> = args.iter().collect();
        let positional = objects.len();
        let names = match kwargs.is_empty() {
            true => None,
            false => Some(PyTuple::new(args.py(), kwargs.keys())?),
        };
        objects.extend(kwargs.values());
        Ok(Spread {
            objects,
            positional,
            names,
        })
    }

    pub fn call(&self) -> Call {
        Call {
            // SAFETY of later use: `Bound` is a pointer to the object and nothing else.
            args: self.objects.as_ptr() as *const *mut PyObject,
            nargsf: self.positional,
            kwnames: self.names.as_ref().map_or(null_mut(), |n| n.as_ptr()),
        }
    }
}

/// A call in full. Never unwinds.
///
/// # Safety
/// `call` is that of a vectorcall, the GIL is held.
#[cold]
#[inline(never)]
pub unsafe fn slow(f: &Function, call: Call, values: Option<Values>) -> *mut PyObject {
    let run = || {
        Python::attach(|py| {
            let result = unsafe { f.op(py) }.and_then(|op| match op {
                Ready::Op(op) => match &values {
                    Some(v) => {
                        let bound = |o: &*mut PyObject| unsafe { Bound::from_borrowed_ptr(py, *o) };
                        let values = v.objects().iter().map(bound).collect::<Vec<_>>();
                        op.call_for(&values, call)
                    }
                    None => op.call(call),
                },
                Ready::Helper(helper) => call.apply(&helper),
            });
            match result {
                Ok(v) => v.into_ptr(),
                Err(e) => {
                    e.restore(py);
                    null_mut()
                }
            }
        })
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Python::attach(|py| fault::error(&*panic).restore(py));
        null_mut()
    })
}

/// Who serves a call.
pub enum Ready<'py> {
    Op(Op<'py>),
    /// The helper as it is: it is not ours, or something on it has been changed.
    Helper(Bound<'py, PyAny>),
}

impl Function {
    unsafe fn op<'py>(&self, py: Python<'py>) -> PyResult<Ready<'py>> {
        let helper = unsafe { Bound::from_borrowed_ptr(py, self.helper) };
        match self.plan(py) {
            None => Ok(Ready::Helper(helper)),
            Some(plan) => Op::of(helper, plan),
        }
    }
}

/// One use of a cached function whose plan holds.
pub struct Op<'py> {
    pub py: Python<'py>,
    pub plan: Bound<'py, Plan>,
    pub c: Arc<Compiled>,
}

/// What an execution gave.
struct Ran<'py> {
    result: PyResult<Bound<'py, PyAny>>,
    /// On the deadlines' clock, before the function began.
    began: u64,
}

impl<'py> Op<'py> {
    pub fn of(helper: Bound<'py, PyAny>, plan: Bound<'py, Plan>) -> PyResult<Ready<'py>> {
        let py = helper.py();
        let compiled = plan.get().ready(&helper)?;
        Ok(match compiled {
            Some(c) => Ready::Op(Op { py, plan, c }),
            None => Ready::Helper(helper),
        })
    }

    fn home(&self) -> PyResult<&'py Home> {
        home(self.py)
    }

    fn counts(&self) -> &state::Counts {
        &self.plan.get().counts
    }

    pub fn call(&self, call: Call) -> PyResult<Bound<'py, PyAny>> {
        fault::point(self.py, "call");
        if testing::disabled() {
            return self.execute(call).result;
        }
        if self.skips(call)? {
            add(&self.counts().skips);
            return self.compute_and_store(call);
        }
        if debugging(self.py) {
            debug(
                self.py,
                &format!("checking caches for {}", self.c.name(self.py)?),
            )?;
        }
        self.call_for(&self.values(call)?, call)
    }

    fn skips(&self, call: Call) -> PyResult<bool> {
        match &self.c.skip {
            Skip::Never => Ok(false),
            Skip::Function(f) => call.apply(f.bind(self.py))?.is_truthy(),
            Skip::Param(i) => {
                let value = match self.c.params.bind(self.py, call)? {
                    Some(bound) => bound[*i].clone(),
                    None => self
                        .callargs(call)?
                        .get_item(self.c.params.name(*i).expect("compiled").bind(self.py))?,
                };
                value.is_truthy()
            }
        }
    }

    /// What `inspect` makes of a call that we did not bind: the error, most of the time.
    fn callargs(&self, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let (args, kwargs) = call.spread(self.py)?;
        self.home()?
            .callargs
            .bind(self.py)
            .call1((&self.c.function, args, kwargs))
    }

    /// The values that this call varies on.
    pub fn values(&self, call: Call) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let py = self.py;
        let bound = self.c.params.bind(py, call)?;
        let named = match &bound {
            Some(_) => None,
            None => Some(self.callargs(call)?),
        };
        if let Chosen::Function(f) = &self.c.chosen {
            return call.apply(f.bind(py))?.try_iter()?.collect();
        }
        let mut values = Vec::with_capacity(self.c.sources.len());
        for source in &self.c.sources {
            let mut value = match (&bound, &named) {
                (Some(b), _) => b[source.param].clone(),
                (None, Some(n)) => {
                    n.get_item(self.c.params.name(source.param).expect("compiled").bind(py))?
                }
                (None, None) => unreachable!("one of the two was made"),
            };
            for attr in &source.attrs {
                value = value.getattr(attr.bind(py))?;
            }
            values.push(value);
        }
        Ok(values)
    }

    pub fn key(&self, values: &[Bound<'py, PyAny>]) -> PyResult<KeyParts<'py>> {
        KeyParts::of(values, self.c.encoding_assert.bind(self.py))
    }

    pub fn text_key(&self, parts: &KeyParts) -> PyResult<TextKey<'py>> {
        let text = text::key(self.py, &self.c, &parts.args()?)?;
        let function = match &self.c.stack {
            Stack::Native(n) => n.space.function,
            Stack::Foreign(_) => 0,
        };
        TextKey::new(text, function)
    }

    pub fn call_for(
        &self,
        values: &[Bound<'py, PyAny>],
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        let parts = self.key(values)?;
        match &self.c.stack {
            Stack::Native(n) => self.through_memory(n, &parts, call),
            Stack::Foreign(tiers) => {
                let key = self.text_key(&parts)?;
                if debugging(self.py) {
                    debug(self.py, key.shown())?;
                }
                let user = User {
                    op: self.py,
                    plan: Some(&self.plan),
                    tiers,
                    function: self.c.function.bind(self.py),
                };
                user.call(&key, call)
            }
        }
    }

    // ---- over the memory tier ----

    fn hit(&self, n: &Native, parts: &KeyParts) -> PyResult<Option<Bound<'py, PyAny>>> {
        match n.memory.get().look(self.py, &n.space, &parts.parts) {
            // Stored as ever, and computed anew as ever: to a call it says "nothing is stored" (drop-in.md R2).
            Some((object, _)) if is_ellipsis(&object) => Ok(None),
            Some((object, encoded)) => {
                add(&self.counts().slow_hits);
                served(object, encoded).map(Some)
            }
            None => Ok(None),
        }
    }

    fn through_memory(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if let Some(v) = self.hit(n, parts)? {
            return Ok(v);
        }
        let key = self.text_key(parts)?;
        if debugging(py) {
            debug(py, key.shown())?;
        }
        if self.adopt(n, parts, &key)?
            && let Some(v) = self.hit(n, parts)?
        {
            return Ok(v);
        }
        let within = flight::within(py)?;
        let mut waited = 0;
        loop {
            let entered = FLIGHTS.with(py, |m| {
                let _ = m.begin();
                m.enter(
                    key.of(),
                    machine::Call {
                        within,
                        generation: 0,
                    },
                    Cell::new,
                )
            });
            match entered {
                Enter::Lead(ticket) | Enter::Alone(ticket) => {
                    let lead = Lead {
                        key: &key,
                        ticket: Some(ticket),
                    };
                    // The caches' own code too, so that a call from inside it does not wait for this one.
                    return flight::inside(py, lead.flight(), || self.lead(n, parts, lead, call));
                }
                Enter::Follow(following, cell) => {
                    let outcome = match follow(py, &key, following, &cell, patience(self.counts()))?
                    {
                        Followed::Outcome(o) => o,
                        Followed::GaveUp(_ticket) => return self.execute(call).result,
                    };
                    add(&self.counts().followed);
                    match &*outcome {
                        Outcome::Raised(e) => return Err(e.clone_ref(py)),
                        Outcome::Value(v, encoded) => return served(v.bind(py).clone(), *encoded),
                        Outcome::Nothing => waited += 1,
                    }
                    if let Some(v) = self.hit(n, parts)? {
                        return Ok(v);
                    }
                    if waited == 2 {
                        return self.execute(call).result;
                    }
                }
            }
        }
    }

    /// An entry that was set by text becomes one that calls find.
    fn adopt(&self, n: &Native, parts: &KeyParts, key: &TextKey) -> PyResult<bool> {
        let memory = n.memory.get();
        if n.key_prefix.is_empty() {
            return Ok(memory.adopt(self.py, &n.space, &parts.parts, key.text.cast()?));
        }
        let full = PyString::new(self.py, &format!("{}{}", n.key_prefix, key.shown()));
        Ok(memory.adopt(self.py, &n.space, &parts.parts, &full))
    }

    fn lead(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        mut lead: Lead<'_, 'py>,
        call: Call,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let id = n.space.id.get();
        // Another flight may have landed between our look and now.
        if let Some(v) = self.hit(n, parts)? {
            return Ok(v);
        }
        let token = lead.token();
        let began = clock::now();
        if let Some((v, until)) = n.rest.get_until(lead.key, token)? {
            add(&self.counts().outer_hits);
            let due = deadline(began, n.timeout).min(until);
            let stored = match due > clock::now() {
                true => self.stored(n, &v)?,
                false => None,
            };
            self.land(n, parts, &mut lead, id, stored, due)?;
            return Ok(v);
        }
        add(&self.counts().misses);
        if debugging(py) {
            debug(py, &format!("cache miss, calling {}", self.c.name(py)?))?;
        }
        let ran = self.execute(call);
        let value = match ran.result {
            Ok(v) => v,
            Err(e) => {
                // An interrupt is the leader's own: its followers look again.
                if e.is_instance_of::<PyException>(py) {
                    lead.end(Outcome::Raised(e.clone_ref(py)))?;
                }
                return Err(e);
            }
        };
        let ticket = lead.ticket.take().expect("not landed yet");
        self.finish(n, parts, lead.key, ticket, id, &value, ran.began)?;
        Ok(value)
    }

    /// Ends a flight whose function gave `value`: the slower tiers, then the memory tier, then the followers.
    #[allow(
        clippy::too_many_arguments,
        reason = "what an asynchronous flight kept of its beginning"
    )]
    pub fn finish(
        &self,
        n: &Native,
        parts: &KeyParts<'py>,
        key: &TextKey<'py>,
        ticket: Ticket,
        id: u32,
        value: &Bound<'py, PyAny>,
        began: u64,
    ) -> PyResult<()> {
        let mut lead = Lead {
            key,
            ticket: Some(ticket),
        };
        let stored = self.stored(n, value)?;
        if !n.rest.is_none() && n.rest.fill(key, lead.token(), began, value)?.is_none() {
            add(&self.counts().refused);
        }
        self.land(n, parts, &mut lead, id, stored, deadline(began, n.timeout))
    }

    /// What is to be stored of a value; `None` if it cannot be, with one warning.
    fn stored(&self, n: &Native, value: &Bound<'py, PyAny>) -> PyResult<Option<Stored<'py>>> {
        match Stored::of(value, n.copy) {
            Ok(s) => Ok(Some(s)),
            Err(e) => {
                let prefix = self.c.prefix.bind(self.py).to_string_lossy();
                warn::cannot_copy(self.py, Some(&prefix), value, e)?;
                add(&self.counts().refused);
                Ok(None)
            }
        }
    }

    /// The flight ends: the fill if it still stands, then the followers.
    fn land(
        &self,
        n: &Native,
        parts: &KeyParts,
        lead: &mut Lead<'_, 'py>,
        id: u32,
        stored: Option<Stored<'py>>,
        deadline: u64,
    ) -> PyResult<()> {
        let py = self.py;
        let counts = self.counts();
        fault::point(py, "land");
        let landed = FLIGHTS.with(py, |m| m.land(lead.ticket.take().expect("landed once")));
        let followers = Followers(py, landed.left.map(|(_, cell)| cell));
        fault::point(py, "fill");
        // Nothing between the landing and the fill lets another thread in.
        let mut late = false;
        let expired = n.memory.get().expired(py, &n.space, &parts.parts);
        let stored_now = stored.is_some() && landed.good && deadline > clock::now();
        counts.why.missed(py, lead.key.hash, expired, stored_now);
        if let Some(s) = &stored {
            if !landed.good {
                add(&counts.refused);
            } else if deadline <= clock::now() {
                late = true;
                add(&counts.refused);
            } else {
                n.memory
                    .get()
                    .fill(py, &n.space, id, &parts.parts, s, deadline);
                add(&counts.fills);
            }
        }
        followers.wake(match stored {
            Some(s) => Outcome::Value(s.object.unbind(), s.encoded),
            None => Outcome::Nothing,
        })?;
        if late {
            warn::slower_than_timeout(py, &self.c)?;
        }
        Ok(())
    }

    /// Runs the function.
    fn execute(&self, call: Call) -> Ran<'py> {
        let began = clock::now();
        let result = execute(Some(&self.plan), self.c.function.bind(self.py), call);
        Ran { result, began }
    }

    // ---- stores that are not fills ----

    /// Computes anew whatever is stored, and stores that.
    pub fn compute_and_store(&self, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let token = FLIGHTS.with(self.py, |m| m.begin());
        let ran = self.execute(call);
        let value = ran.result?;
        // The key comes after the function, as ever: a changed argument is stored under its new key.
        let parts = self.key(&self.values(call)?)?;
        self.store(&parts, token, ran.began, &value)?;
        Ok(value)
    }

    /// Stores a value that began under `token`; gives back what the cache's `set` gave.
    pub fn store(
        &self,
        parts: &KeyParts<'py>,
        token: Seq,
        began: u64,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if testing::disabled() {
            return Ok(py.None().into_bound(py));
        }
        let key = self.text_key(parts)?;
        let counts = self.counts();
        fault::point(py, "store");
        match &self.c.stack {
            Stack::Foreign(tiers) => match tiers.supersede(&key, token, began, value, || ())? {
                Some((returned, _)) => {
                    add(&counts.fills);
                    return Ok(returned);
                }
                None => add(&counts.refused),
            },
            Stack::Native(n) => {
                let id = n.space.id.get();
                let stored = self.stored(n, value)?;
                let stands = match &n.rest {
                    Tiers::None => FLIGHTS.with(py, |m| m.supersede(key.of(), token)),
                    rest => {
                        let inner = || {
                            n.memory.get().remove(py, &n.space, &parts.parts);
                        };
                        rest.supersede(&key, token, began, value, inner)?
                            .is_some_and(|(_, stands)| stands)
                    }
                };
                let due = deadline(began, n.timeout);
                if !stands {
                    add(&counts.refused);
                    return Ok(py.None().into_bound(py));
                }
                // An entry that was set by text is replaced too.
                self.adopt(n, parts, &key)?;
                match stored {
                    Some(s) if due > clock::now() => {
                        n.memory.get().fill(py, &n.space, id, &parts.parts, &s, due);
                        add(&counts.fills);
                    }
                    other => {
                        // What cannot be stored must not leave an older value behind.
                        n.memory.get().remove(py, &n.space, &parts.parts);
                        if other.is_some() {
                            add(&counts.refused);
                            warn::slower_than_timeout(py, &self.c)?;
                        }
                    }
                }
            }
        }
        Ok(py.None().into_bound(py))
    }

    /// The stored value, without running anything.
    pub fn cached(&self, parts: &KeyParts<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if testing::disabled() {
            return Ok(None);
        }
        let token = FLIGHTS.with(self.py, |m| m.begin());
        match &self.c.stack {
            Stack::Foreign(tiers) => {
                let key = self.text_key(parts)?;
                if debugging(self.py) {
                    debug(self.py, key.shown())?;
                }
                tiers.get(&key, token)
            }
            Stack::Native(n) => {
                if let Some(v) = self.hit(n, parts)? {
                    return Ok(Some(v));
                }
                let key = self.text_key(parts)?;
                if self.adopt(n, parts, &key)? {
                    return self.hit(n, parts);
                }
                let began = clock::now();
                let id = n.space.id.get();
                let Some((v, until)) = n.rest.get_until(&key, token)? else {
                    return Ok(None);
                };
                if let Some(s) = self.stored(n, &v)?
                    && FLIGHTS.with(self.py, |m| m.good(key.function, key.hash, token))
                {
                    n.memory.get().fill(
                        self.py,
                        &n.space,
                        id,
                        &parts.parts,
                        &s,
                        deadline(began, n.timeout).min(until),
                    );
                }
                Ok(Some(v))
            }
        }
    }

    pub fn clear(&self, parts: &KeyParts<'py>) -> PyResult<()> {
        let py = self.py;
        add(&self.counts().clears);
        let key = self.text_key(parts)?;
        fault::point(py, "clear");
        match &self.c.stack {
            Stack::Foreign(tiers) => {
                self.counts().why.cleared(py, key.hash);
                User::detach(py, &self.plan, &key).and_then(|()| tiers.clear(&key, || ()))
            }
            Stack::Native(n) => {
                let remove = || {
                    n.memory.get().remove(py, &n.space, &parts.parts);
                };
                self.counts().why.cleared(py, key.hash);
                // An entry that was set by text goes too.
                self.adopt(n, parts, &key)?;
                match &n.rest {
                    Tiers::None => {
                        FLIGHTS.with(py, |m| m.clear(key.of()));
                        remove();
                        Ok(())
                    }
                    rest => rest.clear(&key, remove),
                }
            }
        }
    }
}

/// How long a follower waits for a leader before it runs the function itself: five times what it has taken on average, or,
/// as long as nothing is known, half a minute.
pub fn patience(counts: &state::Counts) -> Duration {
    match counts.executions.get() {
        0 => Duration::from_secs(30),
        n => Duration::from_nanos(counts.compute_nanos.get() / n * 5).max(Duration::from_secs(1)),
    }
}

fn execute<'py>(
    plan: Option<&Bound<'py, Plan>>,
    function: &Bound<'py, PyAny>,
    call: Call,
) -> PyResult<Bound<'py, PyAny>> {
    let start = Instant::now();
    let result = call.apply(function);
    if let Some(plan) = plan {
        let counts = &plan.get().counts;
        add(&counts.executions);
        counts
            .compute_nanos
            .set(counts.compute_nanos.get() + start.elapsed().as_nanos() as u64);
    }
    result
}

/// A leader's duty to end its flight: an early return or a panic abandons it.
struct Lead<'a, 'py> {
    key: &'a TextKey<'py>,
    ticket: Option<Ticket>,
}

impl Lead<'_, '_> {
    fn flight(&self) -> Option<machine::FlightId> {
        self.ticket.as_ref().and_then(Ticket::flight)
    }

    fn token(&self) -> Seq {
        self.ticket.as_ref().expect("not landed yet").token()
    }

    fn end(mut self, outcome: Outcome) -> PyResult<()> {
        let py = self.key.text.py();
        let landed = FLIGHTS.with(py, |m| m.land(self.ticket.take().expect("landed once")));
        match landed.left {
            Some((_, cell)) => cell.wake(py, outcome),
            None => Ok(()),
        }
    }
}

impl Drop for Lead<'_, '_> {
    fn drop(&mut self) {
        let py = self.key.text.py();
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
struct Followers<'py>(Python<'py>, Option<Arc<Cell>>);

impl Followers<'_> {
    fn wake(mut self, outcome: Outcome) -> PyResult<()> {
        self.1
            .take()
            .map_or(Ok(()), |cell| cell.wake(self.0, outcome))
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

enum Followed {
    Outcome(Arc<Outcome>),
    GaveUp(Ticket),
}

fn follow(
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

// ---- over caches of the user's ----

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

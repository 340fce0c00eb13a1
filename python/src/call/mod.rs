//! A call that the hit path did not serve: skip, key, flight, slower tiers, the function, the fill.
//!
//! The steps and their order are those of the replaced library (drop-in.md R1 to R3); the protocol stands between them.

mod arguments;
mod hand;
mod leader;
mod memory;
mod stale;
mod store;
mod user;

pub use arguments::{Call, Spread};
pub use hand::Hand;
pub use leader::{Lead, patience};
pub use user::User;

use crate::clock;
use crate::ffi::PyObject;
use crate::function::Function;
use crate::hit::Values;
use crate::keys::KeyParts;
use crate::params::Bindings;
use crate::plan::{Chosen, Compiled, Few, Plan, Skip, Source};
use crate::stack::{Stack, TextKey};
use crate::state::{self, Home, add, debug, debugging, home};
use crate::{fault, testing};
use pyo3::prelude::*;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Instant;

/// A call in full. Never unwinds.
///
/// # Safety
/// `call` is that of a vectorcall, the GIL is held.
#[cold]
#[inline(never)]
pub unsafe fn slow(f: &Function, call: Call, values: Option<Values>) -> *mut PyObject {
    answer(|py| match unsafe { f.op(py) }? {
        Ready::Op(op) => match &values {
            Some(v) => {
                let bound = |o: &*mut PyObject| unsafe { Bound::from_borrowed_ptr(py, *o) };
                let values = v.objects().iter().map(bound).collect::<Few<_>>();
                op.call_for(&values, call)
            }
            None => op.call(call),
        },
        Ready::Helper(helper) => call.apply(&helper),
    })
}

/// What CPython is given by a function of ours that it calls: a new reference, or null with the error set, a panic's among them.
pub fn answer(
    run: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>,
) -> *mut PyObject {
    Python::attach(|py| match fault::contained(|| run(py)) {
        Ok(value) => value.into_ptr(),
        Err(error) => {
            error.restore(py);
            null_mut()
        }
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

    pub fn counts(&self) -> &state::Counts {
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
    pub fn values(&self, call: Call) -> PyResult<Few<Bound<'py, PyAny>>> {
        match self.plain_values(call)? {
            Some(values) => Ok(values),
            None => self.any_values(call),
        }
    }

    /// As `values`, of the calls that most calls are: bound without an allocation.
    fn plain_values(&self, call: Call) -> PyResult<Option<Few<Bound<'py, PyAny>>>> {
        let Compiled {
            chosen: Chosen::Names,
            params,
            sources,
            ..
        } = &*self.c
        else {
            return Ok(None);
        };
        if sources.iter().any(|source| source.param >= params.named()) {
            return Ok(None);
        }
        let mut bound = Bindings::new();
        // SAFETY: `call` is that of a vectorcall.
        let Some(bound) = (unsafe { params.bind_plain(&mut bound, call) }) else {
            return Ok(None);
        };
        // All are ours before the first attribute is read: that may run code which gives the function other defaults.
        let own =
            |source: &Source| unsafe { Bound::from_borrowed_ptr(self.py, bound[source.param]) };
        let mut values: Few<Bound<PyAny>> = sources.iter().map(own).collect();
        for (value, source) in values.iter_mut().zip(sources) {
            for attr in &source.attrs {
                *value = value.getattr(attr.bind(self.py))?;
            }
        }
        Ok(Some(values))
    }

    fn any_values(&self, call: Call) -> PyResult<Few<Bound<'py, PyAny>>> {
        let py = self.py;
        let bound = self.c.params.bind(py, call)?;
        let named = match &bound {
            Some(_) => None,
            None => Some(self.callargs(call)?),
        };
        if let Chosen::Function(f) = &self.c.chosen {
            return call.apply(f.bind(py))?.try_iter()?.collect();
        }
        let mut values = Few::with_capacity(self.c.sources.len());
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
        self.c.key(values, self.py)
    }

    pub fn text_key(&self, parts: &KeyParts) -> PyResult<TextKey<'py>> {
        let function = match &self.c.stack {
            Stack::Native(n) => n.space.function,
            Stack::Foreign(_) => 0,
        };
        let text = self.c.keys.text(&parts.parts)?;
        Ok(TextKey::new(self.py, &text, function))
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

    /// Runs the function.
    fn execute(&self, call: Call) -> Ran<'py> {
        let began = clock::now();
        let result = execute(Some(&self.plan), self.c.function.bind(self.py), call);
        Ran { result, began }
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

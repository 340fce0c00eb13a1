//! What a decorated function varies on and where its values live, read from its helper and made ready for calls.
//!
//! A helper's attributes are public and live, its class may be patched at any time (drop-in.md D7, D9). So a plan is
//! valid only under a guard: the versions of the helper's class and of the cache's classes. An attribute that is
//! reassigned retires the plan; the next call makes it anew. Where a helper is not exactly ours, there is no plan and
//! the helper itself is called.

use crate::attr::Attribute;
use crate::call::Call;
use crate::ffi::{self, PyObject, PyTypeObject};
use crate::keys::{Keys, V1Keys};
use crate::memo::{Memo, NO_FORM};
use crate::memory::{Inner, Space, millis};
use crate::params::Params;
use crate::stack::Stack;
use crate::{plans, state, testing};
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyFunction, PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use smallvec::SmallVec;
use std::cell::{Cell, UnsafeCell};
use std::ptr::null;
use std::sync::Arc;

/// The values or the parts of one key: most have so few that they need no allocation.
pub type Few<T> = SmallVec<[T; 4]>;

/// Functions with more parameters, or keys with more parts, take the slow path: it allocates.
pub const MAX_PARAMS: usize = 16;
pub const MAX_PARTS: usize = 8;

/// A century, in milliseconds: so that no deadline is beyond what an entry of the memory tier can tell from none.
const LONGEST_STALE: u64 = 100 * 366 * 24 * 3_600_000;

/// How many memos are made for one function.
const MAX_LESSONS: u32 = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Varies on nothing, and is called without arguments.
    Nothing,
    /// Varies on one of its arguments as it is, and is called with all that are needed, by position.
    One,
    /// The same with one attribute of that argument.
    Attribute,
    /// Varies on one value, otherwise.
    Single,
    /// Varies on two values.
    Pair,
    /// Varies on more.
    Many,
    /// No call of this function can be served by the hit path.
    Never,
}

/// Shapes of which every call has the same plain arguments: the first of them.
const PLAIN: usize = Shape::Attribute as usize + 1;

#[derive(Clone, Copy)]
struct Guard {
    of: *mut PyTypeObject,
    version: u32,
}

/// What a hit reads, in one place.
pub struct Hot {
    guard: Guard,
    /// Those of the caches' classes, and the first again where there are fewer.
    more: [Guard; 4],
    more_guards: bool,
    pub shape: Shape,
    /// Of the plain shapes: how many arguments a call has, twice, at the place of the plan's own shape, and `NO_FORM` elsewhere.
    forms: [usize; PLAIN],
    /// How many arguments a call of this shape has, and which of them is the key.
    pub count: u8,
    pub index: u8,
    /// Of a function that varies on nothing: where its entry was last found.
    pub slot: Cell<u32>,
    /// Of the shape `Attribute`: how the last object that was learned from keeps it.
    pub attribute: Cell<Attribute>,
    pub memory: *const Inner,
    pub space: *const Space,
    pub compiled: *const Compiled,
}

impl Hot {
    #[inline(always)]
    pub fn guards_hold(&self) -> bool {
        // SAFETY: the compiled plan keeps the types alive; a version is read under the GIL.
        unsafe {
            ffi::type_version(self.guard.of) == self.guard.version
                && (!self.more_guards || self.more_hold())
        }
    }

    #[inline]
    unsafe fn more_hold(&self) -> bool {
        self.more
            .iter()
            .all(|g| unsafe { ffi::type_version(g.of) == g.version })
    }

    /// Whether a call is one of which the entry of this shape has looked at the only key it can have.
    pub fn is_plain(&self, call: Call) -> bool {
        match self.shape {
            Shape::Nothing => call.is_plain(0),
            Shape::One => call.is_plain(self.count as usize),
            _ => false,
        }
    }

    /// Whether a call has the arguments that a function of this shape takes, and the plan is of this shape still.
    #[inline(always)]
    pub fn fits(&self, shape: Shape, nargsf: usize, kwnames: *mut PyObject) -> bool {
        // Twice the number: so the flag on top of it falls out.
        self.forms[shape as usize] == nargsf << 1 && kwnames.is_null()
    }

    const fn never() -> Hot {
        // A live type whose version is never this one.
        let guard = Guard {
            of: &raw mut ffi::PyBaseObject_Type,
            version: u32::MAX,
        };
        Hot {
            guard,
            more: [guard; 4],
            more_guards: false,
            shape: Shape::Never,
            forms: [NO_FORM; PLAIN],
            count: 0,
            index: 0,
            slot: Cell::new(u32::MAX),
            attribute: Cell::new(Attribute::NONE),
            memory: null(),
            space: null(),
            compiled: null(),
        }
    }
}

/// Where one value of the key comes from: a parameter, then attributes.
pub struct Source {
    pub param: usize,
    pub attrs: Vec<Py<PyString>>,
}

pub enum Chosen {
    /// By the sources of `Compiled`.
    Names,
    /// By calling this with the arguments of the call.
    Function(Py<PyAny>),
}

pub enum Skip {
    Never,
    Param(usize),
    Function(Py<PyAny>),
}

/// Everything a call needs, immutable.
pub struct Compiled {
    pub function: Py<PyAny>,
    pub params: Params,
    pub sources: Vec<Source>,
    pub reads_attributes: bool,
    pub chosen: Chosen,
    pub skip: Skip,
    pub stack: Stack,
    pub keys: Keys,
    /// What messages know the function by.
    pub prefix: Py<PyString>,
    pub encoding_assert: Py<PyAny>,
    types: Vec<Py<PyAny>>,
}

impl Compiled {
    pub fn skip_param(&self) -> Option<usize> {
        if let Skip::Param(i) = self.skip {
            Some(i)
        } else {
            None
        }
    }

    pub fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.function.bind(py).getattr("__name__")
    }

    fn traverse(&self, visit: &PyVisit) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.encoding_assert)?;
        self.params.traverse(visit)?;
        if let Chosen::Function(f) = &self.chosen {
            visit.call(f)?;
        }
        if let Skip::Function(f) = &self.skip {
            visit.call(f)?;
        }
        self.types.iter().try_for_each(|t| visit.call(t))?;
        self.stack.traverse(visit)
    }
}

/// The plan of one helper; lives in its `_plan` attribute.
#[pyclass(frozen, module = "quickcache._native")]
pub struct Plan {
    pub hot: UnsafeCell<Hot>,
    compiled: UnsafeCell<Option<Arc<Compiled>>>,
    /// Plans that a running hit may still be reading.
    retired: UnsafeCell<Vec<Arc<Compiled>>>,
    /// Hits that are reading attributes, and so may run Python code, now.
    pub readers: Cell<u32>,
    pub memo: UnsafeCell<Memo>,
    /// How often a memo was made. Calls of ever other kinds are not worth one each.
    lessons: Cell<u32>,
    pub hits: Cell<u64>,
    pub counts: state::Counts,
}

// SAFETY: every access is made with the GIL held; the module declares that it needs it.
unsafe impl Send for Plan {}
unsafe impl Sync for Plan {}

struct NeverPlan(Plan);
static NEVER: std::sync::LazyLock<NeverPlan> =
    std::sync::LazyLock::new(|| NeverPlan(Plan::empty()));

impl Plan {
    /// A plan that serves no call, for helpers that are not ours.
    pub fn never() -> *const Plan {
        &NEVER.0
    }

    fn empty() -> Plan {
        Plan {
            hot: UnsafeCell::new(Hot::never()),
            compiled: UnsafeCell::new(None),
            retired: UnsafeCell::new(Vec::new()),
            readers: Cell::new(0),
            memo: UnsafeCell::new(Memo::nothing()),
            lessons: Cell::new(0),
            hits: Cell::new(0),
            counts: state::Counts::default(),
        }
    }

    /// The compiled plan if it may be used now; compiles it when an attribute was reassigned. `None`: call the helper.
    pub fn ready(&self, helper: &Bound<PyAny>) -> PyResult<Option<Arc<Compiled>>> {
        // SAFETY: GIL held; no reference into the cell survives a call into Python.
        let installed = unsafe {
            let holds = (*self.hot.get()).guards_hold();
            (*self.compiled.get()).clone().filter(|_| holds)
        };
        if let Some(c) = installed {
            if c.stack.is_current(helper.py())? {
                return Ok(Some(c));
            }
            self.retire();
        }
        if !state::pristine(helper)? {
            return Ok(None);
        }
        // The classes are as we made them, but some version has moved, or nothing has been compiled yet.
        let old = unsafe { (*self.compiled.get()).clone() };
        let compiled = match old {
            Some(c) if c.stack.is_current(helper.py())? => c,
            _ => loop {
                let round = plans::round();
                match compile_whole(helper)? {
                    Some(c) if round == plans::round() => break Arc::new(c),
                    Some(_) => {}
                    None => return Ok(None),
                }
            },
        };
        self.install(helper.py(), compiled.clone())?;
        Ok(Some(compiled))
    }

    fn install(&self, py: Python, compiled: Arc<Compiled>) -> PyResult<()> {
        plans::remember(py, self);
        if testing::active(py) {
            return self.set(py, Hot::never(), compiled);
        }
        if let Stack::Native(native) = &compiled.stack {
            native.memory.get().settle(py);
        }
        let mut guards = Vec::new();
        for t in &compiled.types {
            let of = t.as_ptr() as *mut PyTypeObject;
            let version = unsafe { state::version_of(of) };
            if version == 0 {
                // The type has run out of versions: checked in full at each call, by `ready`.
                return self.set(py, Hot::never(), compiled);
            }
            if guards.iter().all(|guard: &Guard| guard.of != of) {
                guards.push(Guard { of, version });
            }
        }
        let never = Hot::never();
        let mut hot = Hot {
            guard: guards[0],
            compiled: &*compiled,
            ..never
        };
        hot.more_guards = guards.len() > 1;
        hot.more = [guards[0]; 4];
        hot.more[..guards.len() - 1].copy_from_slice(&guards[1..]);
        if let Stack::Native(native) = &compiled.stack {
            hot.memory = native.memory.get().inner();
            hot.space = &*native.space;
            hot.shape = shape(&compiled);
            hot.index = compiled.sources.first().map_or(0, |s| s.param as u8);
            hot.count = if matches!(hot.shape, Shape::One | Shape::Attribute) {
                hot.index + 1
            } else {
                0
            };
            if let Some(form) = hot.forms.get_mut(hot.shape as usize) {
                *form = 2 * usize::from(hot.count);
            }
        }
        self.set(py, hot, compiled)
    }

    /// Remembers where the values of a call lay.
    ///
    /// # Safety
    /// As for `Compiled::memo`, of this plan's own.
    pub unsafe fn remember(&self, compiled: &Compiled, call: Call, values: &[*mut PyObject]) {
        if self.lessons.get() < MAX_LESSONS
            && let Some(memo) = unsafe { compiled.memo(call, values) }
        {
            self.lessons.set(self.lessons.get() + 1);
            // SAFETY: GIL held, and the cell is only read.
            unsafe { &*self.hot.get() }
                .attribute
                .set(memo.reads[0].attribute);
            drop(self.set_memo(memo));
        }
    }

    /// Puts a memo in the place of another, which is dropped when everything is whole: that may run Python code.
    #[must_use]
    fn set_memo(&self, memo: Memo) -> Memo {
        // SAFETY: called with the GIL held; no reference into the cell lives.
        unsafe { std::mem::replace(&mut *self.memo.get(), memo) }
    }

    fn set(&self, _py: Python, hot: Hot, compiled: Arc<Compiled>) -> PyResult<()> {
        // SAFETY: GIL held, nothing below runs Python code before the cells are whole again.
        unsafe {
            *self.hot.get() = hot;
            let _memo = self.set_memo(Memo::nothing());
            let old = (*self.compiled.get()).replace(compiled);
            if let Some(old) = old {
                (*self.retired.get()).push(old);
            }
            if self.readers.get() == 0 {
                drop(std::mem::take(&mut *self.retired.get()));
            }
        }
        Ok(())
    }
}

#[pymethods]
impl Plan {
    #[new]
    fn py_new() -> Plan {
        Plan::empty()
    }

    /// Forgets what was compiled: an attribute of the helper was reassigned.
    pub fn retire(&self) {
        // SAFETY: as in `set`.
        unsafe {
            *self.hot.get() = Hot::never();
            let _memo = self.set_memo(Memo::nothing());
            if let Some(old) = (*self.compiled.get()).take() {
                (*self.retired.get()).push(old);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector runs with the GIL held.
        unsafe {
            for c in (*self.compiled.get()).iter().chain(&*self.retired.get()) {
                // What a running call has cloned is visited by nobody: the collector sees it as used from outside.
                if Arc::strong_count(c) == 1 {
                    c.traverse(&visit)?;
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.retire();
        unsafe { drop(std::mem::take(&mut *self.retired.get())) }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the object is freed with the GIL held.
        plans::forget(unsafe { Python::assume_attached() }, self);
    }
}

fn shape(c: &Compiled) -> Shape {
    if !matches!(c.chosen, Chosen::Names)
        || matches!(c.skip, Skip::Function(_))
        || c.params.named() > MAX_PARAMS
        || c.sources.len() > MAX_PARTS
        || c.sources.iter().any(|s| s.param >= c.params.named())
    {
        return Shape::Never;
    }
    if matches!(c.skip, Skip::Never) {
        match &c.sources[..] {
            [] if c.params.accepts(0) => return Shape::Nothing,
            [s] if s.attrs.len() <= 1
                && s.param < c.params.positional()
                && c.params.accepts(s.param + 1) =>
            {
                return if s.attrs.is_empty() {
                    Shape::One
                } else {
                    Shape::Attribute
                };
            }
            _ => {}
        }
    }
    match c.sources.len() {
        1 => Shape::Single,
        2 => Shape::Pair,
        _ => Shape::Many,
    }
}

/// `None` also when an attribute has been deleted: the helper says so in its own time.
fn compile_whole(helper: &Bound<PyAny>) -> PyResult<Option<Compiled>> {
    match compile(helper) {
        Err(e) if e.is_instance_of::<PyAttributeError>(helper.py()) => Ok(None),
        other => other,
    }
}

/// Reads the helper. `None` when something is not as our own `__init__` left it, or is of a kind that only the helper serves.
fn compile(helper: &Bound<PyAny>) -> PyResult<Option<Compiled>> {
    let py = helper.py();
    let function = helper.getattr("fn")?;
    if !function.is_exact_instance_of::<PyFunction>() {
        return Ok(None);
    }
    let params = Params::of(&function)?;
    let vary_on = helper.getattr("vary_on")?;
    let mut sources = Vec::new();
    let chosen = if state::is_plain_function(&vary_on) {
        Chosen::Function(vary_on.unbind())
    } else {
        let Ok(list) = vary_on.cast::<PyList>() else {
            return Ok(None);
        };
        for item in list {
            let Ok((name, attrs)) = item.extract::<(String, Bound<PyTuple>)>() else {
                return Ok(None);
            };
            let Some(param) = params.index_of(py, &name) else {
                return Ok(None);
            };
            let attrs = attrs
                .iter()
                .map(|a| Ok(PyString::intern(py, &a.extract::<String>()?).unbind()))
                .collect::<PyResult<_>>()?;
            sources.push(Source { param, attrs });
        }
        Chosen::Names
    };
    let skip_arg = helper.getattr("skip_arg")?;
    let skip = if !skip_arg.is_truthy()? {
        Skip::Never
    } else if state::is_plain_function(&skip_arg) {
        Skip::Function(skip_arg.unbind())
    } else {
        let Ok(name) = skip_arg.extract::<String>() else {
            return Ok(None);
        };
        let Some(i) = params.index_of(py, &name) else {
            return Ok(None);
        };
        Skip::Param(i)
    };
    let prefix = helper.getattr("prefix")?;
    let Ok(prefix) = prefix.cast_into_exact::<PyString>() else {
        return Ok(None);
    };
    let keys = if state::is_v1(helper) {
        match helper.getattr("keys")?.cast_into_exact::<V1Keys>() {
            Ok(keys) => Keys::V1(keys.get().function.clone()),
            Err(_) => return Ok(None),
        }
    } else {
        Keys::Seed(prefix.to_str()?.into())
    };
    let cache = testing::stand_in(helper.getattr("cache")?)?;
    let stale = match &keys {
        Keys::V1(_) => match helper.getattr("stale_timeout")?.extract::<Option<f64>>() {
            Ok(seconds) => seconds.map_or(0, |seconds| millis(seconds).min(LONGEST_STALE)),
            Err(_) => return Ok(None),
        },
        Keys::Seed(_) => 0,
    };
    let (stack, mut cache_types) = Stack::of(&cache, &keys, stale)?;
    let mut types = vec![helper.get_type().into_any().unbind()];
    types.append(&mut cache_types);
    Ok(Some(Compiled {
        function: function.unbind(),
        params,
        reads_attributes: sources.iter().any(|s| !s.attrs.is_empty()),
        sources,
        chosen,
        skip,
        stack,
        keys,
        prefix: prefix.unbind(),
        encoding_assert: helper.getattr("encoding_assert")?.unbind(),
        types,
    }))
}

//! How a plain Python function takes its arguments: enough to bind a call without `inspect`.
//!
//! Binds only what is valid; the error of an invalid call is raised by `inspect.getcallargs` (`call/mod.rs`), so that its
//! type and text are the replaced library's.

use crate::call::Call;
use crate::ffi::{self, PyObject};
use crate::plan::MAX_PARAMS;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::mem::MaybeUninit;

const CO_VARARGS: u32 = 0x04;
const CO_VARKEYWORDS: u32 = 0x08;

pub struct Params {
    /// Names in the order of the code object: positional, then keyword-only; interned.
    names: Vec<Py<PyString>>,
    positional_only: usize,
    positional: usize,
    varargs: Option<Py<PyString>>,
    varkw: Option<Py<PyString>>,
    function: Py<PyAny>,
}

/// Room for the bound parameters of one call; not cleared, a hit has no time for that.
pub struct Bindings([MaybeUninit<*mut PyObject>; MAX_PARAMS]);

impl Bindings {
    #[inline(always)]
    pub fn new() -> Bindings {
        Bindings([MaybeUninit::uninit(); MAX_PARAMS])
    }

    /// The first `n` places.
    ///
    /// # Safety
    /// `n <= MAX_PARAMS`; the caller writes each place before it reads it.
    #[inline(always)]
    unsafe fn first(&mut self, n: usize) -> &mut [*mut PyObject] {
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr() as *mut *mut PyObject, n) }
    }
}

impl Params {
    /// Of a plain function (`types.FunctionType`, nothing else).
    pub fn of(function: &Bound<PyAny>) -> PyResult<Params> {
        let code = function.getattr("__code__")?;
        let names: Vec<Bound<PyString>> = code.getattr("co_varnames")?.extract()?;
        let count = |name| -> PyResult<usize> { code.getattr(name)?.extract() };
        let positional = count("co_argcount")?;
        let named = positional + count("co_kwonlyargcount")?;
        let flags: u32 = code.getattr("co_flags")?.extract()?;
        let mut rest = names[named..].iter();
        let mut star = |flag| {
            if flags & flag != 0 {
                rest.next().map(|n| n.clone().unbind())
            } else {
                None
            }
        };
        let varargs = star(CO_VARARGS);
        let varkw = star(CO_VARKEYWORDS);
        let intern = |n: &Bound<PyString>| -> PyResult<Py<PyString>> {
            Ok(PyString::intern(n.py(), n.to_str()?).unbind())
        };
        Ok(Params {
            names: names[..named].iter().map(intern).collect::<PyResult<_>>()?,
            positional_only: count("co_posonlyargcount")?,
            positional,
            varargs,
            varkw,
            function: function.clone().unbind(),
        })
    }

    pub fn named(&self) -> usize {
        self.names.len()
    }

    /// The function, for as long as these live.
    pub fn function(&self) -> *mut PyObject {
        self.function.as_ptr()
    }

    pub fn positional(&self) -> usize {
        self.positional
    }

    /// The name of the parameter at a place, as `index_of` counts.
    pub fn name(&self, i: usize) -> Option<&Py<PyString>> {
        let n = self.names.len();
        match i {
            i if i < n => self.names.get(i),
            i if i == n => self.varargs.as_ref(),
            _ => self.varkw.as_ref(),
        }
    }

    /// The place of a parameter: named ones first, then `*args`, then `**kwargs`.
    pub fn index_of(&self, py: Python, name: &str) -> Option<usize> {
        let is = |n: &Py<PyString>| n.bind(py).to_str().is_ok_and(|n| n == name);
        if let Some(i) = self.names.iter().position(is) {
            return Some(i);
        }
        if self.varargs.as_ref().is_some_and(is) {
            return Some(self.names.len());
        }
        if self.varkw.as_ref().is_some_and(is) {
            return Some(self.names.len() + 1);
        }
        None
    }

    /// Whether a call with just `n` positional arguments is valid, as the function is now.
    pub fn accepts(&self, n: usize) -> bool {
        let mut bound = Bindings::new();
        let args = [std::ptr::dangling_mut::<PyObject>(); MAX_PARAMS];
        let call = Call {
            args: args.as_ptr(),
            nargsf: n,
            kwnames: std::ptr::null_mut(),
        };
        // SAFETY: the arguments are only moved about, never looked into.
        n <= MAX_PARAMS && unsafe { self.bind_plain(&mut bound, call).is_some() }
    }

    /// Borrowed references, one for each named parameter; `None` when the call is not valid or is not plain (a keyword
    /// that is not an interned name, more names than there is room for). Runs no Python code.
    ///
    /// # Safety
    /// `call` is that of a vectorcall; the GIL is held. The references live as long as the call's arguments and the
    /// function's defaults.
    #[inline(always)]
    pub unsafe fn bind_plain<'b>(
        &self,
        bound: &'b mut Bindings,
        call: Call,
    ) -> Option<&'b [*mut PyObject]> {
        unsafe {
            let (n, nargs) = (self.names.len(), call.nargs());
            if n > MAX_PARAMS || (nargs > self.positional && self.varargs.is_none()) {
                return None;
            }
            let bound = bound.first(n);
            let given = nargs.min(self.positional);
            for (i, place) in bound.iter_mut().enumerate() {
                *place = if i < given {
                    *call.args.add(i)
                } else {
                    std::ptr::null_mut()
                };
            }
            let mut filled = given;
            if !call.kwnames.is_null() {
                for k in 0..ffi::PyTuple_GET_SIZE(call.kwnames) as usize {
                    let name = ffi::PyTuple_GET_ITEM(call.kwnames, k as _);
                    // A name that is not interned, a duplicate, or one for **kwargs: not plain.
                    let i = self.names.iter().position(|n| n.as_ptr() == name)?;
                    if i < self.positional_only || !bound[i].is_null() {
                        return None;
                    }
                    bound[i] = *call.args.add(nargs + k);
                    filled += 1;
                }
            }
            (filled == n || self.fill_defaults(bound)).then_some(&*bound)
        }
    }

    /// Where among the arguments of a plain call a parameter was given.
    ///
    /// # Safety
    /// `bind_plain` has taken this call, and the GIL is held.
    pub unsafe fn place(&self, param: usize, call: Call) -> Option<u8> {
        let nargs = call.nargs();
        if param < nargs.min(self.positional) {
            return Some(param as u8);
        }
        if call.kwnames.is_null() {
            return None;
        }
        let wanted = self.names[param].as_ptr();
        let given = |k: &usize| unsafe { ffi::PyTuple_GET_ITEM(call.kwnames, *k as _) == wanted };
        let k = (0..unsafe { ffi::PyTuple_GET_SIZE(call.kwnames) } as usize).find(given)?;
        u8::try_from(nargs + k).ok()
    }

    /// The default of a positional parameter, borrowed from the tuple of defaults that the function has now.
    ///
    /// # Safety
    /// The GIL is held.
    pub unsafe fn default(&self, param: usize) -> Option<*mut PyObject> {
        unsafe {
            let defaults = ffi::PyFunction_GetDefaults(self.function.as_ptr());
            if defaults.is_null() || param >= self.positional {
                return None;
            }
            let have = ffi::PyTuple_GET_SIZE(defaults) as usize;
            let first = self.positional.saturating_sub(have);
            (param >= first).then(|| ffi::PyTuple_GET_ITEM(defaults, (param - first) as _))
        }
    }

    /// The defaults are read from the function at each call: they may be reassigned.
    unsafe fn fill_defaults(&self, bound: &mut [*mut PyObject]) -> bool {
        unsafe {
            let function = self.function.as_ptr();
            let defaults = ffi::PyFunction_GetDefaults(function);
            let have = if defaults.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(defaults) as usize
            };
            let first = self.positional.saturating_sub(have);
            for (i, place) in bound[..self.positional].iter_mut().enumerate() {
                if place.is_null() {
                    if i < first {
                        return false;
                    }
                    *place = ffi::PyTuple_GET_ITEM(defaults, (i - first) as _);
                }
            }
            if self.names.len() > self.positional {
                let defaults = ffi::PyFunction_GetKwDefaults(function);
                for (i, place) in bound[..self.names.len()]
                    .iter_mut()
                    .enumerate()
                    .skip(self.positional)
                {
                    if place.is_null() {
                        if defaults.is_null() {
                            return false;
                        }
                        // Looks an interned str up among str keys: no Python code, and no error to clear.
                        *place = ffi::PyDict_GetItem(defaults, self.names[i].as_ptr());
                        if place.is_null() {
                            return false;
                        }
                    }
                }
            }
            true
        }
    }

    /// Binds any valid call as the function itself would; `None` when it is not valid.
    pub fn bind<'py>(
        &self,
        py: Python<'py>,
        call: Call,
    ) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        let n = self.names.len();
        let nargs = call.nargs();
        if nargs > self.positional && self.varargs.is_none() {
            return Ok(None);
        }
        let arg = |i: usize| unsafe { Bound::from_borrowed_ptr(py, *call.args.add(i)) };
        let mut bound: Vec<Option<Bound<PyAny>>> = (0..nargs.min(self.positional))
            .map(|i| Some(arg(i)))
            .collect();
        bound.resize(n, None);
        let extra = PyDict::new(py);
        for (k, name) in call.keyword_names(py).iter().enumerate() {
            let name = name.cast::<PyString>()?;
            let place = self.names[self.positional_only..]
                .iter()
                .position(|own| own.bind(py).as_any().eq(name).unwrap_or(false));
            match place {
                Some(i) if bound[self.positional_only + i].is_some() => return Ok(None),
                Some(i) => bound[self.positional_only + i] = Some(arg(nargs + k)),
                None if self.varkw.is_some() => extra.set_item(name, arg(nargs + k))?,
                None => return Ok(None),
            }
        }
        let function = self.function.bind(py);
        let defaults = function.getattr("__defaults__")?;
        let defaults = defaults.cast::<PyTuple>().ok();
        let first = self.positional - defaults.map_or(0, |d| d.len()).min(self.positional);
        let kwdefaults = function.getattr("__kwdefaults__")?;
        let kwdefaults = kwdefaults.cast::<PyDict>().ok();
        let mut values = Vec::with_capacity(n + 2);
        for (i, given) in bound.into_iter().enumerate() {
            let default = || -> PyResult<Option<Bound<PyAny>>> {
                if i >= self.positional {
                    kwdefaults.map_or(Ok(None), |d| d.get_item(self.names[i].bind(py)))
                } else if i >= first {
                    defaults.map(|d| d.get_item(i - first)).transpose()
                } else {
                    Ok(None)
                }
            };
            match given.map_or_else(default, |v| Ok(Some(v)))? {
                Some(v) => values.push(v),
                None => return Ok(None),
            }
        }
        let star = (self.positional..nargs).map(arg);
        values.push(PyTuple::new(py, star.collect::<Vec<_>>())?.into_any());
        values.push(extra.into_any());
        Ok(Some(values))
    }

    /// For the collector.
    pub fn traverse(&self, visit: &pyo3::PyVisit) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.function)
    }
}

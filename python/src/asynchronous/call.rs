//! What calling a coroutine function gives: something to await.

use crate::call::Call;
use crate::ffi::{self, PyObject};
use crate::function::Function;
use crate::hit;
use crate::once::Once;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::ptr::null_mut;

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
    static MODULE: Once<Py<PyAny>> = Once::new();
    let module = MODULE.get_or_try_init(py, || {
        PyResult::Ok(ffi::import(py, "quickcache.aio")?.into_any().unbind())
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
        let throw = coroutine.bind(py).getattr(pyo3::intern!(py, "throw"))?;
        let result = ffi::apply(&throw, args, None);
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

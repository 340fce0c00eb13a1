//! The arguments of a call, as a vectorcall brings them or as a tuple and a dict do.

use crate::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::ptr::null_mut;

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

//! What the memory tier keeps of a Python value: the object itself, or its pickle where callers must not share it.

use crate::ffi::{self, PyObject};
use crate::once::Once;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PyTuple};
use std::collections::HashSet;
use std::ffi::{c_int, c_void};

/// How deep `immutable` looks into tuples before it calls a value mutable.
const DEPTH: u32 = 8;

/// Whether sharing one object among all callers can be seen by none of them.
pub fn immutable(value: &Bound<PyAny>) -> bool {
    fn look(v: &Bound<PyAny>, depth: u32) -> bool {
        if plain(v.as_ptr()) {
            return true;
        }
        if depth == 0 {
            return false;
        }
        if let Ok(t) = v.cast_exact::<PyTuple>() {
            return t.iter_borrowed().all(|x| look(&x, depth - 1));
        }
        if let Ok(s) = v.cast_exact::<PyFrozenSet>() {
            return s.iter().all(|x| look(&x, depth - 1));
        }
        false
    }
    look(value, DEPTH)
}

/// To a call, `Ellipsis` in a cache says that nothing is stored.
pub fn is_ellipsis(value: &Bound<PyAny>) -> bool {
    value.as_ptr() == unsafe { ffi::Py_Ellipsis() }
}

fn plain(o: *mut PyObject) -> bool {
    unsafe {
        let t = (*o).ob_type;
        t == &raw mut ffi::PyUnicode_Type
            || t == &raw mut ffi::PyLong_Type
            || o == ffi::Py_None()
            || t == &raw mut ffi::PyBool_Type
            || t == &raw mut ffi::PyFloat_Type
            || t == &raw mut ffi::PyBytes_Type
            || t == &raw mut ffi::PyComplex_Type
            || o == ffi::Py_Ellipsis()
    }
}

/// A function of the module `pickle`.
pub fn pickle<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: Once<Py<PyAny>> = Once::new();
    let module = MODULE.get_or_try_init(py, || {
        PyResult::Ok(ffi::import(py, "pickle")?.into_any().unbind())
    })?;
    module.bind(py).getattr(name)
}

/// The pickle of a value.
pub fn encode<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let protocol = (-1_i32).into_pyobject(value.py())?;
    ffi::function(&pickle(value.py(), "dumps")?, &[value, protocol.as_any()])
}

/// A fresh object from a pickle that `encode` made in this process.
pub fn decode<'py>(pickled: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    ffi::function(&pickle(pickled.py(), "loads")?, &[pickled])
}

/// How many objects of one value are looked at before the rest is estimated.
const LOOK_AT: usize = 512;

/// About how many bytes a value holds in memory: exact for plain values, and an estimate from its first few hundred
/// objects for the rest. Types, modules and functions count for nothing, they live anyway. Runs no Python code.
pub fn weigh(value: *mut PyObject) -> u64 {
    unsafe {
        if plain(value) {
            return plain_size(value);
        }
        let mut seen = HashSet::new();
        let mut walk = Walk {
            todo: vec![value],
            all: 1,
        };
        let (mut bytes, mut looked) = (0u64, 0usize);
        while let Some(o) = walk.todo.pop() {
            if !seen.insert(o as usize) {
                continue;
            }
            looked += 1;
            bytes += if plain(o) {
                plain_size(o)
            } else {
                size_of_one(o)
            };
            if looked == LOOK_AT {
                // What was found but not looked at weighs as much as the average of what was.
                return bytes + bytes / looked as u64 * (walk.all.saturating_sub(looked)) as u64;
            }
            if !plain(o)
                && ffi::PyObject_IS_GC(o) != 0
                && let Some(traverse) = (*(*o).ob_type).tp_traverse
            {
                traverse(o, visit, &raw mut walk as *mut c_void);
            }
        }
        bytes
    }
}

struct Walk {
    todo: Vec<*mut PyObject>,
    /// Objects found, looked at or not.
    all: usize,
}

unsafe extern "C" fn visit(child: *mut PyObject, arg: *mut c_void) -> c_int {
    unsafe {
        let walk = &mut *(arg as *mut Walk);
        let t = (*child).ob_type;
        let lives_anyway = ffi::PyType_Check(child) != 0
            || t == &raw mut ffi::PyModule_Type
            || t == &raw mut ffi::PyFunction_Type
            || t == &raw mut ffi::PyCode_Type;
        if !lives_anyway {
            walk.all += 1;
            if walk.todo.len() < 2 * LOOK_AT {
                walk.todo.push(child);
            }
        }
        0
    }
}

unsafe fn plain_size(o: *mut PyObject) -> u64 {
    unsafe {
        let t = (*o).ob_type;
        if t == &raw mut ffi::PyUnicode_Type {
            return 56 + ffi::PyUnicode_GET_LENGTH(o) as u64 * ffi::PyUnicode_KIND(o) as u64;
        }
        let basic = (*t).tp_basicsize as u64;
        if t == &raw mut ffi::PyBytes_Type {
            basic + ffi::PyBytes_Size(o) as u64
        } else if t == &raw mut ffi::PyLong_Type {
            basic + 4 * ffi::int_digits(o) as u64
        } else {
            basic
        }
    }
}

unsafe fn size_of_one(o: *mut PyObject) -> u64 {
    unsafe {
        let t = (*o).ob_type;
        const GC_HEAD: u64 = 16;
        let basic = GC_HEAD + (*t).tp_basicsize as u64;
        if ffi::PyList_Check(o) != 0 {
            basic + 8 * ffi::PyList_GET_SIZE(o) as u64
        } else if ffi::PyTuple_Check(o) != 0 {
            basic + 8 * ffi::PyTuple_GET_SIZE(o) as u64
        } else if ffi::PyDict_Check(o) != 0 {
            // An index byte or more and 24 bytes an item, in a table that is at most two thirds full.
            basic + 48 * ffi::PyDict_Size(o) as u64
        } else if ffi::PyAnySet_Check(o) != 0 {
            basic + 32 * ffi::PySet_Size(o) as u64
        } else if (*t).tp_itemsize > 0 && t == &raw mut ffi::PyByteArray_Type {
            basic + ffi::PyByteArray_Size(o) as u64
        } else {
            basic
        }
    }
}

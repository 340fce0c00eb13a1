//! What pyo3-ffi leaves out, and the few CPython layouts that the hit path reads directly.
//!
//! Everything here is checked by `self_test` when the module is imported: where a check fails, the module was built for another
//! CPython and is not imported. (The layout of attributes is in `attr.rs`, and has a fallback.)

pub use pyo3::ffi::*;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::ffi::c_int;

unsafe extern "C" {
    pub fn PyMethod_New(func: *mut PyObject, self_: *mut PyObject) -> *mut PyObject;
    pub fn PyInstanceMethod_New(func: *mut PyObject) -> *mut PyObject;
    /// A borrowed reference, or null without an exception.
    pub fn _PyType_Lookup(of: *mut PyTypeObject, name: *mut PyObject) -> *mut PyObject;
}

/// The calls into Python that may let go of the GIL for long. (pyo3's own way back to the GIL is guarded likewise.)
///
/// Before CPython 3.14 a thread that wants the GIL back from an interpreter that is ending is ended by `pthread_exit`, which
/// unwinds it. That must not reach our frames: they would drop references and end flights without the GIL. So the thread is
/// stopped where it is, for ever, as later CPythons do.
struct StopIfUnwound;

impl Drop for StopIfUnwound {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Runs `call`, which makes one call into Python by a pointer that `may_unwind` gave.
#[inline(always)]
fn guarded<R>(call: impl FnOnce() -> R) -> R {
    let stop = StopIfUnwound;
    let result = call();
    std::mem::forget(stop);
    result
}

/// A function of Python's, said to unwind. The compiler must not see which one it is: `pyo3::ffi` promises of all that they do not,
/// and the guard around the call would be left out.
macro_rules! may_unwind {
    ($function:expr, fn($($arg:ty),*) $(-> $result:ty)?) => {{
        type Known = unsafe extern "C" fn($($arg),*) $(-> $result)?;
        type Unwinding = unsafe extern "C-unwind" fn($($arg),*) $(-> $result)?;
        // The two types differ in whether they may be unwound only.
        std::mem::transmute::<Known, Unwinding>(std::hint::black_box($function as Known))
    }};
}

/// `PyObject_Vectorcall`.
///
/// # Safety
/// As for that function.
pub unsafe fn call(
    callable: *mut PyObject,
    args: *const *mut PyObject,
    nargsf: usize,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let Some(function) = PyVectorcall_Function(callable) else {
            return PyObject_Vectorcall(callable, args, nargsf, kwnames);
        };
        guarded(|| {
            may_unwind!(
                function,
                fn(*mut PyObject, *const *mut PyObject, usize, *mut PyObject) -> *mut PyObject
            )(callable, args, nargsf, kwnames)
        })
    }
}

/// `PyObject_VectorcallMethod`.
///
/// # Safety
/// As for that function.
pub unsafe fn call_method(
    name: *mut PyObject,
    args: *const *mut PyObject,
    nargsf: usize,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    unsafe {
        guarded(|| {
            may_unwind!(
                PyObject_VectorcallMethod,
                fn(*mut PyObject, *const *mut PyObject, usize, *mut PyObject) -> *mut PyObject
            )(name, args, nargsf, kwnames)
        })
    }
}

/// `object.name(*args)`, of at most three arguments.
pub fn method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let mut all = [object.as_ptr(); 4];
    for (place, arg) in all[1..].iter_mut().zip(args) {
        *place = arg.as_ptr();
    }
    // SAFETY: the arguments are alive for the length of the call.
    unsafe {
        let result = call_method(
            name.as_ptr(),
            all.as_ptr(),
            1 + args.len(),
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(object.py(), result)
    }
}

/// `function(*args)`.
pub fn function<'py>(
    function: &Bound<'py, PyAny>,
    args: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the arguments are alive for the length of the call.
    unsafe {
        let args: Vec<*mut PyObject> = args.iter().map(|a| a.as_ptr()).collect();
        let result = call(
            function.as_ptr(),
            args.as_ptr(),
            args.len(),
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// `function(*args, **kwargs)`.
pub fn apply<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kwargs = kwargs.map_or(std::ptr::null_mut(), |k| k.as_ptr());
    // SAFETY: a tuple, and a dict or null, alive for the length of the call.
    unsafe {
        let result = guarded(|| {
            may_unwind!(
                PyObject_Call,
                fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject
            )(function.as_ptr(), args.as_ptr(), kwargs)
        });
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// The module of this name, whose code may not have run yet.
pub fn import<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let name = PyString::new(py, name);
    // SAFETY: a `str`, alive for the length of the call.
    unsafe {
        let module = guarded(|| {
            may_unwind!(PyImport_Import, fn(*mut PyObject) -> *mut PyObject)(name.as_ptr())
        });
        Bound::from_owned_ptr_or_err(py, module)
    }
}

/// `object.name`, which may be for a function of Python's to find.
pub fn attr<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are alive for the length of the call.
    unsafe {
        let value = guarded(|| {
            may_unwind!(
                PyObject_GetAttr,
                fn(*mut PyObject, *mut PyObject) -> *mut PyObject
            )(object.as_ptr(), name.as_ptr())
        });
        Bound::from_owned_ptr_or_err(object.py(), value)
    }
}

/// `METH_METHOD_DESCRIPTOR`-like flag: `obj.f(x)` calls us without making a bound method.
pub const TPFLAGS_METHOD_DESCRIPTOR: u32 = 1 << 17;
pub const TPFLAGS_DISALLOW_INSTANTIATION: u32 = 1 << 7;
pub const TPFLAGS_IMMUTABLETYPE: u32 = 1 << 8;
pub const READONLY: c_int = 1;

/// The head of every exact `str`, the same from CPython 3.10 to 3.13.
#[repr(C)]
pub struct StrHead {
    ob_base: PyObject,
    length: Py_ssize_t,
    hash: Py_hash_t,
}

/// The cached hash of an exact `str`; computes it when it is not there yet.
///
/// # Safety
/// `o` is an exact `str` and the GIL is held.
#[inline(always)]
pub unsafe fn str_hash(o: *mut PyObject) -> Py_hash_t {
    let h = unsafe { (*(o as *const StrHead)).hash };
    if h != -1 {
        h
    } else {
        unsafe { PyObject_Hash(o) }
    }
}

/// Whether two exact `str` hold the same text. Runs no Python code.
///
/// # Safety
/// Both are exact `str` whose hash has been asked for (so they are ready), and the GIL is held.
#[inline]
pub unsafe fn str_eq(a: *mut PyObject, b: *mut PyObject) -> bool {
    unsafe {
        let (x, y) = (&*(a as *const StrHead), &*(b as *const StrHead));
        if x.hash != y.hash || x.length != y.length {
            return false;
        }
        let kind = PyUnicode_KIND(a);
        if kind != PyUnicode_KIND(b) {
            return false;
        }
        let bytes = x.length as usize * kind as usize;
        let (p, q) = (
            PyUnicode_DATA(a) as *const u8,
            PyUnicode_DATA(b) as *const u8,
        );
        std::slice::from_raw_parts(p, bytes) == std::slice::from_raw_parts(q, bytes)
    }
}

/// An exact `int` of one digit, most are.
///
/// # Safety
/// `o` is an exact `int` and the GIL is held.
#[inline(always)]
pub unsafe fn small_int(o: *mut PyObject) -> Option<i64> {
    // After the head: a word with the size, and digits of 30 bits.
    let word = unsafe { *((o as *const u8).add(size_of::<PyObject>()) as *const isize) };
    let digit = || unsafe {
        *((o as *const u8).add(size_of::<PyObject>() + size_of::<isize>()) as *const u32) as i64
    };
    #[cfg(Py_3_12)]
    {
        // The number of digits above three bits of which two are the sign: 0 for plus, 1 for zero, 2 for minus.
        ((word as usize) < (2 << 3)).then(|| (1 - (word & 3) as i64) * digit())
    }
    #[cfg(not(Py_3_12))]
    {
        // The number of digits, negative for a negative number.
        (-1..=1).contains(&word).then(|| word as i64 * digit())
    }
}

/// An exact `int` above 0 of one digit.
///
/// # Safety
/// As for `small_int`.
#[inline(always)]
pub unsafe fn one_digit(o: *mut PyObject) -> Option<u32> {
    unsafe {
        let after = (o as *const u8).add(size_of::<PyObject>());
        let one = if cfg!(Py_3_12) { 1 << 3 } else { 1 };
        (*(after as *const isize) == one).then(|| *(after.add(size_of::<isize>()) as *const u32))
    }
}

/// An exact `int` that fits 64 bits.
///
/// # Safety
/// As for `small_int`.
#[inline(always)]
pub unsafe fn int_value(o: *mut PyObject) -> Option<i64> {
    unsafe { small_int(o).or_else(|| int_value_by_api(o)) }
}

/// The hash of an exact `str`, if it has been asked for before.
///
/// # Safety
/// `o` is an exact `str` and the GIL is held.
#[inline(always)]
pub unsafe fn str_hash_if_any(o: *mut PyObject) -> Option<Py_hash_t> {
    let h = unsafe { (*(o as *const StrHead)).hash };
    (h != -1).then_some(h)
}

/// How many digits of 30 bits an exact `int` has.
///
/// # Safety
/// `o` is an exact `int` and the GIL is held.
pub unsafe fn int_digits(o: *mut PyObject) -> usize {
    let word = unsafe { *((o as *const u8).add(size_of::<PyObject>()) as *const isize) };
    if cfg!(Py_3_12) {
        word as usize >> 3
    } else {
        word.unsigned_abs()
    }
}

#[cold]
unsafe fn int_value_by_api(o: *mut PyObject) -> Option<i64> {
    let mut overflow = 0;
    let v = unsafe { PyLong_AsLongLongAndOverflow(o, &mut overflow) };
    (overflow == 0).then_some(v)
}

/// Compares what is read directly with what the public API says: integers, text, the versions of types.
pub fn self_test(py: Python) -> PyResult<bool> {
    let mut good = true;
    // SAFETY: exact objects of the types asked for, alive, with the GIL held.
    unsafe {
        for power in [0, 1, 29, 30, 31, 59, 60, 62] {
            for near in [-1, 0, 1] {
                for sign in [-1, 1] {
                    let v = sign * ((1_i64 << power) + near);
                    let o = v.into_pyobject(py)?;
                    let small = v.unsigned_abs() < 1 << 30;
                    good &= small_int(o.as_ptr()) == small.then_some(v);
                    let one = (small && v > 0).then_some(v as u32);
                    good &= one_digit(o.as_ptr()) == one;
                    good &= int_value(o.as_ptr()) == Some(v);
                }
            }
        }
        let texts = ["", "a", "text", "t\u{e4}xt", "t\u{20ac}xt", "t\u{1f9a6}xt"];
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts.iter().enumerate() {
                let (a, b) = (PyString::new(py, a), PyString::new(py, b));
                good &= str_hash(a.as_ptr()) == PyObject_Hash(a.as_ptr());
                good &= str_hash(b.as_ptr()) == PyObject_Hash(b.as_ptr());
                good &= str_hash_if_any(a.as_ptr()) == Some(PyObject_Hash(a.as_ptr()));
                good &= str_eq(a.as_ptr(), b.as_ptr()) == (i == j);
            }
        }
        let class = py.get_type::<pyo3::types::PyType>().call1((
            "Probe",
            pyo3::types::PyTuple::empty(py),
            pyo3::types::PyDict::new(py),
        ))?;
        let name = PyString::intern(py, "attribute");
        let mut seen = Vec::new();
        for value in 0..3 {
            class.setattr(&name, value)?;
            _PyType_Lookup(class.as_ptr() as *mut PyTypeObject, name.as_ptr());
            let version = type_version(class.as_ptr() as *mut PyTypeObject);
            good &= version != 0 && !seen.contains(&version);
            seen.push(version);
        }
    }
    Ok(good)
}

/// The version of a type's attributes: another number after each change of the type or of one of its bases, 0 when
/// none has been given out.
///
/// # Safety
/// `t` is a live type.
#[inline(always)]
pub unsafe fn type_version(t: *mut PyTypeObject) -> u32 {
    unsafe { (*t).tp_version_tag }
}

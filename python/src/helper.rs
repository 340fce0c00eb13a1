//! What the helper's methods ask of the engine. Each answers "not mine" when the plan does not hold, and the method does it in
//! Python; but for `clear`, which is the method.

use crate::call::{Call, Op, Ready, Spread, User, answer};
use crate::clock;
use crate::fault;
use crate::ffi::{self, PyObject};
use crate::function;
use crate::plan::Plan;
use crate::stack::{TextKey, Tiers};
use crate::state::{self, FLIGHTS, home};
use crate::testing;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};

pub fn ready<'py>(helper: &Bound<'py, PyAny>) -> PyResult<Option<Op<'py>>> {
    let plan = helper.getattr(intern!(helper.py(), "_plan"))?;
    let Ok(plan) = plan.cast_into_exact::<Plan>() else {
        return Ok(None);
    };
    Ok(match Op::of(helper.clone(), plan)? {
        Ready::Op(op) => Some(op),
        Ready::Helper(_) => None,
    })
}

/// The decorated object of a helper.
#[pyfunction]
#[pyo3(name = "function")]
fn new_function(
    helper: &Bound<PyAny>,
    wrapped: &Bound<PyAny>,
    plan: Option<&Bound<Plan>>,
    coroutine: bool,
) -> PyResult<Py<PyAny>> {
    function::new(helper, wrapped, plan, coroutine)
}

#[pyfunction]
fn is_function(o: &Bound<PyAny>) -> bool {
    function::is_function(o.as_ptr())
}

#[pyfunction]
fn get_cache_key<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(op) = ready(helper)? else {
        return Ok(None);
    };
    let spread = Spread::new(args, kwargs)?;
    let parts = op.key(&op.values(spread.call())?)?;
    Ok(Some(op.text_key(&parts)?.object().clone()))
}

/// `(True, value or Ellipsis)`, or `(False, None)`.
#[pyfunction]
fn get_cached_value<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<(bool, Py<PyAny>)> {
    let py = helper.py();
    let Some(op) = ready(helper)? else {
        return Ok((false, py.None()));
    };
    let spread = Spread::new(args, kwargs)?;
    let parts = op.key(&op.values(spread.call())?)?;
    let cached = fault::contained(|| op.cached(&parts, false))?;
    Ok((true, cached.map_or_else(|| py.Ellipsis(), Bound::unbind)))
}

/// The method `clear` of helpers: with the arguments as the caller gave them, neither a tuple nor a dict is made of them.
unsafe extern "C" fn clear(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    answer(|py| {
        if nargs == 0 {
            return Err(PyTypeError::new_err(
                "clear() missing 1 required positional argument: 'self'",
            ));
        }
        // SAFETY: those of a vectorcall, of which the first is the helper.
        let (helper, call) = unsafe {
            let call = Call {
                args: args.add(1),
                nargsf: nargs as usize - 1,
                kwnames,
            };
            (Bound::from_borrowed_ptr(py, *args), call)
        };
        match ready(&helper)? {
            Some(op) => {
                op.clear(&op.key(&op.values(call)?)?)?;
            }
            None => {
                let (args, kwargs) = call.spread(py)?;
                let key = helper
                    .getattr(intern!(py, "get_cache_key"))?
                    .call(args, Some(&kwargs))?;
                text_clear(&helper, &key)?;
            }
        }
        Ok(py.None().into_bound(py))
    })
}

/// `clear` as a class keeps it: as a function in Python would, it binds to the object that it is got from.
fn method_clear<'py>(m: &Bound<'py, PyModule>) -> PyResult<Bound<'py, PyAny>> {
    static CLEAR: Definition = Definition(ffi::PyMethodDef {
        ml_name: c"clear".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: clear,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: c"clear($self, /, *args, **kwargs)\n--\n\n\
            Clears the cached value: a call that starts afterwards never gets a value computed before"
            .as_ptr(),
    });
    // SAFETY: CPython only reads the definition, which lives for ever; the function is of that kind.
    unsafe {
        let function = ffi::PyCFunction_NewEx(
            (&raw const CLEAR.0).cast_mut(),
            std::ptr::null_mut(),
            m.name()?.as_ptr(),
        );
        let function = Bound::from_owned_ptr_or_err(m.py(), function)?;
        Bound::from_owned_ptr_or_err(m.py(), ffi::PyInstanceMethod_New(function.as_ptr()))
    }
}

struct Definition(ffi::PyMethodDef);
// SAFETY: constant texts and the address of a function.
unsafe impl Sync for Definition {}

/// A function that stores its argument under the key of these arguments, which is made now.
#[pyfunction]
fn setter<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyCFunction>>> {
    let Some(op) = ready(helper)? else {
        return Ok(None);
    };
    let spread = Spread::new(args, kwargs)?;
    let parts = op.key(&op.values(spread.call())?)?;
    let key = op.text_key(&parts)?;
    if state::debugging(op.py) {
        state::debug(op.py, key.shown())?;
    }
    let (helper, kept) = (helper.clone().unbind(), parts.keep());
    let to = move |args: &Bound<PyTuple>, _: Option<&Bound<PyDict>>| -> PyResult<Py<PyAny>> {
        let py = args.py();
        let (value,): (Bound<PyAny>,) = args.extract()?;
        let Some(op) = ready(helper.bind(py))? else {
            return Err(PyTypeError::new_err(
                "the helper was changed between set_cached_value and to",
            ));
        };
        let token = FLIGHTS.with(py, |m| m.begin());
        fault::contained(|| op.set(&kept.bind(py), token, &value)).map(Bound::unbind)
    };
    PyCFunction::new_closure(op.py, Some(c"to"), None, to).map(Some)
}

/// Computes anew and stores.
#[pyfunction]
fn refresh<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    match ready(helper)? {
        Some(op) => {
            let spread = Spread::new(args, kwargs)?;
            fault::contained(|| op.compute_and_store(spread.call()))
        }
        None => text_skip(helper, args, kwargs),
    }
}

/// The MD5 of bytes in hexadecimal: no `hashlib`, whose MD5 is missing on some builds of Python.
#[pyfunction]
fn md5(value: &Bound<PyAny>) -> PyResult<String> {
    if value.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "Strings must be encoded before hashing",
        ));
    }
    let value = pyo3::buffer::PyBuffer::<u8>::get(value)?.to_vec(value.py())?;

    let mut text = String::with_capacity(33);
    quickcache::key::seed::write_bytes(&mut text, &value);
    Ok(text.split_off(1))
}

// ---- by text key, for helpers that are not exactly ours ----

pub fn text<'py>(
    helper: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
) -> PyResult<(Tiers, TextKey<'py>)> {
    let py = helper.py();
    let cache = testing::stand_in(helper.getattr(intern!(py, "cache"))?)?;
    let tiers = match cache.get_type().is(&home(py)?.tiered) {
        true => Tiers::Tiered(cache.unbind()),
        false => Tiers::One(cache.unbind()),
    };
    Ok((tiers, TextKey::of_any(key)))
}

pub fn plan_of<'py>(helper: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Plan>>> {
    Ok(helper
        .getattr(intern!(helper.py(), "_plan"))?
        .cast_into_exact::<Plan>()
        .ok())
}

#[pyfunction]
fn text_call<'py>(
    helper: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let function = helper.getattr(intern!(helper.py(), "fn"))?;
    if testing::disabled() {
        return ffi::apply(&function, args, Some(kwargs));
    }
    let (tiers, key) = text(helper, key)?;
    let plan = plan_of(helper)?;
    let user = User {
        op: helper.py(),
        plan: plan.as_ref(),
        tiers: &tiers,
        function: &function,
    };
    let spread = Spread::new(args, kwargs)?;
    fault::contained(|| user.call(&key, spread.call()))
}

#[pyfunction]
fn text_get<'py>(helper: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
    if testing::disabled() {
        return Ok(helper.py().Ellipsis());
    }
    let (tiers, key) = text(helper, key)?;
    let token = FLIGHTS.with(helper.py(), |m| m.begin());
    Ok(tiers
        .get(&key, token)?
        .map_or_else(|| helper.py().Ellipsis(), Bound::unbind))
}

#[pyfunction]
fn text_set<'py>(
    helper: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let py = helper.py();
    if testing::disabled() {
        return Ok(py.None());
    }
    let (tiers, key) = text(helper, key)?;
    let token = FLIGHTS.with(py, |m| m.begin());
    Ok(tiers
        .supersede(&key, token, clock::now(), value, || ())?
        .map_or_else(|| py.None(), |(returned, _)| returned.unbind()))
}

fn text_clear<'py>(helper: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> PyResult<()> {
    let (tiers, key) = text(helper, key)?;
    if let Some(plan) = plan_of(helper)? {
        User::detach(helper.py(), &plan, &key)?;
    }
    tiers.clear(&key, || ())
}

/// The function, then the key, then the store.
#[pyfunction]
fn text_skip<'py>(
    helper: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = helper.py();
    let token = FLIGHTS.with(py, |m| m.begin());
    let began = clock::now();
    let value = ffi::apply(&helper.getattr(intern!(py, "fn"))?, args, Some(kwargs))?;
    if testing::disabled() {
        return Ok(value);
    }
    let key = helper
        .getattr(intern!(py, "get_cache_key"))?
        .call(args, Some(kwargs))?;
    let (tiers, key) = text(helper, &key)?;
    tiers.supersede(&key, token, began, &value, || ())?;
    Ok(value)
}

pub fn register(m: &Bound<PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(new_function, m)?)?;
    m.add_function(wrap_pyfunction!(is_function, m)?)?;
    m.add_function(wrap_pyfunction!(get_cache_key, m)?)?;
    m.add_function(wrap_pyfunction!(get_cached_value, m)?)?;
    m.add("clear", method_clear(m)?)?;
    m.add_function(wrap_pyfunction!(setter, m)?)?;
    m.add_function(wrap_pyfunction!(refresh, m)?)?;
    m.add_function(wrap_pyfunction!(md5, m)?)?;
    m.add_function(wrap_pyfunction!(text_call, m)?)?;
    m.add_function(wrap_pyfunction!(text_get, m)?)?;
    m.add_function(wrap_pyfunction!(text_set, m)?)?;
    m.add_function(wrap_pyfunction!(text_skip, m)?)?;
    m.add_function(wrap_pyfunction!(state::set_pristine_v1, m)?)?;
    m.add_function(wrap_pyfunction!(state::set_pristine, m)?)
}

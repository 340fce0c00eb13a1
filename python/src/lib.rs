//! The Python front: the call, the key and the memory tier in Rust, under the GIL.
//!
//! A call enters at `function`, is served by `hit` or goes through `call`; `plan` says what a function varies on and `stack`
//! where its values live. `helper` is what the Python class asks; all policy is the engine's (`quickcache`).

mod asynchronous;
mod attr;
mod call;
mod cell;
mod class;
mod clock;
mod codec;
mod encoding;
mod entry;
mod fault;
mod ffi;
mod flight;
mod function;
mod helper;
mod hit;
mod keys;
mod log;
mod memo;
mod memory;
mod once;
mod params;
mod part;
mod plan;
mod plans;
mod redis;
mod report;
mod stack;
mod state;
mod store;
mod testing;
mod text;
mod tier;
mod value;
mod wait;
mod warn;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// Without the GIL this module would race: it says so, and a free-threaded interpreter then keeps its GIL on.
#[pymodule(gil_used = true)]
fn _native(m: &Bound<PyModule>) -> PyResult<()> {
    let py = m.py();
    // SAFETY: plain reads of the running interpreter.
    if unsafe { pyo3::ffi::PyInterpreterState_Get() != pyo3::ffi::PyInterpreterState_Main() } {
        // In the words of CPython, which refuses a sub-interpreter with a GIL of its own; `__init__.py` tells the user.
        return Err(PyImportError::new_err(
            "module quickcache._native does not support loading in subinterpreters",
        ));
    }
    // Importing has turned the GIL on, unless the interpreter was told to do without whatever it imports.
    let sys = py.import("sys")?;
    if let Some(asked) = sys.getattr_opt("_is_gil_enabled")?
        && !asked.call0()?.is_truthy()?
    {
        return Err(PyImportError::new_err(
            "quickcache keeps its state under the GIL, and this interpreter was told to run without: leave out -X gil=0 and \
             PYTHON_GIL=0, then importing quickcache turns the GIL on",
        ));
    }
    log::install();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<memory::Memory>()?;
    m.add_class::<store::Store>()?;
    m.add_class::<redis::Redis>()?;
    m.add_class::<redis::Asking>()?;
    #[cfg(unix)]
    m.add_class::<redis::Mailbox>()?;
    m.add_class::<plan::Plan>()?;
    m.add_class::<asynchronous::CachedCall>()?;
    m.add_class::<asynchronous::Step>()?;
    m.add_class::<asynchronous::Anew>()?;
    m.add_class::<asynchronous::Execution>()?;
    m.add_function(wrap_pyfunction!(asynchronous::skipped, m)?)?;
    m.add("CachedFunction", function::make_type(py)?)?;
    m.add_function(wrap_pyfunction!(flight::after_fork_in_child, m)?)?;
    py.import("os")?.call_method(
        "register_at_fork",
        (),
        Some(&[("after_in_child", m.getattr("after_fork_in_child")?)].into_py_dict(py)?),
    )?;
    py.import("atexit")?
        .call_method1("register", (wrap_pyfunction!(log::at_exit, m)?,))?;
    if !ffi::self_test(py)? {
        return Err(PyImportError::new_err(
            "quickcache was built for another CPython: reinstall it, so that a build for this one is chosen \
             (pip install --force-reinstall quickcache-rs)",
        ));
    }
    attr::self_test(py)?;
    m.add_function(wrap_pyfunction!(plans::retire, m)?)?;
    m.add_function(wrap_pyfunction!(attr::trust_attributes, m)?)?;
    #[cfg(feature = "faults")]
    m.add_function(wrap_pyfunction!(fault::provoked::panic_at, m)?)?;
    m.add_function(wrap_pyfunction!(codec::dataclass::register, m)?)?;
    entry::register(m)?;
    keys::register(m)?;
    report::register(m)?;
    testing::register(m)?;
    helper::register(m)
}

use pyo3::types::IntoPyDict;

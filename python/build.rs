//! Passes on which CPython is built for (`cfg(Py_3_12)` and the like), for the layouts in `ffi.rs`.
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}

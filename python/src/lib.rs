use pyo3::prelude::*;
#[pymodule(gil_used = true)]
fn _native(_m: &Bound<PyModule>) -> PyResult<()> { Ok(()) }

//! The keys of a function: what scheme they are of, the parts of one, and its text.
//!
//! A key is made of typed parts, which the memory tier compares, and has a text, which every other tier is asked by. Plain values
//! have the same parts under both schemes, and are equal under both or under neither; `text` makes the parts of all others
//! under scheme `seed`, `encoding` under `v1`.

use crate::encoding;
use crate::part::{Part, Tag};
use crate::plan::{Chosen, Compiled, Few};
use crate::text::{self, utf8};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use quickcache::key::v1;
use std::sync::Arc;

/// Whose keys they are, and of which scheme.
#[derive(Clone)]
pub enum Keys {
    /// Of the functions of this prefix.
    Seed(Arc<str>),
    /// Of the functions of this identity.
    V1(v1::Function),
}

impl Keys {
    /// The text of a key.
    pub fn text(&self, parts: &[Part]) -> PyResult<String> {
        match self {
            Keys::Seed(prefix) => text::key(prefix, parts),
            Keys::V1(function) => Ok(digest(function, parts)?.text()),
        }
    }

    /// What one part is in the text: of `v1` its bytes, with an escape for what is not printed as it is.
    pub fn shown(&self, part: Part) -> PyResult<String> {
        match self {
            Keys::Seed(_) => {
                let mut text = String::new();
                text::write_part(&mut text, part)?;
                Ok(text)
            }
            Keys::V1(_) => {
                let mut encoded = Vec::new();
                encoding::write_part(&mut encoded, part)?;
                Ok(encoded.escape_ascii().to_string())
            }
        }
    }

    /// The name of their space in a memory. No text key begins with that of a `v1` space: nothing in such a key says whose it is.
    pub fn space(&self) -> String {
        match self {
            Keys::Seed(prefix) => format!("quickcache.{prefix}/"),
            Keys::V1(function) => format!("{}{}", v1::TEXT_START, hex(function.id())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(function: &v1::Function, parts: &[Part]) -> PyResult<v1::Digest> {
    function.key_of(parts.len(), |message| {
        parts
            .iter()
            .try_for_each(|part| encoding::write_part(message, *part))
    })
}

/// Where in a text the key of scheme `v1` begins that it ends with, if it does.
pub fn v1_start(text: &str) -> Option<usize> {
    let at = text.len().checked_sub(v1::TEXT_LEN)?;
    text.get(at..)?.starts_with(v1::TEXT_START).then_some(at)
}

/// The parts of one key, with the objects that they point to.
pub struct KeyParts<'py> {
    pub parts: Few<Part>,
    held: Few<Bound<'py, PyAny>>,
}

impl<'py> KeyParts<'py> {
    /// The parts of these values; `other` makes those of a value that is not plain, or is text without a UTF-8 form. It is told the
    /// place of the value.
    fn of(
        values: &[Bound<'py, PyAny>],
        other: impl Fn(usize) -> PyResult<(Part, Option<Bound<'py, PyAny>>)>,
    ) -> PyResult<KeyParts<'py>> {
        let mut parts = Few::with_capacity(values.len());
        let mut held = Few::new();
        for (i, v) in values.iter().enumerate() {
            // SAFETY: `v` is alive and the GIL is held.
            let plain = unsafe { Part::of(v.as_ptr()) }.filter(|part| {
                // A lone surrogate is refused here, before the values behind it are looked at.
                part.tag != Tag::Str || unsafe { utf8(v.as_ptr()) }.is_ok()
            });
            let (part, object) = match plain {
                Some(part) => (part, Some(v.clone())),
                None => other(i)?,
            };
            parts.push(part);
            held.extend(object);
        }
        Ok(KeyParts { parts, held })
    }

    pub fn keep(self) -> Kept {
        Kept {
            parts: self.parts,
            held: self.held.into_iter().map(Bound::unbind).collect(),
        }
    }
}

/// The parts of one key, kept beyond the call: what was a mutable value is its text by now.
pub struct Kept {
    parts: Few<Part>,
    held: Few<Py<PyAny>>,
}

impl Kept {
    pub fn bind<'py>(&self, py: Python<'py>) -> KeyParts<'py> {
        KeyParts {
            parts: self.parts.clone(),
            held: self.held.iter().map(|o| o.bind(py).clone()).collect(),
        }
    }
}

impl Compiled {
    /// The key of these values.
    pub fn key<'py>(
        &self,
        values: &[Bound<'py, PyAny>],
        py: Python<'py>,
    ) -> PyResult<KeyParts<'py>> {
        KeyParts::of(values, |i| match &self.keys {
            Keys::Seed(_) => text::part(&values[i], self.encoding_assert.bind(py)),
            Keys::V1(_) => encoding::part(&values[i]).map_err(|fault| {
                let name = self
                    .name(py)
                    .map_or_else(|_| "?".into(), |name| name.to_string());
                fault.error(&values[i], &name, &self.source(i, py))
            }),
        })
    }

    /// What a message calls the value at a place of the key.
    fn source(&self, i: usize, py: Python) -> String {
        let named = || {
            let source = self.sources.get(i)?;
            let param = self.params.name(source.param)?;
            let path = std::iter::once(param).chain(&source.attrs);
            Some(
                path.map(|name| name.bind(py).to_string_lossy().into_owned())
                    .collect::<Vec<_>>()
                    .join("."),
            )
        };
        match &self.chosen {
            Chosen::Names => format!("the argument {}", named().unwrap_or_default()),
            Chosen::Function(_) => format!("value {} that its vary_on function gives", i + 1),
        }
    }
}

/// The keys of a function under scheme `v1`, for its helper.
#[pyclass(frozen, module = "quickcache._native", name = "V1Keys")]
pub struct V1Keys {
    pub function: v1::Function,
    name: String,
}

#[pymethods]
impl V1Keys {
    #[new]
    fn new(module: &str, name: &str, version: &str, source: &[u8], secret: &[u8]) -> V1Keys {
        let identity = v1::Identity {
            module,
            name,
            version,
            source,
        };
        V1Keys {
            function: v1::Scheme::new(secret).function(identity),
            name: name.into(),
        }
    }

    /// The hash of the function's identity, 32 bytes.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.function.id())
    }

    /// All 32 bytes of the key of these values.
    fn digest<'py>(
        &self,
        values: Vec<Bound<'py, PyAny>>,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.made(&values)?.as_bytes()))
    }

    /// The text key of these values.
    fn text(&self, values: Vec<Bound<PyAny>>) -> PyResult<String> {
        Ok(self.made(&values)?.text())
    }
}

impl V1Keys {
    fn made(&self, values: &[Bound<PyAny>]) -> PyResult<v1::Digest> {
        let key = KeyParts::of(values, |i| {
            encoding::part(&values[i]).map_err(|fault| {
                fault.error(
                    &values[i],
                    &self.name,
                    &format!("value {} of its key", i + 1),
                )
            })
        })?;
        digest(&self.function, &key.parts)
    }
}

/// What stands for a function's source text in its identity.
#[pyfunction]
fn source_hash<'py>(text: &str, py: Python<'py>) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &v1::source_hash(text))
}

pub fn register(m: &Bound<PyModule>) -> PyResult<()> {
    m.add_class::<V1Keys>()?;
    m.add_function(wrap_pyfunction!(source_hash, m)?)
}

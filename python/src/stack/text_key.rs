//! A text key in the words of the protocol, and as the object that caches are asked by.

use crate::flight::FlightKey;
use pyo3::prelude::*;
use pyo3::types::PyString;
use quickcache::protocol::machine::KeyOf;
use std::cell::OnceCell;

/// A text key in the words of the protocol.
pub struct TextKey<'py> {
    pub py: Python<'py>,
    object: OnceCell<Bound<'py, PyAny>>,
    pub flight: FlightKey,
    pub hash: u64,
    pub function: u32,
}

impl<'py> TextKey<'py> {
    pub fn new(py: Python<'py>, text: &str, function: u32) -> TextKey<'py> {
        TextKey {
            py,
            object: OnceCell::new(),
            hash: crate::memory::hash_text(text),
            flight: FlightKey::Text(text.into()),
            function,
        }
    }

    /// Whatever a helper of the user's makes. Keys that look alike share flights and clears, which is safe.
    pub fn of_any(key: &Bound<'py, PyAny>) -> TextKey<'py> {
        if let Ok(text) = key.cast_exact::<PyString>()
            && let Ok(own) = text.to_str()
        {
            return TextKey::as_object(key, own, 0);
        }
        let shown = key.repr().map(|r| r.to_string_lossy().into_owned());
        TextKey::as_object(key, &shown.unwrap_or_default(), 0)
    }

    /// The key that caches are asked by is there already.
    pub fn as_object(object: &Bound<'py, PyAny>, text: &str, function: u32) -> TextKey<'py> {
        TextKey {
            object: object.clone().into(),
            ..TextKey::new(object.py(), text, function)
        }
    }

    /// What caches are asked by: a str, but for helpers that make other keys.
    pub fn object(&self) -> &Bound<'py, PyAny> {
        self.object
            .get_or_init(|| PyString::new(self.py, self.shown()).into_any())
    }

    /// For messages.
    pub fn shown(&self) -> &str {
        match &self.flight {
            FlightKey::Text(t) | FlightKey::Of(_, t) => t,
        }
    }

    pub fn of(&self) -> KeyOf<'_, FlightKey> {
        KeyOf {
            function: self.function,
            hash: self.hash,
            key: &self.flight,
        }
    }
}

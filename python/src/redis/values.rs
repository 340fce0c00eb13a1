//! How values become entries of a Redis, and come back.

use super::Redis;
use crate::codec;
use crate::memory::deadline;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use quickcache::entry::{Entry, Head, Rejected, Unwritten};
use quickcache::tier::store::StoreKey;

impl Redis {
    /// The value of an entry that was good at some moment, and its deadline; why it has none. An interrupt comes out.
    pub(super) fn decode<'py>(
        &self,
        py: Python<'py>,
        key: &StoreKey,
        moment: u64,
        entry: &[u8],
    ) -> PyResult<Result<(Bound<'py, PyAny>, u64), Rejected>> {
        let Entry {
            head,
            codec,
            payload,
        } = match self.seal.read(key.bytes(), moment, entry) {
            Ok(entry) => entry,
            Err(why) => return Ok(Err(why)),
        };
        match codec::decode(py, codec, &payload, self.pickles()) {
            Ok(value) => Ok(Ok((value, head.deadline))),
            Err(error) if error.is_instance_of::<PyException>(py) => Ok(Err(Rejected::OtherCodec)),
            Err(interrupt) => Err(interrupt),
        }
    }

    /// The entry of a value that is `age` milliseconds old and has `left` to live.
    pub(super) fn encode(
        &self,
        value: &Bound<PyAny>,
        key: &StoreKey,
        age: u64,
        left: u64,
    ) -> PyResult<Vec<u8>> {
        let now = super::now();
        let head = Head {
            generation: 0,
            started: now.saturating_sub(age),
            deadline: deadline(now, left),
        };
        let encode = |bytes: &mut Vec<u8>| codec::encode(value, self.pickles(), bytes);
        self.seal
            .write(key.bytes(), head, encode)
            .map_err(|why| match why {
                Unwritten::Codec(error) => error,
                other => PyValueError::new_err(other.to_string()),
            })
    }
}

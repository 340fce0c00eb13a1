//! Codecs: how a value is written for a tier that leaves the process. Memory alone needs none.

pub mod extension;

use crate::Error;

/// Writes values as bytes, and reads them back.
///
/// Use it where the default is not enough: `#[quickcache(codec = MyCodec, ...)]`. Without it a value that serde can
/// serialize and deserialize is written as MessagePack, and any other stays in the memory tier.
///
/// ```
/// use quickcache::{Codec, Error};
///
/// struct Utf8;
///
/// impl Codec<String> for Utf8 {
///     fn encode(value: &String, bytes: &mut Vec<u8>) -> Result<(), Error> {
///         bytes.extend_from_slice(value.as_bytes());
///         Ok(())
///     }
///     fn decode(bytes: &[u8]) -> Result<String, Error> {
///         String::from_utf8(bytes.to_vec()).map_err(Error::codec)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec of `{V}`",
    note = "implement `quickcache::Codec<{V}>` for `{Self}`; `MessagePack` is one for types with serde's Serialize and DeserializeOwned"
)]
pub trait Codec<V> {
    /// A number that is stored with every value: a value of another codec is a miss. Below 128 are those of this library.
    const ID: u8 = 255;

    /// Appends the value.
    ///
    /// # Errors
    /// If the value has no such form. It is then not stored in the tier, and counted.
    fn encode(value: &V, bytes: &mut Vec<u8>) -> Result<(), Error>;

    /// Reads a value from all of the bytes.
    ///
    /// # Errors
    /// If the bytes are not a value: it is a miss.
    fn decode(bytes: &[u8]) -> Result<V, Error>;
}

/// The number of the typed codec: MessagePack, with extension types for what only Python has.
pub const TYPED: u8 = 1;
/// The number of Python's pickle.
pub const PICKLE: u8 = 2;

/// MessagePack with field names, by serde: small, and readable from Python.
///
/// It reads what Python wrote, too, where a type of Rust has a form for it: a `tuple` or `set` as a sequence, a dataclass as a
/// struct, a `UUID`, a `datetime`. `docs/entry.md` has the whole list.
#[cfg(feature = "messagepack")]
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

#[cfg(feature = "messagepack")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for MessagePack {
    const ID: u8 = TYPED;

    fn encode(value: &V, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let mut writer = rmp_serde::Serializer::new(bytes).with_struct_map();
        value.serialize(&mut writer).map_err(Error::codec)
    }

    fn decode(bytes: &[u8]) -> Result<V, Error> {
        match read(bytes) {
            Ok(value) => Ok(value),
            // Of Rust's own values none comes this way, so they do not pay for it.
            Err(error) => extension::plain(bytes).map_or(Err(error), |plain| read(&plain)),
        }
    }
}

#[cfg(feature = "messagepack")]
fn read<V: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<V, Error> {
    let mut rest = bytes;
    let value =
        V::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(Error::codec)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Error::codec("bytes are left over"))
    }
}

/// A codec that has forgotten its own type.
pub struct CodecOf<V> {
    pub(crate) id: u8,
    pub(crate) encode: fn(&V, &mut Vec<u8>) -> Result<(), Error>,
    pub(crate) decode: fn(&[u8]) -> Result<V, Error>,
}

impl<V> Clone for CodecOf<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for CodecOf<V> {}

impl<V> CodecOf<V> {
    pub(crate) fn new<C: Codec<V>>() -> Self {
        CodecOf {
            id: C::ID,
            encode: C::encode,
            decode: C::decode,
        }
    }
}

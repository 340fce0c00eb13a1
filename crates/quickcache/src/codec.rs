//! Codecs: how a value is written for a tier that leaves the process. Memory alone needs none.

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

/// MessagePack with field names, by serde: small, and readable from Python.
#[cfg(feature = "messagepack")]
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

#[cfg(feature = "messagepack")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for MessagePack {
    const ID: u8 = 1;

    fn encode(value: &V, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let mut writer = rmp_serde::Serializer::new(bytes).with_struct_map();
        value.serialize(&mut writer).map_err(Error::codec)
    }

    fn decode(bytes: &[u8]) -> Result<V, Error> {
        let mut rest = bytes;
        let value =
            V::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(Error::codec)?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err(Error::codec("bytes are left over"))
        }
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

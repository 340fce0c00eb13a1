//! Scheme `v1`: keyed BLAKE3 over an encoding in which no two values share their bytes.
//!
//! The bytes are fixed in `docs/keys.md`; they may not change. A [`Scheme`] holds the secret, a [`Function`] the
//! identity of a cached function under it, and a [`Digest`] is one key:
//!
//! ```
//! use quickcache::key::{v1, Value};
//! let scheme = v1::Scheme::new(b"");
//! let posts = scheme.function(v1::Identity { module: "blog", name: "get_all_posts", ..Default::default() });
//! let key = posts.key(&[Value::Int(7), Value::Str("en".into())]);
//! assert!(key.text().starts_with("qc1:"));
//! assert_eq!(key.text().len(), v1::TEXT_LEN);
//! ```
//!
//! The functions named after one type append straight to the message, for who walks objects of another language:
//! [`Function::key_of`].

use std::convert::Infallible;

use super::{BigInt, Date, DateTime, Time, Value};
use crate::scratch::Scratch;

/// Length of a key's text in bytes, all of them ASCII.
pub const TEXT_LEN: usize = 36;
/// What every key of this scheme begins with.
pub const TEXT_START: &str = "qc1:";

const CONTEXT: &str = "quickcache v1";
/// Bytes of the digest that are in the text: 160 bits, which base32 writes without padding.
const IN_TEXT: usize = 20;

/// The scheme under one secret.
#[derive(Clone)]
pub struct Scheme {
    key: [u8; 32],
}

impl Scheme {
    /// Under `secret`, or under none if it is empty: then who guesses the arguments can check the guess against a key.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self {
            key: blake3::derive_key(CONTEXT, secret),
        }
    }

    /// Prepares a function. Do it once per function: a key then costs one or two blocks of BLAKE3.
    #[must_use]
    pub fn function(&self, identity: Identity<'_>) -> Function {
        let Identity {
            module,
            name,
            version,
            source,
        } = identity;
        let mut message = vec![b'F'];
        for part in [
            module.as_bytes(),
            name.as_bytes(),
            version.as_bytes(),
            source,
        ] {
            put_run(&mut message, part);
        }
        Function {
            key: self.key,
            id: blake3::keyed_hash(&self.key, &message).into(),
        }
    }
}

impl std::fmt::Debug for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scheme") // The key is as good as the secret.
    }
}

/// What makes a function another function. Keys of functions that differ in any of it never meet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// Module or crate path; empty for a function that the user named.
    pub module: &'a str,
    /// Qualified name (`Class.method`), or the name that the user gave.
    pub name: &'a str,
    /// The user's version of the function; empty by default.
    pub version: &'a str,
    /// A hash of the source text; empty for a function that the user named.
    pub source: &'a [u8],
}

/// What stands for a function's source text in [`Identity::source`], where the text itself is at hand.
#[must_use]
pub fn source_hash(text: &str) -> [u8; 32] {
    blake3::hash(text.as_bytes()).into()
}

/// A function under a scheme.
#[derive(Clone)]
pub struct Function {
    key: [u8; 32],
    id: [u8; 32],
}

impl Function {
    /// The function's own hash: what a `clear_all` names.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The key of a call with these values.
    #[must_use]
    pub fn key(&self, values: &[Value<'_>]) -> Digest {
        let write_all = |message: &mut Vec<u8>| {
            values.iter().for_each(|value| write(message, value));
            Ok::<_, Infallible>(())
        };
        self.key_of(values.len(), write_all)
            .unwrap_or_else(|never| match never {})
    }

    /// The key of a call with `count` values, which `write` appends to the message.
    ///
    /// # Errors
    /// That of `write`.
    pub fn key_of<E>(
        &self,
        count: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Digest, E> {
        let mut message = Scratch::take();
        let message = &mut message.0;
        message.push(b'K');
        message.extend_from_slice(&self.id);
        put_len(message, count);
        write(message)?;
        Ok(Digest(blake3::keyed_hash(&self.key, message).into()))
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Function")
            .field(&blake3::Hash::from(self.id).to_hex())
            .finish()
    }
}

/// One key: its text for the tier, and the rest for the header of the value stored under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The key's text: [`TEXT_LEN`] bytes.
    #[must_use]
    pub fn text(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut text = [0; TEXT_LEN];
        let (start, digits) = text.split_at_mut(TEXT_START.len());
        start.copy_from_slice(TEXT_START.as_bytes());
        let fives = self.in_text().chunks_exact(5);
        for (eight, five) in digits.chunks_exact_mut(8).zip(fives) {
            let bits = five
                .iter()
                .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for (digit, at) in eight.iter_mut().zip((0..8).rev()) {
                *digit = ALPHABET[(bits >> (5 * at)) as usize & 31];
            }
        }
        String::from_utf8(text.into()).expect("ASCII")
    }

    /// The 160 bits that the text has.
    #[must_use]
    pub fn in_text(&self) -> &[u8; IN_TEXT] {
        self.0.first_chunk().expect("32 bytes are more than 20")
    }

    /// What a text says, if it is one that [`text`](Self::text) could have given.
    #[must_use]
    pub fn parse_text(text: &str) -> Option<[u8; IN_TEXT]> {
        let digits = text.strip_prefix(TEXT_START)?.as_bytes();
        if digits.len() != TEXT_LEN - TEXT_START.len() {
            return None;
        }
        let mut bytes = [0; IN_TEXT];
        for (five, eight) in bytes.chunks_exact_mut(5).zip(digits.chunks_exact(8)) {
            let mut bits = 0_u64;
            for digit in eight {
                let value = match digit {
                    b'a'..=b'z' => digit - b'a',
                    b'2'..=b'7' => digit - b'2' + 26,
                    _ => return None,
                };
                bits = bits << 5 | u64::from(value);
            }
            five.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Some(bytes)
    }

    /// The 96 bits that are not in the text. A stored value carries the first 64 of them, and is a miss where they differ; its tag
    /// is over all of the key.
    #[must_use]
    pub fn rest(&self) -> [u8; 12] {
        let mut rest = [0; 12];
        rest.copy_from_slice(&self.0[IN_TEXT..]);
        rest
    }

    /// All 256 bits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Appends the encoding of one value.
pub fn write(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::None => write_none(out),
        Value::Bool(value) => write_bool(out, *value),
        Value::Int(value) => write_int(out, *value),
        Value::BigInt(value) => write_big_int(out, value),
        Value::Float(value) => write_float(out, *value),
        Value::Str(value) => write_str(out, value),
        Value::Bytes(value) => write_bytes(out, value),
        Value::List(items) => {
            open_list(out, items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Tuple(items) => {
            open_tuple(out, items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Dict(items) => {
            let entry = |out: &mut Vec<u8>, (key, value): &(Value<'_>, Value<'_>)| {
                write(out, key);
                write(out, value);
            };
            write_dict(out, &mut each(items, entry));
        }
        Value::Set(items) => write_set(out, &mut each(items, write)),
        Value::FrozenSet(items) => write_frozenset(out, &mut each(items, write)),
        Value::Uuid(value) => write_uuid(out, value),
        Value::DateTime(value) => write_datetime(out, *value),
        Value::Date(value) => write_date(out, *value),
        Value::Time(value) => write_time(out, *value),
        Value::TimeDelta(nanos) => write_timedelta(out, *nanos),
        Value::Decimal(value) => write_decimal(out, value),
        Value::Named {
            type_name,
            variant,
            values,
        } => {
            open_named(out, type_name, variant, values.len());
            values.iter().for_each(|item| write(out, item));
        }
    }
}

/// Appends `None`.
pub fn write_none(out: &mut Vec<u8>) {
    out.push(b'N');
}

/// Appends a truth value.
pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { b'T' } else { b'F' });
}

/// Appends an integer.
pub fn write_int(out: &mut Vec<u8>, value: i64) {
    out.push(b'i');
    put_run(out, itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an integer of any size; the same bytes as [`write_int`] for the same number.
pub fn write_big_int(out: &mut Vec<u8>, value: &BigInt<'_>) {
    out.push(b'i');
    put_run(out, value.as_str().as_bytes());
}

/// Appends a float; all NaNs are one.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    const NAN: u64 = 0x7ff8_0000_0000_0000;
    out.push(b'f');
    out.extend_from_slice(&if value.is_nan() { NAN } else { value.to_bits() }.to_be_bytes());
}

/// Appends text.
pub fn write_str(out: &mut Vec<u8>, value: &str) {
    out.push(b's');
    put_run(out, value.as_bytes());
}

/// Appends bytes.
pub fn write_bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'b');
    put_run(out, value);
}

/// Appends a UUID, most significant byte first.
pub fn write_uuid(out: &mut Vec<u8>, value: &[u8; 16]) {
    out.push(b'u');
    out.extend_from_slice(value);
}

/// Appends a datetime.
pub fn write_datetime(out: &mut Vec<u8>, value: DateTime) {
    out.push(if value.is_aware() { b'a' } else { b'w' });
    out.extend_from_slice(&value.nanos().to_be_bytes());
}

/// Appends a date.
pub fn write_date(out: &mut Vec<u8>, value: Date) {
    out.push(b'D');
    out.extend_from_slice(&value.days().to_be_bytes());
}

/// Appends a time of day.
pub fn write_time(out: &mut Vec<u8>, value: Time) {
    out.push(if value.offset().is_some() { b'o' } else { b'c' });
    out.extend_from_slice(&value.nanos().to_be_bytes());
    if let Some(micros) = value.offset() {
        out.extend_from_slice(&micros.to_be_bytes());
    }
}

/// Appends a length of time in nanoseconds.
pub fn write_timedelta(out: &mut Vec<u8>, nanos: i128) {
    out.push(b'p');
    out.extend_from_slice(&nanos.to_be_bytes());
}

/// Appends a decimal number, given as Python's `str` prints it.
pub fn write_decimal(out: &mut Vec<u8>, text: &str) {
    out.push(b'm');
    put_run(out, text.as_bytes());
}

/// Opens a list of `count` items, which the caller appends.
pub fn open_list(out: &mut Vec<u8>, count: usize) {
    out.push(b'l');
    put_len(out, count);
}

/// Opens a tuple of `count` items, which the caller appends.
pub fn open_tuple(out: &mut Vec<u8>, count: usize) {
    out.push(b't');
    put_len(out, count);
}

/// Opens a struct (`variant` empty) or enum member of `count` fields, which the caller appends.
pub fn open_named(out: &mut Vec<u8>, type_name: &str, variant: &str, count: usize) {
    out.push(b'n');
    put_run(out, type_name.as_bytes());
    put_run(out, variant.as_bytes());
    put_len(out, count);
}

/// Appends a dict, given the encodings of its entries, each a key and its value, in any order.
pub fn write_dict(out: &mut Vec<u8>, entries: &mut [Vec<u8>]) {
    put_sorted(out, b'd', entries);
}

/// Appends a set, given the encodings of its elements in any order.
pub fn write_set(out: &mut Vec<u8>, elements: &mut [Vec<u8>]) {
    put_sorted(out, b'e', elements);
}

/// Appends a frozenset, given the encodings of its elements in any order.
pub fn write_frozenset(out: &mut Vec<u8>, elements: &mut [Vec<u8>]) {
    put_sorted(out, b'z', elements);
}

fn each<T>(items: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Vec<Vec<u8>> {
    let encode = |item| {
        let mut encoded = Vec::new();
        write(&mut encoded, item);
        encoded
    };
    items.iter().map(encode).collect()
}

fn put_sorted(out: &mut Vec<u8>, tag: u8, items: &mut [Vec<u8>]) {
    items.sort_unstable();
    out.push(tag);
    put_len(out, items.len());
    items.iter().for_each(|item| out.extend_from_slice(item));
}

/// `bytes(x)` of `docs/keys.md`.
fn put_run(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// `len(n)` of `docs/keys.md`: unsigned LEB128.
fn put_len(out: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

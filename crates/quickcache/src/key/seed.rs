//! Scheme `seed`: the key text of the Python library `quickcache` 0.5.4, byte for byte.
//!
//! A key is `quickcache.{prefix}/{args}`. `args` is the text of each value, joined by commas; one longer than 150
//! characters becomes `H` and its md5. Under this scheme text and its UTF-8 bytes are equal, and so are a list and a
//! tuple; `1`, `1.0` and `True` differ; aware datetimes are equal if they are the same instant. Its md5 texts can be
//! made to collide on purpose and its prefix omits the module: use [`v1`](super::v1) unless keys must be shared with
//! that library.
//!
//! [`write()`] and [`key`] serve who has [`Value`]s. The functions named after one type write straight into the text,
//! for who walks objects of another language:
//!
//! ```
//! use quickcache::key::seed;
//! let mut args = String::new();
//! seed::write_int(&mut args, 7);
//! args.push(',');
//! let list = args.len();                       // the list [1.5, 'a']
//! seed::write_float(&mut args, 1.5);
//! args.push(',');
//! seed::write_str(&mut args, "a");
//! seed::close_list_at(&mut args, list, 'L');
//! assert_eq!(seed::finish("f.01234567", &args), "quickcache.f.01234567/n7,Ld9c5e304d800795f125b56bec4bb3be5");
//! ```

use std::fmt;

use md5::{Digest, Md5};

use super::float::write_repr;
use super::{BigInt, DateTime, Value};

/// `args` longer than this many characters are replaced by their md5.
const LONGEST_ARGS: usize = 150;
/// A function's name is cut to this many characters.
const LONGEST_NAME: usize = 40;

/// Why a value has no text under this scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// A kind of value that the replaced library refuses; the name is that of [`Value::kind`].
    Type(&'static str),
    /// A datetime whose year is not one of 1 to 9999.
    Year,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(kind) => write!(
                f,
                "a key value of type {kind} has no text under key scheme `seed`: use scheme `v1`, or vary on a field of it"
            ),
            Self::Year => f.write_str(
                "a datetime outside the years 1 to 9999 has no text under key scheme `seed`",
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// The first part of a key: the function's name, cut to 40 characters, and eight hex digits of the md5 of its source
/// text (in Python `inspect.getsource`: decorators, indentation and last newline included).
#[must_use]
pub fn prefix(name: &str, source: &str) -> String {
    let cut = name.char_indices().nth(LONGEST_NAME).map(|(at, _)| at);
    let mut prefix = String::with_capacity(cut.unwrap_or(name.len()) + 11);
    prefix.push_str(&name[..cut.unwrap_or(name.len())]);
    if cut.is_some() {
        prefix.push_str("..");
    }
    prefix.push('.');
    push_hex(&mut prefix, &md5(source.as_bytes())[12..]);
    prefix
}

/// The whole key for `args`, which are the texts of the values joined by commas.
#[must_use]
pub fn finish(prefix: &str, args: &str) -> String {
    let mut key = begin(prefix, args.len());
    let start = key.len();
    key.push_str(args);
    close_args_at(&mut key, start);
    key
}

/// What a key begins with, and room for `args` bytes behind it: the texts of the values, joined by commas, which
/// [`close_args_at`] makes a key of.
#[must_use]
pub fn begin(prefix: &str, args: usize) -> String {
    let mut key = String::with_capacity("quickcache.".len() + prefix.len() + 1 + args);
    key.push_str("quickcache.");
    key.push_str(prefix);
    key.push('/');
    key
}

/// Makes a key of what stands from `start` on behind its beginning.
pub fn close_args_at(key: &mut String, start: usize) {
    let args = &key[start..];
    // Bytes bound characters from above: most texts need no count.
    if args.len() > LONGEST_ARGS && args.chars().count() > LONGEST_ARGS {
        close_list_at(key, start, 'H');
    }
}

/// The key of a call with these values.
///
/// # Errors
/// A value that the scheme refuses, see [`Refused`].
pub fn key(prefix: &str, values: &[Value<'_>]) -> Result<String, Refused> {
    let mut key = begin(prefix, 40 * values.len());
    let start = key.len();
    write_joined(&mut key, values)?;
    close_args_at(&mut key, start);
    Ok(key)
}

/// Appends the text of one value.
///
/// # Errors
/// A value that the scheme refuses; `out` then ends in a part of the text.
pub fn write(out: &mut String, value: &Value<'_>) -> Result<(), Refused> {
    match value {
        Value::None => write_none(out),
        Value::Bool(value) => write_bool(out, *value),
        Value::Int(value) => write_int(out, *value),
        Value::BigInt(value) => write_big_int(out, value),
        Value::Float(value) => write_float(out, *value),
        Value::Str(value) => write_str(out, value),
        Value::Bytes(value) => write_bytes(out, value),
        Value::List(items) | Value::Tuple(items) => {
            let start = out.len();
            write_joined(out, items)?;
            close_list_at(out, start, 'L');
        }
        Value::Dict(items) => {
            let texts = items.iter().map(|(key, value)| {
                let mut text = String::new();
                write(&mut text, key)?;
                text.push(',');
                write(&mut text, value)?;
                close_list_at(&mut text, 0, 'L');
                Ok(text)
            });
            close_sorted(out, &mut texts.collect::<Result<Vec<_>, _>>()?, 'D');
        }
        Value::Set(items) => {
            let texts = items.iter().map(|item| {
                let mut text = String::new();
                write(&mut text, item).map(|()| text)
            });
            close_sorted(out, &mut texts.collect::<Result<Vec<_>, _>>()?, 'S');
        }
        Value::Uuid(value) => write_uuid(out, value),
        Value::DateTime(value) => write_datetime(out, *value)?,
        Value::FrozenSet(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeDelta(_)
        | Value::Decimal(_)
        | Value::Named { .. } => return Err(Refused::Type(value.kind())),
    }
    Ok(())
}

fn write_joined(out: &mut String, values: &[Value<'_>]) -> Result<(), Refused> {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, value)?;
    }
    Ok(())
}

/// Appends the text of `None`.
pub fn write_none(out: &mut String) {
    out.push('N');
}

/// Appends the text of a truth value.
pub fn write_bool(out: &mut String, value: bool) {
    out.push_str(if value { "b1" } else { "b0" });
}

/// Appends the text of an integer.
pub fn write_int(out: &mut String, value: i64) {
    out.push('n');
    out.push_str(itoa::Buffer::new().format(value));
}

/// Appends the text of an integer of any size.
pub fn write_big_int(out: &mut String, value: &BigInt<'_>) {
    out.push('n');
    out.push_str(value.as_str());
}

/// Appends the text of a float, as Python prints it.
pub fn write_float(out: &mut String, value: f64) {
    out.push('n');
    write_repr(out, value);
}

/// Appends the text of a text.
pub fn write_str(out: &mut String, value: &str) {
    write_bytes(out, value.as_bytes());
}

/// Appends the text of bytes, which is that of the text they are in UTF-8. Bytes that are not UTF-8 have one too; the
/// replaced library reports them to its `assert_function`, which is the caller's to do.
pub fn write_bytes(out: &mut String, value: &[u8]) {
    out.push('u');
    push_hex(out, &md5(value));
}

/// Appends the text of a UUID, most significant byte first.
pub fn write_uuid(out: &mut String, value: &[u8; 16]) {
    out.push('U');
    for (at, group) in [
        &value[..4],
        &value[4..6],
        &value[6..8],
        &value[8..10],
        &value[10..],
    ]
    .into_iter()
    .enumerate()
    {
        if at > 0 {
            out.push('-');
        }
        push_hex(out, group);
    }
}

/// Appends the text of a datetime.
///
/// # Errors
/// [`Refused::Year`].
pub fn write_datetime(out: &mut String, value: DateTime) -> Result<(), Refused> {
    out.push_str("DT");
    if value.write_iso(out) {
        Ok(())
    } else {
        Err(Refused::Year)
    }
}

/// Appends the text of a list (`L`), dict (`D`) or set (`S`), given the texts of its items already in order and
/// joined by commas. A dict's items are lists of two; those of a dict and a set are sorted.
pub fn close_list(out: &mut String, joined: &str, letter: char) {
    out.push(letter);
    push_hex(out, &md5(joined.as_bytes()));
}

/// The same where the joined items stand at the end of `out`, from byte `start` on: the list's text takes their place.
///
/// # Panics
/// If `start` is not a character boundary of `out`.
pub fn close_list_at(out: &mut String, start: usize, letter: char) {
    let digest = md5(&out.as_bytes()[start..]);
    out.truncate(start);
    out.push(letter);
    push_hex(out, &digest);
}

/// Appends the text of a dict (`D`) or set (`S`), given the texts of its items in any order, which it sorts.
pub fn close_sorted(out: &mut String, items: &mut [String], letter: char) {
    // Python sorts by code point, Rust by UTF-8 byte: the same order.
    items.sort_unstable();
    let start = out.len();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(item);
    }
    close_list_at(out, start, letter);
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

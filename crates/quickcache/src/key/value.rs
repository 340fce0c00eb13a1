//! A key value that has forgotten its type: what the text schemes read, and what Python and Rust have in common.

use std::borrow::Cow;

use super::{Date, DateTime, Time};

/// A key value, borrowed where it can be.
///
/// Use it to make the text of a key out of values whose types are not known at compile time; Rust functions have
/// [`KeyPart`](super::KeyPart) instead, which asks for a `Value` only when a tier outside the process is asked.
///
/// It has no `==`: under scheme [`seed`](super::seed) a list equals a tuple and text equals its UTF-8 bytes, under
/// [`v1`](super::v1) neither does. Two values are equal under a scheme if it writes the same bytes for both.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Python's `None`, Rust's `Option::None`.
    None,
    /// A truth value; never equal to the integer 0 or 1.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// An integer of any size; equal to the `Int` of the same number.
    BigInt(BigInt<'a>),
    /// A float. All NaNs are one value, `0.0` and `-0.0` are two.
    Float(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A list, slice, array or `Vec`.
    List(Vec<Value<'a>>),
    /// A tuple.
    Tuple(Vec<Value<'a>>),
    /// A mapping, in any order; the caller sees to it that its keys are distinct.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// A set, in any order; the caller sees to it that its elements are distinct.
    Set(Vec<Value<'a>>),
    /// Python's `frozenset`. Scheme `seed` refuses it, as it does all that follow but `Uuid` and `DateTime`.
    FrozenSet(Vec<Value<'a>>),
    /// A UUID, most significant byte first.
    Uuid([u8; 16]),
    /// A day and time of day without time zone, or an instant.
    DateTime(DateTime),
    /// A day.
    Date(Date),
    /// A time of day.
    Time(Time),
    /// A length of time in nanoseconds.
    TimeDelta(i128),
    /// A decimal number, as `str(Decimal)` prints it: `1.0` and `1.00` differ, as `1` and `1.0` do.
    Decimal(Cow<'a, str>),
    /// A member of an enum, or the fields of a struct or dataclass in their order.
    Named {
        /// Name of the type.
        type_name: Cow<'a, str>,
        /// Name of the enum's member; empty for a struct.
        variant: Cow<'a, str>,
        /// The fields.
        values: Vec<Value<'a>>,
    },
}

impl Value<'_> {
    /// What a message calls this kind of value. It never shows the value itself: key values may be secrets.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Uuid(_) => "uuid",
            Self::DateTime(_) => "datetime",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::TimeDelta(_) => "timedelta",
            Self::Decimal(_) => "decimal",
            Self::Named { .. } => "enum or struct",
        }
    }
}

impl From<i128> for Value<'static> {
    fn from(number: i128) -> Self {
        i64::try_from(number).map_or_else(
            |_| Self::BigInt(BigInt(number.to_string().into())),
            Self::Int,
        )
    }
}

impl From<u128> for Value<'static> {
    fn from(number: u128) -> Self {
        i64::try_from(number).map_or_else(
            |_| Self::BigInt(BigInt(number.to_string().into())),
            Self::Int,
        )
    }
}

/// An integer of any size as decimal text, in its one canonical form: no sign but `-`, no leading zero, no `-0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigInt<'a>(Cow<'a, str>);

impl<'a> BigInt<'a> {
    /// Takes decimal text in canonical form, such as `str(int)` prints; `None` if it is in any other.
    ///
    /// ```
    /// use quickcache::key::BigInt;
    /// assert!(BigInt::new("-9223372036854775809").is_some());
    /// assert!(BigInt::new("007").is_none());
    /// ```
    #[must_use]
    pub fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let canonical = match digits.as_bytes() {
            [b'0'] => text.len() == 1,
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        canonical.then_some(Self(text))
    }

    /// The digits, with their sign.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

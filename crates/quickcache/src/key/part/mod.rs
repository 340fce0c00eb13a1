//! Key values with their types: hashed and compared in place, so that a hit allocates nothing.
//!
//! Here: the two traits, and the parts that hold one value. Parts of parts are in `many.rs`, tuples in `tuple.rs`,
//! days and times in `time.rs`.

mod many;
mod text;
mod time;
mod tuple;

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

pub use many::Unordered;
pub use text::KeptText;
pub use tuple::Key;

use super::Value;

/// The type of a key value: what a Rust function can vary on.
///
/// Numbers, `bool`, `char`, text, bytes, `Option`, slices, arrays, `Vec`, sets, maps and tuples of parts, pointers to
/// parts, `Duration` and `SystemTime` are parts, and with the features `uuid`, `chrono`, `jiff` and `time` the types
/// of those crates. `#[derive(KeyPart)]` makes one of your own struct or enum; `docs/keys.md` says what it writes.
///
/// A call hashes its parts where they are and compares them with the owned key of an entry; only a miss makes an owned
/// key, and only a tier outside the process asks for [`value`](Self::value).
///
/// An implementation keeps these together, for all `a` and `b` of the type:
/// `a.eq_owned(&b.to_owned_part())` if and only if `a.to_owned_part() == b.to_owned_part()`, and if and only if `a.value()` and `b.value()` have the same text (under both
/// schemes, where `seed` has one), and then `hash_part` hashes both alike. A float thus equals itself even if it is NaN,
/// and `0.0` is not `-0.0`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no key form",
    label = "`{Self}` cannot be a key value",
    note = "write `#[derive(KeyPart)]` on `{Self}`, or vary on a field of it that is a number, text or another key value"
)]
pub trait KeyPart {
    /// The part as an entry of the memory tier keeps it; equal to another under the same rule as parts.
    type Owned: Eq + Send + Sync + 'static;

    /// Feeds the part to a hasher, so that parts that follow each other cannot be confused.
    fn hash_part<H: Hasher>(&self, state: &mut H);

    /// Whether this part equals a kept one.
    fn eq_owned(&self, owned: &Self::Owned) -> bool;

    /// The part, to be kept.
    fn to_owned_part(&self) -> Self::Owned;

    /// The part without its type, for text keys.
    fn value(&self) -> Value<'_>;

    /// Bytes that a kept part holds on the heap, beside its own size: the memory tier is bound by bytes.
    fn owned_heap(owned: &Self::Owned) -> usize {
        let _ = owned;
        0
    }

    // How a run of parts does the same. Only `u8` has its own way: a run of it is bytes, not a list.

    #[doc(hidden)]
    fn hash_run<H: Hasher>(run: &[Self], state: &mut H)
    where
        Self: Sized,
    {
        state.write_usize(run.len());
        run.iter().for_each(|part| part.hash_part(state));
    }

    #[doc(hidden)]
    fn eq_run(run: &[Self], owned: &[Self::Owned]) -> bool
    where
        Self: Sized,
    {
        run.len() == owned.len()
            && run
                .iter()
                .zip(owned)
                .all(|(part, owned)| part.eq_owned(owned))
    }

    #[doc(hidden)]
    fn run_value(run: &[Self]) -> Value<'_>
    where
        Self: Sized,
    {
        Value::List(run.iter().map(Self::value).collect())
    }
}

/// Parts that are their own kept form, with the equality of Rust.
macro_rules! plain {
    ($($type:ty: |$part:ident| $value:expr;)*) => {$(
        impl KeyPart for $type {
            type Owned = Self;
            #[inline]
            fn hash_part<H: Hasher>(&self, state: &mut H) {
                self.hash(state);
            }
            #[inline]
            fn eq_owned(&self, owned: &Self) -> bool {
                self == owned
            }
            #[inline]
            fn to_owned_part(&self) -> Self {
                *self
            }
            #[inline]
            fn value(&self) -> Value<'_> {
                let $part = *self;
                $value
            }
        }
    )*};
}

plain! {
    bool: |part| Value::Bool(part);
    char: |part| Value::Str(part.to_string().into());
    i8: |part| Value::Int(part.into());
    i16: |part| Value::Int(part.into());
    i32: |part| Value::Int(part.into());
    i64: |part| Value::Int(part);
    i128: |part| Value::from(part);
    isize: |part| Value::from(part as i128);
    u16: |part| Value::Int(part.into());
    u32: |part| Value::Int(part.into());
    u64: |part| Value::from(u128::from(part));
    u128: |part| Value::from(part);
    usize: |part| Value::from(part as u128);
}

#[cfg(feature = "uuid")]
plain! {
    uuid::Uuid: |part| Value::Uuid(part.into_bytes());
}

impl KeyPart for u8 {
    type Owned = Self;
    #[inline]
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        state.write_u8(*self);
    }
    #[inline]
    fn eq_owned(&self, owned: &Self) -> bool {
        self == owned
    }
    #[inline]
    fn to_owned_part(&self) -> Self {
        *self
    }
    fn value(&self) -> Value<'_> {
        Value::Int((*self).into())
    }
    #[inline]
    fn hash_run<H: Hasher>(run: &[Self], state: &mut H) {
        run.hash(state);
    }
    #[inline]
    fn eq_run(run: &[Self], owned: &[Self]) -> bool {
        run == owned
    }
    fn run_value(run: &[Self]) -> Value<'_> {
        Value::Bytes(run.into())
    }
}

macro_rules! floats {
    ($($type:ident, $bits:ident, $write:ident;)*) => {$(
        impl KeyPart for $type {
            /// The bits; those of one NaN for all of them.
            type Owned = $bits;
            #[inline]
            fn hash_part<H: Hasher>(&self, state: &mut H) {
                state.$write(self.to_owned_part());
            }
            #[inline]
            fn eq_owned(&self, owned: &$bits) -> bool {
                self.to_owned_part() == *owned
            }
            #[inline]
            fn to_owned_part(&self) -> $bits {
                if self.is_nan() { $type::NAN.to_bits() } else { self.to_bits() }
            }
            fn value(&self) -> Value<'_> {
                Value::Float((*self).into())
            }
        }
    )*};
}
floats! {
    f32, u32, write_u32;
    f64, u64, write_u64;
}

impl KeyPart for str {
    type Owned = KeptText;
    #[inline]
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        self.hash(state);
    }
    #[inline]
    fn eq_owned(&self, owned: &KeptText) -> bool {
        owned.is(self.as_bytes())
    }
    #[inline]
    fn to_owned_part(&self) -> KeptText {
        KeptText::new(self)
    }
    fn value(&self) -> Value<'_> {
        Value::Str(self.into())
    }
    fn owned_heap(owned: &KeptText) -> usize {
        owned.heap()
    }
}

/// Parts that are a pointer to the part that counts. One body for all: what it points to may be text or a slice.
macro_rules! through {
    ($({$($generics:tt)*} $type:ty => $target:ty;)*) => {$(
        impl<$($generics)*> KeyPart for $type {
            type Owned = <$target as KeyPart>::Owned;
            #[inline]
            fn hash_part<H: Hasher>(&self, state: &mut H) {
                <$target as KeyPart>::hash_part(self, state);
            }
            #[inline]
            fn eq_owned(&self, owned: &<$target as KeyPart>::Owned) -> bool {
                <$target as KeyPart>::eq_owned(self, owned)
            }
            #[inline]
            fn to_owned_part(&self) -> <$target as KeyPart>::Owned {
                <$target as KeyPart>::to_owned_part(self)
            }
            #[inline]
            fn value(&self) -> Value<'_> {
                <$target as KeyPart>::value(self)
            }
            #[inline]
            fn owned_heap(owned: &<$target as KeyPart>::Owned) -> usize {
                <$target as KeyPart>::owned_heap(owned)
            }
        }
    )*};
}
use through;

through! {
    {} String => str;
    {T: KeyPart + ?Sized} &T => T;
    {T: KeyPart + ?Sized} &mut T => T;
    {T: KeyPart + ?Sized} Box<T> => T;
    {T: KeyPart + ?Sized} Rc<T> => T;
    {T: KeyPart + ?Sized} Arc<T> => T;
    {T: KeyPart + ToOwned + ?Sized} Cow<'_, T> => T;
}

impl<T: KeyPart> KeyPart for Option<T> {
    type Owned = Option<T::Owned>;
    #[inline]
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.is_some().into());
        if let Some(part) = self {
            part.hash_part(state);
        }
    }
    #[inline]
    fn eq_owned(&self, owned: &Self::Owned) -> bool {
        match (self, owned) {
            (Some(part), Some(owned)) => part.eq_owned(owned),
            (None, None) => true,
            _ => false,
        }
    }
    #[inline]
    fn to_owned_part(&self) -> Self::Owned {
        self.as_ref().map(T::to_owned_part)
    }
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::None, |part| {
            let value = part.value();
            // Some(None) must not be None: what could be read as one Option less is wrapped once more.
            if is_wrapped_none(&value) {
                Value::Tuple(vec![value])
            } else {
                value
            }
        })
    }
    fn owned_heap(owned: &Self::Owned) -> usize {
        owned.as_ref().map_or(0, T::owned_heap)
    }
}

fn is_wrapped_none(value: &Value<'_>) -> bool {
    match value {
        Value::None => true,
        Value::Tuple(items) => items.len() == 1 && is_wrapped_none(&items[0]),
        _ => false,
    }
}

//! What a cached function's result is, found out from its type while compiling: is it a `Result`, can it be encoded, what
//! does it weigh? A method of the type itself is found before a method of a trait, and one that needs a reference less
//! before one that needs more: so each question has its best answer and a fallback.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::codec::{Codec, CodecOf};
use crate::weigh::Weigh;

/// What can be cached.
pub trait CacheValue: Clone + Portable {}

impl<V: Clone + Portable> CacheValue for V {}

/// What may go to any thread at any time.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot be cached: it cannot go to any thread at any time",
    label = "not `Send`, not `Sync`, or not `'static`",
    note = "a cached value is handed out many times, to any thread: it must be `Send`, `Sync` and free of borrows"
)]
pub trait Portable: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Send + Sync + 'static> Portable for V {}

/// An error that followers of a flight may have a copy of.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// How the result of a function is taken apart and put together.
pub trait Outcome: Copy + Send + Sync + 'static {
    /// What the function returns.
    type Returned;
    /// What is stored of it.
    type Value: CacheValue;

    /// The value to store, or a result that is not stored.
    fn split(&self, returned: Self::Returned) -> Result<Self::Value, Self::Returned>;
    /// What the function would have returned.
    fn join(&self, value: Self::Value) -> Self::Returned;
    /// A copy, for followers, of a result that is not stored; `None` if it cannot be copied.
    fn share(&self, returned: &Self::Returned) -> Option<Shared>;
    /// The copy as a result.
    fn unshare(&self, shared: &Shared) -> Option<Self::Returned>;
    /// How values are cloned, encoded and weighed.
    fn hooks(&self) -> ValueHooks<Self::Value>;
}

/// What is known of a value's type.
pub struct ValueHooks<V> {
    pub copy: bool,
    pub codec: Option<CodecOf<V>>,
    pub weigh: fn(&V) -> usize,
}

/// What was found out about a value and an error.
pub struct Hooks<V, E> {
    pub copy: bool,
    pub codec: Option<CodecOf<V>>,
    pub weigh: fn(&V) -> usize,
    pub share: Option<Sharing<E>>,
}

/// How an error is shared.
pub struct Sharing<E> {
    make: fn(&E) -> Shared,
    take: fn(&Shared) -> Option<E>,
}

impl<E> Clone for Sharing<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Sharing<E> {}

impl<V, E> Clone for Hooks<V, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, E> Copy for Hooks<V, E> {}

impl<V, E> Hooks<V, E> {
    fn of_value(&self) -> ValueHooks<V> {
        ValueHooks {
            copy: self.copy,
            codec: self.codec,
            weigh: self.weigh,
        }
    }
}

/// A result that is stored whole.
pub struct Whole<R>(Hooks<R, NoError>);

impl<V> Whole<V> {
    /// The value alone, whatever it was a part of.
    pub(crate) fn of(hooks: ValueHooks<V>) -> Self {
        let ValueHooks { copy, codec, weigh } = hooks;
        Whole(Hooks {
            copy,
            codec,
            weigh,
            share: None,
        })
    }
}

/// A `Result` of which `Ok` is stored.
pub struct OkOnly<T, E>(Hooks<T, E>);

impl<R> Clone for Whole<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Whole<R> {}

impl<T, E> Clone for OkOnly<T, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, E> Copy for OkOnly<T, E> {}

impl<R: CacheValue> Outcome for Whole<R> {
    type Returned = R;
    type Value = R;

    #[inline]
    fn split(&self, returned: R) -> Result<R, R> {
        Ok(returned)
    }
    #[inline]
    fn join(&self, value: R) -> R {
        value
    }
    fn share(&self, _: &R) -> Option<Shared> {
        None
    }
    fn unshare(&self, _: &Shared) -> Option<R> {
        None
    }
    #[inline]
    fn hooks(&self) -> ValueHooks<R> {
        self.0.of_value()
    }
}

impl<T: CacheValue, E: 'static> Outcome for OkOnly<T, E> {
    type Returned = Result<T, E>;
    type Value = T;

    #[inline]
    fn split(&self, returned: Result<T, E>) -> Result<T, Result<T, E>> {
        returned.map_err(Err)
    }
    #[inline]
    fn join(&self, value: T) -> Result<T, E> {
        Ok(value)
    }
    fn share(&self, returned: &Result<T, E>) -> Option<Shared> {
        Some((self.0.share?.make)(returned.as_ref().err()?))
    }
    fn unshare(&self, shared: &Shared) -> Option<Result<T, E>> {
        (self.0.share?.take)(shared).map(Err)
    }
    #[inline]
    fn hooks(&self) -> ValueHooks<T> {
        self.0.of_value()
    }
}

/// Of a function that fails: it returns an `Err`, which is not stored.
#[diagnostic::on_unimplemented(
    message = "stale_timeout is for a function that returns a `Result` and does not keep its errors",
    label = "there is no `Err` in place of which a stale value could be served",
    note = "leave `stale_timeout` out; or return a `Result`, without `errors = keep`"
)]
pub trait MayFail {}

impl<T, E> MayFail for OkOnly<T, E> {}

/// For the attribute: a mistake if it does not.
#[inline(always)]
pub fn may_fail<O: MayFail>(kind: O) -> O {
    kind
}

/// The error of a result that has none.
#[derive(Clone, Copy)]
pub struct NoError;

/// Asks about a returned type `R`; made by [`Probe::value`], about the type that is stored.
pub struct Probe<R>(PhantomData<fn() -> R>);

/// As [`Probe`], for `errors = keep`: a `Result` is a value like any other.
pub struct Kept<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    #[inline(always)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Probe(PhantomData)
    }

    pub fn codec_of<C: Codec<R>>(&self) -> Option<CodecOf<R>> {
        Some(CodecOf::new::<C>())
    }

    pub fn weigh_by(&self, weigh: fn(&R) -> usize) -> fn(&R) -> usize {
        weigh
    }
}

impl<R> Kept<R> {
    #[inline(always)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Kept(PhantomData)
    }
    #[inline(always)]
    pub fn value(&self) -> Probe<R> {
        Probe::new()
    }
    #[inline(always)]
    pub fn error(&self) -> Probe<NoError> {
        Probe::new()
    }
    #[inline(always)]
    pub fn kind(&self, hooks: Hooks<R, NoError>) -> Whole<R> {
        Whole(hooks)
    }
}

impl<T, E> Probe<Result<T, E>> {
    #[inline(always)]
    pub fn value(&self) -> Probe<T> {
        Probe::new()
    }
    #[inline(always)]
    pub fn error(&self) -> Probe<E> {
        Probe::new()
    }
    #[inline(always)]
    pub fn kind(&self, hooks: Hooks<T, E>) -> OkOnly<T, E> {
        OkOnly(hooks)
    }
}

/// The traits for the attribute, without their names: those in its code are the user's.
pub mod asked {
    pub use super::{
        AnyReturned as _, Copied as _, Counted as _, NotCopied as _, NotEncoded as _,
        NotShareable as _, NotWeighed as _, Shareable as _, Weighed as _, WeighedByLength as _,
    };

    #[cfg(feature = "messagepack")]
    pub use super::Encoded as _;
}

/// Any type but a `Result`.
pub trait AnyReturned<R> {
    fn value(&self) -> Probe<R>;
    fn error(&self) -> Probe<NoError>;
    fn kind(&self, hooks: Hooks<R, NoError>) -> Whole<R>;
}

impl<R> AnyReturned<R> for Probe<R> {
    #[inline(always)]
    fn value(&self) -> Probe<R> {
        Probe::new()
    }
    #[inline(always)]
    fn error(&self) -> Probe<NoError> {
        Probe::new()
    }
    #[inline(always)]
    fn kind(&self, hooks: Hooks<R, NoError>) -> Whole<R> {
        Whole(hooks)
    }
}

// Of three answers to `(&&value)`: the method of `&Probe` needs no reference more, that of `&&Probe` one, and that of `Probe` is found
// when neither was. Of two to `(&value)`: `Probe`, then `&Probe`.

pub trait Copied {
    /// May be cloned under a lock: short, and no code of a user runs.
    #[inline(always)]
    fn copy(&self) -> bool {
        true
    }
}
impl<V: Copy> Copied for &Probe<V> {}

/// So is a pointer with a count: its `clone` is ours to call under a lock.
pub trait Counted {
    #[inline(always)]
    fn copy(&self) -> bool {
        true
    }
}
impl<T: ?Sized> Counted for &&Probe<Arc<T>> {}

pub trait NotCopied {
    #[inline(always)]
    fn copy(&self) -> bool {
        false
    }
}
impl<V> NotCopied for Probe<V> {}

#[cfg(feature = "messagepack")]
pub trait Encoded<V> {
    fn codec(&self) -> Option<CodecOf<V>>;
}
#[cfg(feature = "messagepack")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Encoded<V> for Probe<V> {
    #[inline(always)]
    fn codec(&self) -> Option<CodecOf<V>> {
        Some(CodecOf::new::<crate::MessagePack>())
    }
}

pub trait NotEncoded<V> {
    fn codec(&self) -> Option<CodecOf<V>>;
}
impl<V> NotEncoded<V> for &Probe<V> {
    #[inline(always)]
    fn codec(&self) -> Option<CodecOf<V>> {
        None
    }
}

pub trait Weighed<V> {
    fn weigh(&self) -> fn(&V) -> usize;
}
impl<V: Weigh> Weighed<V> for &Probe<V> {
    #[inline(always)]
    fn weigh(&self) -> fn(&V) -> usize {
        V::heap
    }
}

pub trait WeighedByLength<V> {
    fn weigh(&self) -> fn(&V) -> usize;
}
impl<T> WeighedByLength<Vec<T>> for &&Probe<Vec<T>> {
    #[inline(always)]
    fn weigh(&self) -> fn(&Vec<T>) -> usize {
        |list| list.capacity() * size_of::<T>()
    }
}
impl<T> WeighedByLength<Arc<T>> for &&Probe<Arc<T>> {
    #[inline(always)]
    fn weigh(&self) -> fn(&Arc<T>) -> usize {
        |_| size_of::<T>()
    }
}
impl<T> WeighedByLength<Box<T>> for &&Probe<Box<T>> {
    #[inline(always)]
    fn weigh(&self) -> fn(&Box<T>) -> usize {
        |_| size_of::<T>()
    }
}

pub trait NotWeighed<V> {
    fn weigh(&self) -> fn(&V) -> usize;
}
impl<V> NotWeighed<V> for Probe<V> {
    #[inline(always)]
    fn weigh(&self) -> fn(&V) -> usize {
        |_| 0
    }
}

pub trait Shareable<E> {
    fn share(&self) -> Option<Sharing<E>>;
}
impl<E: Clone + Send + Sync + 'static> Shareable<E> for Probe<E> {
    fn share(&self) -> Option<Sharing<E>> {
        Some(Sharing {
            make: |error| Arc::new(error.clone()),
            take: |shared| shared.downcast_ref().cloned(),
        })
    }
}

pub trait NotShareable<E> {
    fn share(&self) -> Option<Sharing<E>>;
}
impl<E> NotShareable<E> for &Probe<E> {
    fn share(&self) -> Option<Sharing<E>> {
        None
    }
}

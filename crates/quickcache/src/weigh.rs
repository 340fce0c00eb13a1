//! What a value takes on the heap: the memory tier is bound by bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Bytes that a value holds on the heap, beside its own size.
///
/// The memory tier asks it of a value's type if the type has it; another type counts by its size alone, a vector or a box of
/// it by the size of its elements. Implement it for types that hold much, or name a function at the attribute:
/// `weigh = my_bytes`, a `fn(&V) -> usize`.
///
/// ```
/// use quickcache::Weigh;
///
/// struct Post { title: String, body: String }
///
/// impl Weigh for Post {
///     fn heap(&self) -> usize {
///         self.title.heap() + self.body.heap()
///     }
/// }
/// ```
pub trait Weigh {
    /// Bytes on the heap.
    fn heap(&self) -> usize;
}

macro_rules! flat {
    ($($type:ty),*) => {$(
        impl Weigh for $type {
            #[inline]
            fn heap(&self) -> usize {
                0
            }
        }
    )*};
}
flat!(
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    (),
    std::time::Duration
);

impl Weigh for String {
    fn heap(&self) -> usize {
        self.capacity()
    }
}

/// Text that is in the program.
impl Weigh for &'static str {
    fn heap(&self) -> usize {
        0
    }
}

impl Weigh for str {
    fn heap(&self) -> usize {
        0
    }
}

impl<T: Weigh> Weigh for [T] {
    fn heap(&self) -> usize {
        self.iter().map(T::heap).sum()
    }
}

impl<T: Weigh, const N: usize> Weigh for [T; N] {
    fn heap(&self) -> usize {
        self.as_slice().heap()
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn heap(&self) -> usize {
        self.capacity() * size_of::<T>() + self.as_slice().heap()
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, T::heap)
    }
}

impl<T: Weigh, E: Weigh> Weigh for Result<T, E> {
    fn heap(&self) -> usize {
        match self {
            Ok(value) => value.heap(),
            Err(error) => error.heap(),
        }
    }
}

macro_rules! pointers {
    ($($pointer:ident)*) => {$(
        /// What is pointed to counts in full, shared or not.
        impl<T: Weigh + ?Sized> Weigh for $pointer<T> {
            fn heap(&self) -> usize {
                size_of_val(&**self) + (**self).heap()
            }
        }
    )*};
}
pointers!(Box Rc Arc);

macro_rules! collections {
    ($({$($generics:tt)*} $type:ty: $item:ty, |$each:ident| $heap:expr;)*) => {$(
        impl<$($generics)*> Weigh for $type {
            fn heap(&self) -> usize {
                self.len() * size_of::<$item>() + self.iter().map(|$each| $heap).sum::<usize>()
            }
        }
    )*};
}
collections! {
    {T: Weigh} VecDeque<T>: T, |item| item.heap();
    {T: Weigh} BTreeSet<T>: T, |item| item.heap();
    {T: Weigh, S} HashSet<T, S>: T, |item| item.heap();
    {K: Weigh, V: Weigh} BTreeMap<K, V>: (K, V), |item| item.0.heap() + item.1.heap();
    {K: Weigh, V: Weigh, S} HashMap<K, V, S>: (K, V), |item| item.0.heap() + item.1.heap();
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),*))*) => {$(
        impl<$($part: Weigh),*> Weigh for ($($part,)*) {
            fn heap(&self) -> usize {
                0 $(+ self.$at.heap())*
            }
        }
    )*};
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

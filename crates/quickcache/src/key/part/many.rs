//! Parts that hold many: slices, arrays, sets and maps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use super::{KeyPart, through};
use crate::key::Value;

impl<T: KeyPart> KeyPart for [T] {
    type Owned = Box<[T::Owned]>;
    #[inline]
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        T::hash_run(self, state);
    }
    #[inline]
    fn eq_owned(&self, owned: &Self::Owned) -> bool {
        T::eq_run(self, owned)
    }
    #[inline]
    fn to_owned_part(&self) -> Self::Owned {
        self.iter().map(T::to_owned_part).collect()
    }
    fn value(&self) -> Value<'_> {
        T::run_value(self)
    }
    fn owned_heap(owned: &Self::Owned) -> usize {
        size_of_val(&**owned) + owned.iter().map(T::owned_heap).sum::<usize>()
    }
}

through! {
    {T: KeyPart} Vec<T> => [T];
}

impl<T: KeyPart, const N: usize> KeyPart for [T; N] {
    type Owned = [T::Owned; N];
    #[inline]
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        T::hash_run(self, state);
    }
    #[inline]
    fn eq_owned(&self, owned: &Self::Owned) -> bool {
        T::eq_run(self, owned)
    }
    #[inline]
    fn to_owned_part(&self) -> Self::Owned {
        self.each_ref().map(T::to_owned_part)
    }
    fn value(&self) -> Value<'_> {
        T::run_value(self)
    }
    fn owned_heap(owned: &Self::Owned) -> usize {
        owned.iter().map(T::owned_heap).sum()
    }
}

/// Collections, by what they give to iterate: a map's entry is the tuple of its key and value.
macro_rules! collections {
    ($($way:ident {$($generics:tt)*} $type:ty, $item:ty, $kind:ident, $value:expr;)*) => {$(
        impl<$($generics)*> KeyPart for $type {
            type Owned = $way::Owned<<$item as KeyPart>::Owned>;
            fn hash_part<Hs: Hasher>(&self, state: &mut Hs) {
                $way::hash(self.iter(), state);
            }
            fn eq_owned(&self, owned: &Self::Owned) -> bool {
                $way::eq(self.iter(), owned)
            }
            fn to_owned_part(&self) -> Self::Owned {
                $way::own(self.iter())
            }
            fn value(&self) -> Value<'_> {
                Value::$kind(self.iter().map($value).collect())
            }
            fn owned_heap(owned: &Self::Owned) -> usize {
                $way::heap(owned, <$item as KeyPart>::owned_heap)
            }
        }
    )*};
}
collections! {
    sorted {T: KeyPart} BTreeSet<T>, T, Set, T::value;
    sorted {K: KeyPart, V: KeyPart} BTreeMap<K, V>, (K, V), Dict, |(key, value)| (key.value(), value.value());
    unordered {T: KeyPart, S} HashSet<T, S>, T, Set, T::value;
    unordered {K: KeyPart, V: KeyPart, S} HashMap<K, V, S>, (K, V), Dict, |(key, value)| (key.value(), value.value());
}

/// Equal sorted collections give equal items in the same order.
mod sorted {
    use super::{Hasher, KeyPart};

    pub type Owned<O> = Box<[O]>;

    pub fn hash<P: KeyPart>(items: impl ExactSizeIterator<Item = P>, state: &mut impl Hasher) {
        state.write_usize(items.len());
        items.for_each(|item| item.hash_part(state));
    }

    pub fn eq<P: KeyPart>(
        items: impl ExactSizeIterator<Item = P>,
        owned: &Owned<P::Owned>,
    ) -> bool {
        items.len() == owned.len() && items.zip(owned).all(|(item, owned)| item.eq_owned(owned))
    }

    pub fn own<P: KeyPart>(items: impl Iterator<Item = P>) -> Owned<P::Owned> {
        items.map(|item| item.to_owned_part()).collect()
    }

    pub fn heap<O>(owned: &Owned<O>, heap: fn(&O) -> usize) -> usize {
        size_of_val(&**owned) + owned.iter().map(heap).sum::<usize>()
    }
}

/// The kept form of a `HashSet` or `HashMap`: its items by their hash, so that one in another order is compared with
/// it in place, by binary search.
#[derive(Clone, Debug)]
pub struct Unordered<O> {
    /// The sum of the hashes. Items that Rust's `Eq` tells apart may be one key value; the sum counts how often each occurs.
    sum: u64,
    items: Box<[(u64, O)]>,
}

impl<O> Unordered<O> {
    /// Whether an item of this hash for which `eq` holds is kept.
    fn holds(&self, hash: u64, eq: impl Fn(&O) -> bool) -> bool {
        let first = self.items.partition_point(|(kept, _)| *kept < hash);
        self.items[first..]
            .iter()
            .take_while(|(kept, _)| *kept == hash)
            .any(|(_, item)| eq(item))
    }
}

impl<O: PartialEq> PartialEq for Unordered<O> {
    fn eq(&self, other: &Self) -> bool {
        self.sum == other.sum
            && self.items.len() == other.items.len()
            && self
                .items
                .iter()
                .all(|(hash, item)| other.holds(*hash, |kept| item == kept))
    }
}

impl<O: Eq> Eq for Unordered<O> {}

mod unordered {
    use super::{BuildHasher, Hasher, KeyPart, LazyLock, RandomState};

    pub type Owned<O> = super::Unordered<O>;

    /// Keyed at random, since sums of unkeyed hashes could be made to collide by who chooses the arguments.
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);

    fn hash_of(item: &impl KeyPart) -> u64 {
        let mut state = STATE.build_hasher();
        item.hash_part(&mut state);
        state.finish()
    }

    pub fn hash<P: KeyPart>(items: impl ExactSizeIterator<Item = P>, state: &mut impl Hasher) {
        state.write_usize(items.len());
        state.write_u64(items.fold(0, |sum, item| sum.wrapping_add(hash_of(&item))));
    }

    pub fn eq<P: KeyPart>(
        items: impl ExactSizeIterator<Item = P>,
        owned: &Owned<P::Owned>,
    ) -> bool {
        if items.len() != owned.items.len() {
            return false;
        }
        let mut sum = 0_u64;
        for item in items {
            let hash = hash_of(&item);
            sum = sum.wrapping_add(hash);
            if !owned.holds(hash, |kept| item.eq_owned(kept)) {
                return false;
            }
        }
        sum == owned.sum
    }

    pub fn own<P: KeyPart>(items: impl Iterator<Item = P>) -> Owned<P::Owned> {
        let mut items: Box<[_]> = items
            .map(|item| (hash_of(&item), item.to_owned_part()))
            .collect();
        items.sort_unstable_by_key(|(hash, _)| *hash);
        super::Unordered {
            sum: items
                .iter()
                .fold(0, |sum, (hash, _)| sum.wrapping_add(*hash)),
            items,
        }
    }

    pub fn heap<O>(owned: &Owned<O>, heap: fn(&O) -> usize) -> usize {
        size_of_val(&*owned.items)
            + owned
                .items
                .iter()
                .map(|(_, item)| heap(item))
                .sum::<usize>()
    }
}

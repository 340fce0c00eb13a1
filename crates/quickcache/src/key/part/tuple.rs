//! Tuples of parts, which are what a cached function's key is.

use std::hash::Hasher;

use super::KeyPart;
use crate::key::{Value, v1};

/// The key of a call: a tuple of up to twelve [`KeyPart`]s, one for each `vary_on`; `()` for a function with none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the key of a function",
    note = "a key is a tuple of up to twelve key values; a single one is `(value,)`"
)]
pub trait Key: KeyPart {
    /// The values, for [`seed::key`](crate::key::seed::key) and [`v1::Function::key`](crate::key::v1::Function::key).
    fn values(&self) -> Vec<Value<'_>>;

    /// The key of scheme `v1` under a function, which takes no list of the values.
    fn digest(&self, of: &v1::Function) -> v1::Digest;
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),*))*) => {$(
        impl<$($part: KeyPart),*> KeyPart for ($($part,)*) {
            type Owned = ($($part::Owned,)*);
            #[inline]
            fn hash_part<Hs: Hasher>(&self, _state: &mut Hs) {
                $(self.$at.hash_part(_state);)*
            }
            #[inline]
            fn eq_owned(&self, _owned: &Self::Owned) -> bool {
                true $(&& self.$at.eq_owned(&_owned.$at))*
            }
            #[inline]
            #[allow(clippy::unused_unit)] // of the empty tuple
            fn to_owned_part(&self) -> Self::Owned {
                ($(self.$at.to_owned_part(),)*)
            }
            fn value(&self) -> Value<'_> {
                Value::Tuple(self.values())
            }
            fn owned_heap(_owned: &Self::Owned) -> usize {
                0 $(+ $part::owned_heap(&_owned.$at))*
            }
        }
        impl<$($part: KeyPart),*> Key for ($($part,)*) {
            fn values(&self) -> Vec<Value<'_>> {
                vec![$(self.$at.value()),*]
            }
            fn digest(&self, of: &v1::Function) -> v1::Digest {
                of.key(&[$(self.$at.value()),*])
            }
        }
    )*};
}
tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}

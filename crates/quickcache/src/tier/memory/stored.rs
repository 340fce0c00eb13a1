//! One entry of the memory tier: a key and a value of types that only its function knows, behind one thin pointer.
//!
//! A table holds the entries of every function of its `Memory`, so that the bounds are of all of them together. What makes
//! it sound to look at an entry as a `Stored<K, V>` again: entries carry the number of their function, a number stands for
//! one pair of types, and only [`Payload::get`] looks, behind that comparison.

use std::ptr::NonNull;
use std::sync::Arc;

/// The function of an entry, and the epoch of that function in which it was stored: one word to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn new(function: u32, epoch: u32) -> Self {
        Stamp(u64::from(function) << 32 | u64::from(epoch))
    }

    pub(super) fn function(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Of the same function, and of an epoch that has ended if `now` is the present one.
    pub(crate) fn is_older(self, now: Stamp) -> bool {
        self.function() == now.function() && self != now
    }
}

/// What is known of an entry without its types.
pub(crate) struct Head {
    pub(super) stamp: Stamp,
    /// When the execution began, or the read of the slower tier that gave the value.
    pub(crate) started: u64,
    pub(crate) deadline: u64,
    release: unsafe fn(NonNull<Head>),
}

/// An entry with its types. The head comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub(crate) struct Stored<K, V> {
    pub(crate) head: Head,
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Stored<K, V> {
    pub(crate) fn new(stamp: Stamp, started: u64, deadline: u64, key: K, value: V) -> Arc<Self> {
        let release = release::<K, V>;
        Arc::new(Stored {
            head: Head {
                stamp,
                started,
                deadline,
                release,
            },
            key,
            value,
        })
    }
}

impl<K, V: Clone> Stored<K, V> {
    /// The value, moved out if nobody else has the entry.
    pub(crate) fn into_value(this: Arc<Self>) -> V {
        Arc::try_unwrap(this).map_or_else(|shared| shared.value.clone(), |entry| entry.value)
    }
}

/// # Safety
/// `entry` is the pointer of an `Arc<Stored<K, V>>`, with one count of it to give back.
unsafe fn release<K, V>(entry: NonNull<Head>) {
    // SAFETY: by the caller.
    drop(unsafe { Arc::from_raw(entry.as_ptr().cast::<Stored<K, V>>().cast_const()) });
}

/// A share of an `Arc<Stored<K, V>>` that has forgotten `K` and `V`.
pub(super) struct Payload(NonNull<Head>);

// SAFETY: it owns an `Arc<Stored<K, V>>` whose `K` and `V` are Send and Sync: `Stored::new` asks for both, and nothing
// else makes a `Stored`.
unsafe impl Send for Payload {}
// SAFETY: as above.
unsafe impl Sync for Payload {}

impl Payload {
    pub(super) fn new<K, V>(stored: Arc<Stored<K, V>>) -> Self {
        let stored = Arc::into_raw(stored).cast_mut().cast::<Head>();
        // SAFETY: the pointer of an Arc is not null; the head is the first field of `repr(C)`.
        Payload(unsafe { NonNull::new_unchecked(stored) })
    }

    #[inline]
    pub(super) fn head(&self) -> &Head {
        // SAFETY: the share keeps the entry alive, and the pointer is good for all of it.
        unsafe { self.0.as_ref() }
    }

    /// The entry as its function sees it; `None` if it is of another function, or of an epoch that `clear_all` ended.
    ///
    /// # Safety
    /// Whoever stores under the function of `stamp` stores a `Stored<K, V>` of these very types.
    #[inline]
    pub(super) unsafe fn get<K, V>(&self, stamp: Stamp) -> Option<&Stored<K, V>> {
        // SAFETY: the function is the same, so by the caller the types are.
        (self.head().stamp == stamp).then(|| unsafe { self.0.cast::<Stored<K, V>>().as_ref() })
    }

    /// As [`get`](Self::get), whatever the epoch.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    pub(super) unsafe fn get_of<K, V>(&self, stamp: Stamp) -> Option<&Stored<K, V>> {
        let same = self.head().stamp.function() == stamp.function();
        // SAFETY: as above.
        same.then(|| unsafe { self.0.cast::<Stored<K, V>>().as_ref() })
    }

    /// A share of its own for a reader.
    ///
    /// # Safety
    /// `stored` is what [`get`](Self::get) gave for this payload.
    #[inline]
    pub(super) unsafe fn share<K, V>(&self) -> Arc<Stored<K, V>> {
        let entry = self.0.as_ptr().cast::<Stored<K, V>>().cast_const();
        // SAFETY: the pointer came from `Arc::into_raw` of this type, and the payload holds a count.
        unsafe {
            Arc::increment_strong_count(entry);
            Arc::from_raw(entry)
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // SAFETY: `release` was made for the types of this entry, and the payload's count is given back once.
        unsafe { (self.head().release)(self.0) }
    }
}

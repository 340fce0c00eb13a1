//! One entry of the memory tier: a key and a value of types that only its function knows. A small key and a value that can be
//! copied lie in the slab itself, so that a hit reads one cache line there and nothing beside it.
//!
//! A table holds the entries of every function of its `Memory`, so that the bounds are of all of them together. What makes
//! it sound to look at an entry as a key and a value again: entries carry the number of their function, [`number`] gives one
//! for one pair of types, and only [`Payload::get`] looks, behind that comparison.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// The function of an entry, and the epoch of that function in which it was stored: one word to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn new(function: u32, epoch: u32) -> Self {
        Stamp(u64::from(function) << 32 | u64::from(epoch))
    }

    fn function(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Of the same function, and of an epoch that has ended if `now` is the present one.
    pub(crate) fn is_older(self, now: Stamp) -> bool {
        self.function() == now.function() && self != now
    }
}

/// A value with its times, as it flies to followers and, if it cannot be copied, as entries hold it.
pub(crate) struct Stored<V> {
    pub(super) stamp: Stamp,
    /// When the execution began, or the read of the slower tier that gave the value.
    pub(crate) started: u64,
    pub(super) deadline: u64,
    pub(crate) value: V,
}

impl<V> Stored<V> {
    pub(crate) fn new(stamp: Stamp, started: u64, deadline: u64, value: V) -> Arc<Self> {
        Arc::new(Stored {
            stamp,
            started,
            deadline,
            value,
        })
    }
}

impl<V: Clone> Stored<V> {
    /// The value, moved out if nobody else has it.
    pub(crate) fn into_value(this: Arc<Self>) -> V {
        Arc::try_unwrap(this).map_or_else(|shared| shared.value.clone(), |entry| entry.value)
    }
}

/// A key and what is held for it: a value that can be copied, or an `Arc<Stored<V>>`.
pub(super) struct Kept<K, W> {
    pub(super) key: K,
    pub(super) held: W,
}

/// With this and what the slab has of its own, an entry fills one cache line.
const WORDS: usize = 5;

impl<K, W> Kept<K, W> {
    /// Whether it lies in the payload itself, not in a box.
    const IN_PLACE: bool =
        size_of::<Self>() <= size_of::<[u64; WORDS]>() && align_of::<Self>() <= align_of::<u64>();

    /// Bytes that one takes beside its payload.
    pub(super) const BESIDE: usize = if Self::IN_PLACE {
        0
    } else {
        size_of::<Self>() + 16
    };
}

/// A [`Kept`] that has forgotten its types.
pub(crate) struct Payload {
    stamp: Stamp,
    /// A `Kept<K, W>`, or a box of one. In a cell, since a key may have one inside.
    body: UnsafeCell<MaybeUninit<[u64; WORDS]>>,
}

// SAFETY: it owns a `Kept<K, W>` whose `K` and `W` are Send and Sync: `Payload::new` asks for both.
unsafe impl Send for Payload {}
// SAFETY: as above; the cell is written by nobody but what the key does to itself, which is Sync.
unsafe impl Sync for Payload {}

impl Payload {
    /// # Safety
    /// `number::<K, W>` gave the function of `stamp`.
    pub(super) unsafe fn new<K, W>(stamp: Stamp, key: K, held: W) -> Self
    where
        K: Send + Sync + 'static,
        W: Send + Sync + 'static,
    {
        let kept = Kept { key, held };
        let mut body = MaybeUninit::<[u64; WORDS]>::uninit();
        // SAFETY: the body is as large as what is written, and aligned for it: `IN_PLACE` says so, and a box is a pointer.
        unsafe {
            if Kept::<K, W>::IN_PLACE {
                body.as_mut_ptr().cast::<Kept<K, W>>().write(kept);
            } else {
                let boxed = body.as_mut_ptr().cast::<Box<Kept<K, W>>>();
                boxed.write(Box::new(kept));
            }
        }
        Payload {
            stamp,
            body: UnsafeCell::new(body),
        }
    }

    #[inline]
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The entry as its function sees it; `None` if it is of another function, or of an epoch that `clear_all` ended.
    ///
    /// # Safety
    /// `number::<K, W>` gave the function of `stamp`.
    #[inline]
    pub(super) unsafe fn get<K, W>(&self, stamp: Stamp) -> Option<&Kept<K, W>> {
        // SAFETY: the function is the same, so by the caller the types are.
        (self.stamp == stamp).then(|| unsafe { self.kept() })
    }

    /// As [`get`](Self::get), whatever the epoch.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    pub(super) unsafe fn get_of<K, W>(&self, stamp: Stamp) -> Option<&Kept<K, W>> {
        let same = self.stamp.function() == stamp.function();
        // SAFETY: as above.
        same.then(|| unsafe { self.kept() })
    }

    /// # Safety
    /// `number::<K, W>` gave the function of this payload.
    #[inline]
    unsafe fn kept<K, W>(&self) -> &Kept<K, W> {
        // SAFETY: `new` wrote it in this way, for the same types.
        unsafe {
            if Kept::<K, W>::IN_PLACE {
                &*self.body.get().cast::<Kept<K, W>>()
            } else {
                &*self.body.get().cast::<Box<Kept<K, W>>>()
            }
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // SAFETY: the number was made for the types of this body, and the body is given up once.
        unsafe { release_of(self.stamp.function())(self.body.get()) }
    }
}

type Body = *mut MaybeUninit<[u64; WORDS]>;

/// Drops what is in a body.
type Release = unsafe fn(Body);

/// # Safety
/// `body` holds what `Payload::new::<K, W>` wrote, and is not used any more.
unsafe fn release<K, W>(body: Body) {
    // SAFETY: by the caller.
    unsafe {
        if Kept::<K, W>::IN_PLACE {
            body.cast::<Kept<K, W>>().drop_in_place();
        } else {
            body.cast::<Box<Kept<K, W>>>().drop_in_place();
        }
    }
}

/// How the entries of each function are dropped, by its number: in chunks of 64, 128, 256 and so on, so that none ever moves.
static RELEASES: [OnceLock<Box<[OnceLock<Release>]>>; 26] = [const { OnceLock::new() }; 26];

/// The chunk of a number, and its place there.
fn place(number: u32) -> (usize, usize) {
    let shifted = u64::from(number) + 64;
    let chunk = shifted.ilog2() - 6;
    (chunk as usize, (shifted - (64 << chunk)) as usize)
}

fn release_of(number: u32) -> Release {
    let (chunk, at) = place(number);
    let release = RELEASES[chunk].get().and_then(|chunk| chunk[at].get());
    *release.expect("numbers come from `number`")
}

/// A number for a function whose entries are `Kept<K, W>`.
pub(crate) fn number<K, W>() -> u32 {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let (chunk, at) = place(number);
    let chunk = RELEASES[chunk].get_or_init(|| {
        std::iter::repeat_with(OnceLock::new)
            .take(64 << chunk)
            .collect()
    });
    let fresh = chunk[at].set(release::<K, W>);
    assert!(fresh.is_ok(), "four thousand million functions");
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a key and a value in, looks at them, moves and drops them; with a tool such as Miri underneath this says whether the
    /// casts are sound.
    fn goes_round<K, W>(key: impl Fn() -> K, held: impl Fn() -> W, in_place: bool)
    where
        K: Send + Sync + PartialEq + 'static,
        W: Send + Sync + PartialEq + 'static,
    {
        assert_eq!(Kept::<K, W>::IN_PLACE, in_place);
        let (number, other) = (number::<K, W>(), number::<u8, u8>());
        let stamp = Stamp::new(number, 7);
        // SAFETY: the number is of these types.
        let payloads = (0..3).map(|_| unsafe { Payload::new(stamp, key(), held()) });
        let moved: Vec<Payload> = payloads.collect();
        for payload in &moved {
            // SAFETY: as above; and of another function nothing is seen.
            unsafe {
                let kept = payload.get::<K, W>(stamp);
                assert!(kept.is_some_and(|kept| kept.key == key() && kept.held == held()));
                assert!(payload.get::<K, W>(Stamp::new(number, 8)).is_none());
                assert!(payload.get_of::<K, W>(Stamp::new(number, 8)).is_some());
                assert!(payload.get_of::<u8, u8>(Stamp::new(other, 7)).is_none());
            }
        }
    }

    #[test]
    fn an_entry_is_what_was_put_in_and_is_dropped_once() {
        #[repr(align(16))]
        #[derive(PartialEq)]
        struct Aligned(u8);

        let shared = Arc::new(());
        goes_round(|| (String::from("key"), 1_u64), || 5_u64, true);
        goes_round(|| (), || shared.clone(), true);
        goes_round(|| [1_u64; 5], || shared.clone(), false);
        goes_round(|| Box::new(3), || [1_u8; 99], false);
        goes_round(|| Aligned(3), || (), false);
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn every_number_has_a_place_of_its_own() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(63), (0, 63));
        assert_eq!(place(64), (1, 0));
        assert_eq!(place(191), (1, 127));
        assert_eq!(place(192), (2, 0));
        assert!(place(u32::MAX - 64).0 < RELEASES.len());
    }
}

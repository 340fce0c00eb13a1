//! Key parts as the memory tier compares them: exact for the plain types, a serialisation for the rest.
//!
//! Two parts of a function are equal exactly when their texts under its scheme are (design section 8): `1`, `1.0` and `True`
//! differ; `'a'` and `b'a'` agree under `seed` and differ under `v1`. What decides is made once: in `Part::of` for the plain types,
//! which are alike under both schemes, and in `text::part` or `encoding::part` for all others.

use crate::ffi::{self, PyObject};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tag {
    None = 1,
    Bool,
    Int,
    Float,
    /// An exact `str`.
    Str,
    /// An exact `str` that holds the serialisation of a value that has no tag of its own: text under `seed`, under `v1` bytes, each a
    /// character.
    Text,
    /// No part at all: the key of a function that varies on nothing. Only in owned keys.
    Empty,
    /// Several parts, in a block of their own. Only in owned keys.
    Many,
}

/// One part, borrowed: what `bits` points to is kept alive by somebody else.
#[derive(Clone, Copy)]
pub struct Part {
    pub tag: Tag,
    pub bits: u64,
}

/// The tag of this number.
pub fn tag(number: u8) -> Tag {
    const ALL: [Tag; 8] = [
        Tag::None,
        Tag::Bool,
        Tag::Int,
        Tag::Float,
        Tag::Str,
        Tag::Text,
        Tag::Empty,
        Tag::Many,
    ];
    ALL[usize::from(number) - 1]
}

impl Part {
    /// Stands for no part.
    pub const EMPTY: Part = Part {
        tag: Tag::Empty,
        bits: 0,
    };

    /// The part of a plain value; `None` for every other type, which the function's scheme serves.
    ///
    /// # Safety
    /// `o` is a live object and the GIL is held. Runs no Python code.
    #[inline(always)]
    pub unsafe fn of(o: *mut PyObject) -> Option<Part> {
        unsafe {
            let t = (*o).ob_type;
            if t == &raw mut ffi::PyLong_Type {
                return ffi::int_value(o).map(|v| Part {
                    tag: Tag::Int,
                    bits: v as u64,
                });
            }
            if t == &raw mut ffi::PyUnicode_Type {
                return Some(Part {
                    tag: Tag::Str,
                    bits: o as u64,
                });
            }
            Self::of_rare(o)
        }
    }

    /// As `of`, of the values that most keys are: an `int` above 0 of one digit, a `str` whose hash has been asked for. With what
    /// `hash` says of it.
    ///
    /// # Safety
    /// As for `of`.
    #[inline(always)]
    pub unsafe fn of_common(o: *mut PyObject) -> Option<(Part, u64)> {
        unsafe { Self::of_kind(o, false).or_else(|| Self::of_kind(o, true)) }
    }

    /// As `of_common`, of one of the two types.
    ///
    /// # Safety
    /// As for `of`.
    #[inline(always)]
    pub unsafe fn of_kind(o: *mut PyObject, text: bool) -> Option<(Part, u64)> {
        unsafe {
            let t = (*o).ob_type;
            let (tag, bits, hashed) = if text {
                if t != &raw mut ffi::PyUnicode_Type {
                    return None;
                }
                (Tag::Str, o as u64, ffi::str_hash_if_any(o)? as u64)
            } else {
                if t != &raw mut ffi::PyLong_Type {
                    return None;
                }
                let digit = u64::from(ffi::one_digit(o)?);
                (Tag::Int, digit, digit)
            };
            Some((Part { tag, bits }, hashed))
        }
    }

    #[inline(never)]
    unsafe fn of_rare(o: *mut PyObject) -> Option<Part> {
        unsafe {
            if o == ffi::Py_None() {
                return Some(Part {
                    tag: Tag::None,
                    bits: 0,
                });
            }
            if o == ffi::Py_True() || o == ffi::Py_False() {
                return Some(Part {
                    tag: Tag::Bool,
                    bits: (o == ffi::Py_True()) as u64,
                });
            }
            if (*o).ob_type == &raw mut ffi::PyFloat_Type {
                return Some(Part::float(ffi::PyFloat_AS_DOUBLE(o)));
            }
            None
        }
    }

    /// All NaNs print as `nan`, so they are one key; `0.0` and `-0.0` print differently.
    pub fn float(v: f64) -> Part {
        let bits = if v.is_nan() {
            f64::NAN.to_bits()
        } else {
            v.to_bits()
        };
        Part {
            tag: Tag::Float,
            bits,
        }
    }

    /// # Safety
    /// As for `of`; the part came from `of` or the function's scheme, and what it points to lives.
    #[inline(always)]
    pub unsafe fn hash(self) -> u64 {
        match self.tag {
            Tag::Str | Tag::Text => unsafe { ffi::str_hash(self.bits as *mut PyObject) as u64 },
            _ => self.bits,
        }
    }

    /// # Safety
    /// As for `hash`, which has been asked of both.
    #[inline(always)]
    pub unsafe fn same(self, other: Part) -> bool {
        self.tag == other.tag && (self.bits == other.bits || unsafe { self.same_text(other) })
    }

    /// Out of line: what compares text is no part of the code that finds integers.
    #[inline(never)]
    unsafe fn same_text(self, other: Part) -> bool {
        matches!(self.tag, Tag::Str | Tag::Text)
            && unsafe { ffi::str_eq(self.bits as _, other.bits as _) }
    }

    fn object(self) -> Option<*mut PyObject> {
        matches!(self.tag, Tag::Str | Tag::Text).then_some(self.bits as *mut PyObject)
    }
}

/// Folded multiplication: both halves of the product, so that every input bit reaches every output bit.
#[inline(always)]
fn mix(x: u64, factor: u64) -> u64 {
    let p = x as u128 * factor as u128;
    (p as u64) ^ ((p >> 64) as u64)
}

/// The hash of a key of a namespace with this seed: one multiplication for each part, none of which waits for another.
///
/// # Safety
/// As for `Part::hash`.
#[inline(always)]
pub unsafe fn hash_parts(seed: u64, parts: &[Part]) -> u64 {
    let hash = |(at, p): (usize, &Part)| hash_at(at, seed, p.tag, unsafe { p.hash() });
    match parts {
        [] => hash((0, &Part::EMPTY)),
        _ => parts
            .iter()
            .enumerate()
            .fold(0, |all, part| all ^ hash(part)),
    }
}

/// What the part at a place of a key gives to its hash, from what `Part::hash` says of it.
#[inline(always)]
pub fn hash_at(at: usize, seed: u64, tag: Tag, hashed: u64) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    // Another factor for each place, so that two parts that change places, or are equal, do not cancel each other.
    mix(
        seed ^ tag as u64 ^ hashed,
        FACTOR.rotate_left(7 * at as u32) | 1,
    )
}

/// The tag of the owned key of these parts.
#[inline(always)]
pub fn tag_of(parts: &[Part]) -> Tag {
    match parts {
        [one] => one.tag,
        [] => Tag::Empty,
        _ => Tag::Many,
    }
}

/// The block of `parts`: the first stands for how many follow.
fn block(parts: &[Part]) -> u64 {
    let head = Part {
        tag: Tag::Many,
        bits: parts.len() as u64,
    };
    let all: Box<[Part]> = std::iter::once(head).chain(parts.iter().copied()).collect();
    Box::into_raw(all) as *mut Part as u64
}

/// # Safety
/// `bits` came from `block`.
#[inline(always)]
unsafe fn in_block<'a>(bits: u64) -> &'a [Part] {
    unsafe {
        let head = bits as *const Part;
        std::slice::from_raw_parts(head.add(1), (*head).bits as usize)
    }
}

/// The bits of a key that owns what it points to, to be kept with `tag_of(parts)`; `release` must be called once.
///
/// # Safety
/// The GIL is held; the parts are alive.
pub unsafe fn own(parts: &[Part]) -> u64 {
    for o in parts.iter().filter_map(|p| p.object()) {
        unsafe { ffi::Py_INCREF(o) };
    }
    match parts {
        [one] => one.bits,
        [] => 0,
        _ => block(parts),
    }
}

/// The parts of an owned key, in place.
///
/// # Safety
/// The tag and bits came from `own` and have not been released.
pub unsafe fn with_parts<R>(tag: Tag, bits: u64, f: impl FnOnce(&[Part]) -> R) -> R {
    match tag {
        Tag::Many => f(unsafe { in_block(bits) }),
        Tag::Empty => f(&[]),
        tag => f(&[Part { tag, bits }]),
    }
}

/// # Safety
/// As for `with_parts`, with the GIL held. Lets exact `str` objects go, whose end runs no Python code.
pub unsafe fn release(tag: Tag, bits: u64) {
    unsafe {
        with_parts(tag, bits, |parts| {
            parts
                .iter()
                .filter_map(|p| p.object())
                .for_each(|o| ffi::Py_DECREF(o))
        });
        if tag == Tag::Many {
            let all = 1 + in_block(bits).len();
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
                bits as *mut Part,
                all,
            )));
        }
    }
}

/// The tags of two to four parts, four bits each; 0 for fewer or more. None of a part is 0, so it tells their number too.
#[inline(always)]
pub fn kinds_of(parts: &[Part]) -> u16 {
    match parts.len() {
        2..=4 => parts.iter().fold(0, |kinds, p| kinds << 4 | p.tag as u16),
        _ => 0,
    }
}

/// Whether an owned key of the tag `tag_of(parts)` and the kinds `kinds_of(parts)` has these parts.
///
/// # Safety
/// As for `Part::same`.
#[inline(always)]
pub unsafe fn is(bits: u64, parts: &[Part]) -> bool {
    unsafe {
        match parts {
            [one] => Part { bits, ..*one }.same(*one),
            [] => true,
            // The usual answer written out, and all else out of line: as a loop it is a call, with all of the parts in memory.
            [a, b] => {
                let own = (bits as *const Part).add(1);
                (*own).bits == a.bits && (*own.add(1)).bits == b.bits
                    || is_many(in_block(bits), parts)
            }
            _ => is_many(in_block(bits), parts),
        }
    }
}

/// # Safety
/// As for `Part::same`, of each.
#[cold]
#[inline(never)]
unsafe fn is_many(own: &[Part], parts: &[Part]) -> bool {
    own.len() == parts.len() && own.iter().zip(parts).all(|(a, b)| unsafe { a.same(*b) })
}

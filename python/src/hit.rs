//! The hit path: from the arguments to the stored object without a lock, a text key or an allocation.
//!
//! A decorated object's vectorcall is the entry of its shape; what an entry does not serve goes to `or_else`, and what that
//! does not serve to the slow path.
//!
//! Soundness: the GIL is held throughout. Between finding an entry and taking a reference to its value nothing runs
//! Python code: keys compare as integers or by the text of exact `str`. Only reading an attribute may run Python code;
//! the table is looked at after that, through the plan, so that whatever that code did has been seen. An attribute is read
//! by such code once a call, as in the replaced library: what was read here is handed on to the slow path.

use crate::call::{self, Call};
use crate::ffi::{self, PyObject};
use crate::function::Function;
use crate::memory::Entry;
use crate::params::Bindings;
use crate::part::{self, Part, Tag, hash_one, hash_parts};
use crate::plan::{Compiled, FIXED, Hot, MAX_PARTS, Plan, Shape};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// The values a call varies on, in the order of `vary_on`.
pub struct Values {
    objects: [*mut PyObject; MAX_PARTS],
    /// What was read from an attribute, and so is ours to let go.
    held: [*mut PyObject; MAX_PARTS],
    n: usize,
}

impl Values {
    pub fn objects(&self) -> &[*mut PyObject] {
        &self.objects[..self.n]
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        for o in &self.held[..self.n] {
            // SAFETY: taken by `with_attributes`, under the GIL, which is held still.
            unsafe { ffi::Py_XDECREF(*o) };
        }
    }
}

/// The vectorcall of functions of a shape.
pub fn entry(shape: Shape) -> ffi::vectorcallfunc {
    match shape {
        Shape::Never => any,
        Shape::Nothing => nothing,
        Shape::One => one,
        Shape::Single => remembered::<1>,
        Shape::Pair => remembered::<2>,
        Shape::Many => remembered::<0>,
    }
}

/// An entry: `$find` gives the value as a new reference, or null. It ends in a jump, and keeps nothing on the stack for it.
macro_rules! entry {
    ($(#[$meta:meta])* $name:ident $(<const $n:ident: usize>)?, $shape:pat, |$plan:ident, $hot:ident, $call:ident| $find:expr) => {
        $(#[$meta])*
        unsafe extern "C" fn $name $(<const $n: usize>)? (
            callable: *mut PyObject,
            args: *const *mut PyObject,
            nargsf: usize,
            kwnames: *mut PyObject,
        ) -> *mut PyObject {
            unsafe {
                // SAFETY: the caller holds a reference to us for the length of the call.
                let $plan = &*(*(callable as *const Function)).plan;
                let $hot = &*$plan.hot.get();
                if matches!($hot.shape, $shape) && $hot.guards_hold() {
                    let $call = Call { args, nargsf, kwnames };
                    let hit = $find;
                    if !hit.is_null() {
                        return hit;
                    }
                }
                any(callable, args, nargsf, kwnames)
            }
        }
    };
}

entry! {
    /// Varies on nothing.
    nothing, Shape::Nothing, |plan, hot, call| {
        if call.is_plain(0) { find_one(plan, hot, Part::EMPTY) } else { null_mut() }
    }
}

entry! {
    /// One plain argument, the commonest hit: calls nothing but the clock and, for text that is not the same object, a
    /// comparison.
    one, Shape::One, |plan, hot, call| {
        if call.is_plain(hot.count as usize) {
            one_argument(plan, hot, *call.args.add(hot.index as usize))
        } else {
            null_mut()
        }
    }
}

entry! {
    /// A call as the remembered one. `N` is the number of its values; 0 for any.
    remembered<const N: usize>, Shape::Single | Shape::Pair | Shape::Many, |plan, hot, call| {
        as_remembered::<N>(plan, hot, call)
    }
}

/// Any call: the vectorcall of a function that has not been called yet, and what the others end in.
#[inline(never)]
pub unsafe extern "C" fn any(
    callable: *mut PyObject,
    args: *const *mut PyObject,
    nargsf: usize,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let f = callable as *mut Function;
        let hot = &*(*(*f).plan).hot.get();
        if hot.guards_hold() {
            (*f).vectorcall = Some(entry(hot.shape));
        }
        let f = &*f;
        let call = Call {
            args,
            nargsf,
            kwnames,
        };
        or_else(f, call, |values| call::slow(f, call, values))
    }
}

#[inline(always)]
unsafe fn one_argument(plan: &Plan, hot: &Hot, a: *mut PyObject) -> *mut PyObject {
    unsafe {
        let kind = (*a).ob_type;
        let (tag, bits) = if kind == &raw mut ffi::PyLong_Type {
            match ffi::small_int(a) {
                Some(v) => (Tag::Int, v as u64),
                None => return null_mut(),
            }
        } else if kind == &raw mut ffi::PyUnicode_Type && ffi::str_is_hashed(a) {
            (Tag::Str, a as u64)
        } else {
            return null_mut();
        };
        find_one(plan, hot, Part { tag, bits })
    }
}

#[inline(always)]
unsafe fn as_remembered<const N: usize>(plan: &Plan, hot: &Hot, call: Call) -> *mut PyObject {
    unsafe {
        let memo = &*plan.memo.get();
        if !memo.fits(call) {
            return null_mut();
        }
        if memo.skip != FIXED {
            let v = *call.args.add(memo.skip as usize);
            if v != ffi::Py_False() && v != ffi::Py_None() {
                return null_mut();
            }
        }
        let n = if N == 0 {
            (*hot.compiled).sources.len()
        } else {
            N
        };
        let mut parts = [const { MaybeUninit::<Part>::uninit() }; MAX_PARTS];
        for (part, read) in parts[..n].iter_mut().zip(&memo.reads) {
            let mut o = if read.place == FIXED {
                read.fixed
            } else {
                *call.args.add(read.place as usize)
            };
            if !read.attribute.is_none() {
                o = read.attribute.read(o);
                if o.is_null() {
                    return null_mut();
                }
            }
            match Part::of(o) {
                Some(p) => part.write(p),
                None => return null_mut(),
            };
        }
        // The first `n` have been written.
        find(
            plan,
            hot,
            std::slice::from_raw_parts(parts.as_ptr() as *const Part, n),
        )
    }
}

/// The value that is stored for a call, as a new reference; else what `miss` makes of it, told the values if they have
/// been read; or null with an exception, from an attribute.
///
/// # Safety
/// `call` is that of a vectorcall; the GIL is held; the function is alive.
#[inline]
pub unsafe fn or_else(
    f: &Function,
    call: Call,
    miss: impl FnOnce(Option<Values>) -> *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let plan = &*f.plan;
        let hot = &*plan.hot.get();
        if !hot.guards_hold() {
            return miss(None);
        }
        let hit = match hot.shape {
            Shape::Never => null_mut(),
            Shape::Nothing if call.is_plain(0) => find_one(plan, hot, Part::EMPTY),
            Shape::One if call.is_plain(hot.count as usize) => {
                Part::of(*call.args.add(hot.index as usize))
                    .map_or(null_mut(), |part| find_one(plan, hot, part))
            }
            _ => {
                let hit = as_remembered::<0>(plan, hot, call);
                if hit.is_null() {
                    return general(f, hot, call, miss);
                }
                hit
            }
        };
        if hit.is_null() { miss(None) } else { hit }
    }
}

#[inline(always)]
unsafe fn find_one(plan: &Plan, hot: &Hot, part: Part) -> *mut PyObject {
    unsafe {
        let space = &*hot.space;
        let hash = hash_one(space.seed.get(), part);
        let id = space.id.get();
        let same = |e: &Entry| {
            e.space == id
                && Part {
                    tag: e.tag,
                    bits: e.bits,
                }
                .same(part)
        };
        serve(plan, (*hot.memory).find(hash, same))
    }
}

#[inline(always)]
unsafe fn find(plan: &Plan, hot: &Hot, parts: &[Part]) -> *mut PyObject {
    unsafe {
        let space = &*hot.space;
        let hash = hash_parts(space.seed.get(), parts);
        let id = space.id.get();
        let same = |e: &Entry| e.space == id && part::is(e.tag, e.bits, parts);
        serve(plan, (*hot.memory).find(hash, same))
    }
}

#[inline(always)]
unsafe fn serve(plan: &Plan, entry: Option<&Entry>) -> *mut PyObject {
    match entry {
        Some(e) if !e.encoded => {
            plan.hits.set(plan.hits.get() + 1);
            unsafe { ffi::Py_INCREF(e.value) };
            e.value
        }
        _ => null_mut(),
    }
}

/// Keeps retired plans alive.
struct Reading<'a>(&'a Cell<u32>);

impl<'a> Reading<'a> {
    fn new(readers: &'a Cell<u32>) -> Self {
        readers.set(readers.get() + 1);
        Reading(readers)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Any number of values, keywords and defaults.
#[inline(never)]
unsafe fn general(
    f: &Function,
    hot: &Hot,
    call: Call,
    miss: impl FnOnce(Option<Values>) -> *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let compiled = &*hot.compiled;
        let mut bound = Bindings::new();
        let Some(bound) = compiled.params.bind_plain(&mut bound, call) else {
            return miss(None);
        };
        if let Some(skip) = compiled.skip_param() {
            let v = bound[skip];
            if v != ffi::Py_False() && v != ffi::Py_None() {
                return miss(None);
            }
        }
        with_attributes(f, compiled, bound, call, miss)
    }
}

unsafe fn with_attributes(
    f: &Function,
    compiled: &Compiled,
    bound: &[*mut PyObject],
    call: Call,
    miss: impl FnOnce(Option<Values>) -> *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let n = compiled.sources.len();
        let mut values = Values {
            objects: [null_mut(); MAX_PARTS],
            held: [null_mut(); MAX_PARTS],
            n,
        };
        let mut parts = [Part::EMPTY; MAX_PARTS];
        let mut plain = true;
        // Reading an attribute may run code that retires this plan.
        let reading = Reading::new(&(*f.plan).readers);
        for (i, source) in compiled.sources.iter().enumerate() {
            let mut o = bound[source.param];
            for attr in &source.attrs {
                let next = ffi::PyObject_GetAttr(o, attr.as_ptr());
                ffi::Py_XDECREF(values.held[i]);
                values.held[i] = next;
                if next.is_null() {
                    return null_mut();
                }
                o = next;
            }
            values.objects[i] = o;
            match Part::of(o) {
                Some(p) => parts[i] = p,
                None => plain = false,
            }
        }
        // Such code may have changed where this function's values live, too: only a plan that holds still may be asked.
        let plan = &*f.plan;
        let hot = &*plan.hot.get();
        if plain && hot.guards_hold() && std::ptr::eq(hot.compiled, compiled) {
            let hit = find(plan, hot, &parts[..n]);
            if !hit.is_null() {
                plan.remember(compiled, call, values.objects());
                return hit;
            }
        }
        let read = compiled.reads_attributes;
        drop(reading);
        miss(read.then_some(values))
    }
}

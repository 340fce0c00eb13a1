//! The hit path: from the arguments to the stored object without a lock, a text key or an allocation.
//!
//! Soundness: the GIL is held throughout. Between finding an entry and taking a reference to its value nothing runs
//! Python code: keys compare as integers or by the text of exact `str`. Only reading an attribute may run Python code;
//! the table is looked at after that, through the plan, so that whatever that code did has been seen. An attribute is read
//! once a call, as in the replaced library: what was read here is handed on to the slow path.

use crate::call::Call;
use crate::ffi::{self, PyObject};
use crate::function::Function;
use crate::memory::Entry;
use crate::params::Bindings;
use crate::part::{self, Part, Tag, hash_one, hash_parts};
use crate::plan::{Compiled, Hot, MAX_PARTS, Memo, Plan, Shape};
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
            // SAFETY: taken by `general` or `one_attr`, under the GIL, which is held still.
            unsafe { ffi::Py_XDECREF(*o) };
        }
    }
}

/// The value that is stored for a call of one plain argument, as a new reference, or null: the commonest hit, with as
/// little around it as can be. It calls nothing but the clock and, for text that is not the same object, a comparison.
///
/// # Safety
/// `call` is that of a vectorcall; the GIL is held; the function is alive.
#[inline(always)]
pub unsafe fn one(f: &Function, call: Call) -> *mut PyObject {
    unsafe {
        let plan = &*f.plan;
        let hot = &*plan.hot.get();
        if !call.is_plain(hot.count as usize) || !hot.guards_hold() {
            return null_mut();
        }
        if hot.shape != Shape::One {
            return if hot.shape == Shape::Nothing {
                find_one(plan, Part::EMPTY)
            } else {
                null_mut()
            };
        }
        let a = *call.args.add(hot.index as usize);
        let kind = (*a).ob_type;
        let space = &*hot.space;
        let id = space.id.get();
        if kind == &raw mut ffi::PyLong_Type {
            let Some(v) = ffi::small_int(a) else {
                return null_mut();
            };
            let part = Part {
                tag: Tag::Int,
                bits: v as u64,
            };
            let same = |e: &Entry| e.bits == part.bits && e.space == id && e.tag == Tag::Int;
            return serve(
                plan,
                (*hot.memory).find(hash_one(space.seed.get(), part), same),
            );
        }
        if kind == &raw mut ffi::PyUnicode_Type && ffi::str_is_hashed(a) {
            let part = Part {
                tag: Tag::Str,
                bits: a as u64,
            };
            let same = |e: &Entry| {
                e.space == id
                    && Part {
                        tag: e.tag,
                        bits: e.bits,
                    }
                    .same(part)
            };
            return serve(
                plan,
                (*hot.memory).find(hash_one(space.seed.get(), part), same),
            );
        }
        null_mut()
    }
}

/// The value that is stored for a call, as a new reference; else what `miss` makes of it, told the values if they have
/// been read; or null with an exception, from an attribute.
///
/// # Safety
/// As for `one`.
#[inline(never)]
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
        match hot.shape {
            Shape::Nothing if call.is_plain(0) => miss(None),
            Shape::One if call.is_plain(hot.count as usize) => {
                let hit = Part::of(*call.args.add(hot.index as usize))
                    .map_or(null_mut(), |part| find_one(plan, part));
                if hit.is_null() { miss(None) } else { hit }
            }
            Shape::OneAttr if call.is_plain(1) => one_attr(f, hot, call, miss),
            Shape::Never => miss(None),
            _ => general(f, hot, call, miss),
        }
    }
}

#[inline]
unsafe fn find_one(plan: &Plan, part: Part) -> *mut PyObject {
    unsafe {
        let hot = &*plan.hot.get();
        let space = &*hot.space;
        let hash = hash_one(space.seed.get(), part);
        let id = space.id.get();
        serve(
            plan,
            (*hot.memory).find(hash, |e| {
                e.space == id
                    && Part {
                        tag: e.tag,
                        bits: e.bits,
                    }
                    .same(part)
            }),
        )
    }
}

#[inline]
unsafe fn find(plan: &Plan, parts: &[Part]) -> *mut PyObject {
    unsafe {
        let hot = &*plan.hot.get();
        let space = &*hot.space;
        let hash = hash_parts(space.seed.get(), parts);
        let id = space.id.get();
        serve(
            plan,
            (*hot.memory).find(hash, |e| e.space == id && part::is(e.tag, e.bits, parts)),
        )
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

#[inline(never)]
unsafe fn one_attr(
    f: &Function,
    hot: &Hot,
    call: Call,
    miss: impl FnOnce(Option<Values>) -> *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let value = ffi::PyObject_GetAttr(*call.args, hot.attr);
        if value.is_null() {
            return null_mut();
        }
        // Reading it may have run code that retired the plan.
        if let Some(part) = Part::of(value)
            && !(*(*f.plan).hot.get()).memory.is_null()
        {
            let hit = find_one(&*f.plan, part);
            if !hit.is_null() {
                ffi::Py_DECREF(value);
                return hit;
            }
        }
        let mut values = Values {
            objects: [null_mut(); MAX_PARTS],
            held: [null_mut(); MAX_PARTS],
            n: 1,
        };
        values.objects[0] = value;
        values.held[0] = value;
        miss(Some(values))
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

/// Any number of parts, keywords and defaults.
#[inline(never)]
unsafe fn general(
    f: &Function,
    hot: &Hot,
    call: Call,
    miss: impl FnOnce(Option<Values>) -> *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let compiled = &*hot.compiled;
        let memo = &*(*f.plan).memo.get();
        if memo.nargs == call.nargs() && memo.kwnames == call.kwnames {
            let mut parts = [const { MaybeUninit::<Part>::uninit() }; MAX_PARTS];
            let n = compiled.sources.len();
            for (part, place) in parts[..n].iter_mut().zip(&memo.places) {
                match Part::of(*call.args.add(*place as usize)) {
                    Some(p) => part.write(p),
                    None => return miss(None),
                };
            }
            // The first `n` have been written.
            let hit = find(
                &*f.plan,
                std::slice::from_raw_parts(parts.as_ptr() as *const Part, n),
            );
            return if hit.is_null() { miss(None) } else { hit };
        }
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
        if compiled.reads_attributes {
            return with_attributes(f, compiled, bound, miss);
        }
        let mut parts = [const { MaybeUninit::<Part>::uninit() }; MAX_PARTS];
        let n = compiled.sources.len();
        for (place, source) in parts[..n].iter_mut().zip(&compiled.sources) {
            match Part::of(bound[source.param]) {
                Some(p) => place.write(p),
                None => return miss(None),
            };
        }
        // The first `n` have been written.
        let hit = find(
            &*f.plan,
            std::slice::from_raw_parts(parts.as_ptr() as *const Part, n),
        );
        if hit.is_null() {
            return miss(None);
        }
        if compiled.skip_param().is_none()
            && let Some(places) = compiled.places(call)
        {
            (*f.plan).remember(Memo {
                nargs: call.nargs(),
                kwnames: call.kwnames,
                places,
            });
        }
        hit
    }
}

unsafe fn with_attributes(
    f: &Function,
    compiled: &Compiled,
    bound: &[*mut PyObject],
    miss: impl FnOnce(Option<Values>) -> *mut PyObject,
) -> *mut PyObject {
    unsafe {
        let n = compiled.sources.len();
        let mut values = Values {
            objects: [null_mut(); MAX_PARTS],
            held: [null_mut(); MAX_PARTS],
            n,
        };
        let mut parts = [Part {
            tag: Tag::None,
            bits: 0,
        }; MAX_PARTS];
        let mut plain = true;
        {
            // Reading an attribute may run code that retires this plan.
            let _reading = Reading::new(&(*f.plan).readers);
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
        }
        // Such code may have changed where this function's values live, too: only a plan that holds still may be asked.
        if plain && (*(*f.plan).hot.get()).guards_hold() && !(*(*f.plan).hot.get()).memory.is_null()
        {
            let hit = find(&*f.plan, &parts[..n]);
            if !hit.is_null() {
                return hit;
            }
        }
        miss(Some(values))
    }
}

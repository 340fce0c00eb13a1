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
use crate::memo::FIXED;
use crate::memory::{Entry, Label};
use crate::params::Bindings;
use crate::part::{self, Part, Tag, hash_parts};
use crate::plan::{Compiled, Hot, MAX_PARTS, Plan, Shape};
use quickcache::clock;
use quickcache::tier::memory::Found;
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
        Shape::Attribute => attribute,
        Shape::Single => remembered::<1>,
        Shape::Pair => remembered::<2>,
        Shape::Many => remembered::<0>,
    }
}

/// An entry: `$find` gives the entry of a call that `$fits`. What cannot be served goes to `any`, with `$nargs` and `$names` made anew:
/// while the clock is read only the callable and its arguments are kept, and the entry that was found.
macro_rules! entry {
    ($(#[$meta:meta])* $name:ident $(<const $n:ident: usize>)?,
     |$hot:ident, $plan:ident, $args:ident, $nargsf:ident, $kwnames:ident|
     if $fits:expr => $find:expr, else ($nargs:expr, $names:expr)) => {
        $(#[$meta])*
        unsafe extern "C" fn $name $(<const $n: usize>)? (
            callable: *mut PyObject,
            $args: *const *mut PyObject,
            $nargsf: usize,
            $kwnames: *mut PyObject,
        ) -> *mut PyObject {
            unsafe {
                // SAFETY: the caller holds a reference to us for the length of the call.
                let found = {
                    let $plan = plan_of(callable);
                    let $hot = &*$plan.hot.get();
                    if !($hot.guards_hold() && $fits) {
                        return any(callable, $args, $nargsf, $kwnames);
                    }
                    // What another process has cleared is a miss.
                    $find.filter(|found| (*$hot.space).holds(found))
                };
                let $plan = plan_of(callable);
                match found {
                    Some(found) if found.visit(clock::passed) => serve($plan, found.payload()),
                    _ => any(callable, $args, $nargs, $names),
                }
            }
        }
    };
}

/// # Safety
/// `callable` is a live `Function`.
#[inline(always)]
unsafe fn plan_of<'f>(callable: *mut PyObject) -> &'f Plan {
    unsafe { &*(*(callable as *const Function)).plan }
}

entry! {
    /// Varies on nothing: its one entry is looked for where it was last found.
    nothing, |hot, plan, args, nargsf, kwnames|
    if hot.fits(Shape::Nothing, nargsf, kwnames) => {
        let wanted = Label::of((*hot.space).id.get(), &[], false);
        let found = (*hot.memory).table().look_at(hot.slot.get());
        found.filter(|found| found.payload().label == wanted)
    },
    else ((*plan.hot.get()).count as usize, null_mut())
}

entry! {
    /// One plain argument, the commonest hit.
    one, |hot, plan, args, nargsf, kwnames|
    if hot.fits(Shape::One, nargsf, kwnames) => find_common(hot, *args.add(hot.index as usize)),
    else ((*plan.hot.get()).count as usize, null_mut())
}

entry! {
    /// One attribute of a plain argument, kept where it was kept by the object that was last learned from.
    attribute, |hot, plan, args, nargsf, kwnames|
    if hot.fits(Shape::Attribute, nargsf, kwnames) => {
        let o = hot.attribute.get().read(*args.add(hot.index as usize));
        if o.is_null() { None } else { find_common(hot, o) }
    },
    else ((*plan.hot.get()).count as usize, null_mut())
}

entry! {
    /// Two plain arguments, in the places that are remembered, of the kinds that `KINDS` says.
    pair<const KINDS: usize>, |hot, plan, args, nargsf, kwnames|
    if (*plan.memo.get()).fits_pair(nargsf, kwnames) => {
        let [a, b, ..] = &(*plan.memo.get()).reads;
        find_pair::<KINDS>(hot, *args.add(a.place as usize), *args.add(b.place as usize))
    },
    else ((*plan.memo.get()).nargs, (*plan.memo.get()).kwnames)
}

entry! {
    /// A call as the remembered one. `N` is the number of its values; 0 for any.
    remembered<const N: usize>, |hot, plan, args, nargsf, kwnames|
    if hot.shape == const { [Shape::Many, Shape::Single, Shape::Pair][N] }
        && (*plan.memo.get()).fits(nargsf, kwnames) =>
    {
        let mut parts = NO_PARTS;
        read_as_remembered::<N>(plan, hot, args, &mut parts).and_then(|parts| find(hot, parts))
    },
    else ((*plan.memo.get()).nargs, (*plan.memo.get()).kwnames)
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
        let call = Call {
            args,
            nargsf,
            kwnames,
        };
        let f = callable as *mut Function;
        let result = or_else(&*f, call, |values| call::slow(&*f, call, values));
        // What was learned from this call, if anything was, serves the next.
        let plan = plan_of(callable);
        let hot = &*plan.hot.get();
        if hot.guards_hold() {
            let memo = &*plan.memo.get();
            (*f).vectorcall = Some(if memo.fits_pair(nargsf, kwnames) {
                let [a, b, ..] = &memo.reads;
                entry_of_pair(*args.add(a.place as usize), *args.add(b.place as usize))
            } else {
                entry(hot.shape)
            });
        }
        result
    }
}

type Parts = [MaybeUninit<Part>; MAX_PARTS];

const NO_PARTS: Parts = [const { MaybeUninit::uninit() }; MAX_PARTS];

/// The values of a call that the memo fits; `None` for values of other types. Runs no Python code.
#[inline(always)]
unsafe fn read_as_remembered<'p, const N: usize>(
    plan: &Plan,
    hot: &Hot,
    args: *const *mut PyObject,
    parts: &'p mut Parts,
) -> Option<&'p [Part]> {
    unsafe {
        let memo = &*plan.memo.get();
        let n = if N == 0 {
            (*hot.compiled).sources.len()
        } else {
            N
        };
        let reads = parts[..n].iter_mut().zip(&memo.reads);
        if memo.simple {
            for (part, read) in reads {
                part.write(Part::of(*args.add(read.place as usize))?);
            }
        } else {
            if memo.skip != FIXED {
                let v = *args.add(memo.skip as usize);
                if v != ffi::Py_False() && v != ffi::Py_None() {
                    return None;
                }
            }
            for (part, read) in reads {
                part.write(Part::of(read.object(args)?)?);
            }
        }
        // SAFETY: the first `n` have been written.
        Some(std::slice::from_raw_parts(parts.as_ptr() as *const Part, n))
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
        let mut parts = NO_PARTS;
        let found = match hot.shape {
            Shape::Never => None,
            Shape::Nothing if call.is_plain(0) => {
                let found = find(hot, &[]);
                if found.is_some() {
                    hot.slot.set((*hot.memory).slot_of_nothing(&*hot.space));
                }
                found
            }
            Shape::One if call.is_plain(hot.count as usize) => {
                Part::of(*call.args.add(hot.index as usize)).and_then(|part| find(hot, &[part]))
            }
            _ if (*plan.memo.get()).fits(call.nargsf, call.kwnames) => {
                read_as_remembered::<0>(plan, hot, call.args, &mut parts)
                    .and_then(|parts| find(hot, parts))
            }
            _ => None,
        };
        match found {
            Some(found) if (*hot.space).holds(&found) && found.visit(clock::passed) => {
                serve(plan, found.payload())
            }
            _ if matches!(hot.shape, Shape::Never) || hot.is_plain(call) => miss(None),
            _ => general(f, hot, call, miss),
        }
    }
}

/// The entry of these parts that hits hand out as it is, expired perhaps. Of two keys of one hash it may miss the second.
#[inline(always)]
unsafe fn find<'h>(hot: &'h Hot, parts: &[Part]) -> Option<Found<'h, Entry, ()>> {
    unsafe { find_hashed(hot, hash_parts((*hot.space).seed.get(), parts), parts) }
}

#[inline(always)]
unsafe fn find_hashed<'h>(hot: &'h Hot, hash: u64, parts: &[Part]) -> Option<Found<'h, Entry, ()>> {
    unsafe {
        let wanted = Label::of((*hot.space).id.get(), parts, false);
        let found = (*hot.memory).table().look(hash, |e| e.label == wanted)?;
        part::is(found.payload().bits, parts).then_some(found)
    }
}

/// As `find`, of one value of those that most keys are.
#[inline(always)]
unsafe fn find_common(hot: &Hot, o: *mut PyObject) -> Option<Found<'_, Entry, ()>> {
    unsafe {
        let (part, hashed) = Part::of_common(o)?;
        let seed = (*hot.space).seed.get();
        // Written twice, so that what follows from the tag is known where it is used.
        if matches!(part.tag, Tag::Int) {
            let tag = Tag::Int;
            find_hashed(
                hot,
                part::hash_at(0, seed, tag, hashed),
                &[Part { tag, ..part }],
            )
        } else {
            let tag = Tag::Str;
            find_hashed(
                hot,
                part::hash_at(0, seed, tag, hashed),
                &[Part { tag, ..part }],
            )
        }
    }
}

const SECOND_IS_TEXT: usize = 1;
const FIRST_IS_TEXT: usize = 2;

/// The entry of pairs such as these two: the next ones are mostly of the same types.
unsafe fn entry_of_pair(a: *mut PyObject, b: *mut PyObject) -> ffi::vectorcallfunc {
    let is_text = |o: *mut PyObject| unsafe { (*o).ob_type == &raw mut ffi::PyUnicode_Type };
    match (is_text(a), is_text(b)) {
        (false, false) => pair::<0>,
        (false, true) => pair::<SECOND_IS_TEXT>,
        (true, false) => pair::<FIRST_IS_TEXT>,
        (true, true) => pair::<{ FIRST_IS_TEXT | SECOND_IS_TEXT }>,
    }
}

/// As `find_common`, of two of them, of the kinds that `KINDS` says.
#[inline(always)]
unsafe fn find_pair<const KINDS: usize>(
    hot: &Hot,
    a: *mut PyObject,
    b: *mut PyObject,
) -> Option<Found<'_, Entry, ()>> {
    unsafe {
        let (a, hashed_a) = Part::of_kind(a, KINDS & FIRST_IS_TEXT != 0)?;
        let (b, hashed_b) = Part::of_kind(b, KINDS & SECOND_IS_TEXT != 0)?;
        let seed = (*hot.space).seed.get();
        let hash =
            part::hash_at(0, seed, a.tag, hashed_a) ^ part::hash_at(1, seed, b.tag, hashed_b);
        find_hashed(hot, hash, &[a, b])
    }
}

#[inline(always)]
unsafe fn serve(plan: &Plan, e: &Entry) -> *mut PyObject {
    plan.hits.set(plan.hits.get() + 1);
    unsafe { ffi::Py_INCREF(e.value) };
    e.value
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
        if plain
            && hot.guards_hold()
            && std::ptr::eq(hot.compiled, compiled)
            && let Some(found) = find(hot, &parts[..n])
            && (*hot.space).holds(&found)
            && found.visit(clock::passed)
        {
            let hit = serve(plan, found.payload());
            plan.remember(compiled, call, values.objects());
            return hit;
        }
        let read = compiled.reads_attributes;
        drop(reading);
        miss(read.then_some(values))
    }
}

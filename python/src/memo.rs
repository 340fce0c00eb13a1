//! How the last call of a function was made: the next one from the same place in the source need not bind again.

use crate::attr::Attribute;
use crate::call::Call;
use crate::ffi::{self, PyObject};
use crate::plan::{Compiled, MAX_PARTS};
use std::ptr::null_mut;

/// Twice no number of arguments.
pub const NO_FORM: usize = 1;

/// Where the values of the last call came from: `kwnames` is one object per place in the source, so the next call from there
/// need not bind again.
pub struct Memo {
    pub nargs: usize,
    /// Owned, or null.
    pub kwnames: *mut PyObject,
    /// The function whose defaults the call took some from, and the tuple of them, owned; or null both.
    defaults_of: *mut ffi::PyFunctionObject,
    defaults: *mut PyObject,
    /// The place of the argument that must be `False` or `None`, or `FIXED`.
    pub skip: u8,
    /// Every value is an argument as it is, and there is no argument that must be so or so.
    pub simple: bool,
    /// Of a simple memo of two values: twice `nargs`; else `NO_FORM`.
    pair: usize,
    pub reads: [Read; MAX_PARTS],
}

/// No place among the arguments: a default.
pub const FIXED: u8 = u8::MAX;

/// Where one value comes from.
#[derive(Clone, Copy)]
pub struct Read {
    /// Among the arguments, or `FIXED`.
    pub place: u8,
    /// A default, which the memo keeps alive.
    pub fixed: *mut PyObject,
    pub attribute: Attribute,
}

impl Read {
    const NOTHING: Read = Read {
        place: 0,
        fixed: null_mut(),
        attribute: Attribute::NONE,
    };
}

impl Memo {
    pub fn is_pair(&self) -> bool {
        self.pair != NO_FORM
    }

    /// Whether this is a call as the remembered one was, of two values that are arguments as they are.
    #[inline(always)]
    pub fn fits_pair(&self, nargsf: usize, kwnames: *mut PyObject) -> bool {
        self.pair == nargsf << 1 && self.kwnames == kwnames
    }
}

impl Read {
    /// The value in a call that the memo fits, borrowed; `None` for an object that does not keep the attribute there. Runs no
    /// Python code.
    ///
    /// # Safety
    /// `args` are those of the call; the GIL is held.
    #[inline(always)]
    pub unsafe fn object(&self, args: *const *mut PyObject) -> Option<*mut PyObject> {
        unsafe {
            let o = if self.place == FIXED {
                self.fixed
            } else {
                *args.add(self.place as usize)
            };
            if self.attribute.is_none() {
                return Some(o);
            }
            let o = self.attribute.read(o);
            (!o.is_null()).then_some(o)
        }
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        // SAFETY: owned, and dropped as the plan is: with the GIL held.
        unsafe {
            ffi::Py_XDECREF(self.kwnames);
            ffi::Py_XDECREF(self.defaults);
        }
    }
}

impl Memo {
    pub const fn nothing() -> Memo {
        Memo {
            nargs: usize::MAX,
            kwnames: null_mut(),
            defaults_of: null_mut(),
            defaults: null_mut(),
            skip: FIXED,
            simple: false,
            pair: NO_FORM,
            reads: [Read::NOTHING; MAX_PARTS],
        }
    }

    /// Whether this call is made as the remembered one was.
    ///
    /// # Safety
    /// The GIL is held, and the plan's function is alive.
    #[inline(always)]
    pub unsafe fn fits(&self, nargsf: usize, kwnames: *mut PyObject) -> bool {
        self.nargs == nargsf & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET
            && self.kwnames == kwnames
            && (self.simple
                || self.defaults_of.is_null()
                || unsafe { (*self.defaults_of).func_defaults == self.defaults })
    }
}

impl Compiled {
    /// Where the values of this call lay; `None` when the next such call must bind anew. `values` are what the call was
    /// found to vary on.
    ///
    /// # Safety
    /// `bind_plain` has taken this call, its values are alive, and the GIL is held. Runs no Python code.
    pub unsafe fn memo(&self, call: Call, values: &[*mut PyObject]) -> Option<Memo> {
        unsafe {
            let mut defaulted = false;
            let mut whence = |param: usize| match self.params.place(param, call) {
                Some(place) => Some((place, *call.args.add(place as usize))),
                None => {
                    defaulted = true;
                    Some((FIXED, self.params.default(param)?))
                }
            };
            let mut reads = [Read::NOTHING; MAX_PARTS];
            for ((read, source), value) in reads.iter_mut().zip(&self.sources).zip(values) {
                let (place, object) = whence(source.param)?;
                let attribute = match &source.attrs[..] {
                    [] => Attribute::NONE,
                    [name] => Attribute::learn(object, name.as_ptr(), *value)?,
                    _ => return None,
                };
                let fixed = if place == FIXED { object } else { null_mut() };
                *read = Read {
                    place,
                    fixed,
                    attribute,
                };
            }
            let skip = match self.skip_param() {
                None => FIXED,
                // A default has just been seen to be false, and is held.
                Some(param) => whence(param)?.0,
            };
            let (defaults_of, defaults) = if defaulted {
                let f = self.params.function() as *mut ffi::PyFunctionObject;
                (f, (*f).func_defaults)
            } else {
                (null_mut(), null_mut())
            };
            ffi::Py_XINCREF(call.kwnames);
            ffi::Py_XINCREF(defaults);
            let given = |read: &Read| read.place != FIXED && read.attribute.is_none();
            let simple =
                skip == FIXED && !defaulted && reads[..self.sources.len()].iter().all(given);
            Some(Memo {
                nargs: call.nargs(),
                kwnames: call.kwnames,
                defaults_of,
                defaults,
                skip,
                simple,
                pair: if simple && self.sources.len() == 2 {
                    2 * call.nargs()
                } else {
                    NO_FORM
                },
                reads,
            })
        }
    }
}

//! The decorated object: a final heap type with a vectorcall of its own.
//!
//! It binds as a method, carries a `__dict__` and weak references, and looks like the function it wraps to `inspect`.
//! A call first tries the hit path (`hit.rs`); whatever that does not serve goes to `call::slow`. What lives here is the
//! object; which values a call varies on is the plan's business (`plan.rs`).

use crate::asynchronous;
use crate::call::Call;
use crate::ffi::{self, PyObject, PyTypeObject};
use crate::{hit, plan::Plan};
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::OnceLock;

#[repr(C)]
pub struct Function {
    ob_base: PyObject,
    pub vectorcall: Option<ffi::vectorcallfunc>,
    dict: *mut PyObject,
    weakrefs: *mut PyObject,
    /// The helper: called as it is whenever the plan may not be used. Owned.
    pub helper: *mut PyObject,
    /// The wrapped function, for `inspect`. Owned.
    pub wrapped: *mut PyObject,
    /// The object that holds the plan, or null when the helper is not ours. Owned.
    plan_object: *mut PyObject,
    /// Inside `plan_object`; points at a plan that never matches when there is none, so that a call need not ask.
    pub plan: *const Plan,
}

impl Function {
    /// The plan object, unless the helper is not ours.
    pub fn plan<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Plan>> {
        // SAFETY: null, or a `Plan` that we own.
        let plan = unsafe { Bound::from_borrowed_ptr_or_opt(py, self.plan_object)? };
        plan.cast_into_exact::<Plan>().ok()
    }
}

struct TypePtr(*mut PyTypeObject);
// SAFETY: written once, at import, under the GIL; a type object may be read from any thread that holds it.
unsafe impl Send for TypePtr {}
unsafe impl Sync for TypePtr {}
static TYPE: OnceLock<TypePtr> = OnceLock::new();

pub fn type_object() -> *mut PyTypeObject {
    TYPE.get().expect("set at import").0
}

pub fn is_function(o: *mut PyObject) -> bool {
    unsafe { (*o).ob_type == type_object() }
}

/// A new decorated object. `plan` is the helper's plan object, if the helper is ours.
pub fn new(
    helper: &Bound<PyAny>,
    wrapped: &Bound<PyAny>,
    plan: Option<&Bound<Plan>>,
    coroutine: bool,
) -> PyResult<Py<PyAny>> {
    let py = helper.py();
    // SAFETY: the type is ours and has a basic size of `Function`; every field is written before the object is seen by
    // anyone else (GenericAlloc zeroes it, so a collection in between meets null pointers only).
    unsafe {
        let tp = type_object();
        let raw = ffi::PyType_GenericAlloc(tp, 0) as *mut Function;
        if raw.is_null() {
            return Err(PyErr::fetch(py));
        }
        let f = &mut *raw;
        f.vectorcall = Some(if coroutine { enter_async } else { hit::any });
        f.plan = match plan {
            Some(p) => p.get() as *const Plan,
            None => Plan::never(),
        };
        f.plan_object = plan.map_or(null_mut(), |p| p.clone().into_any().into_ptr());
        f.helper = helper.clone().into_ptr();
        f.wrapped = wrapped.clone().into_ptr();
        Ok(Bound::from_owned_ptr(py, raw as *mut PyObject).unbind())
    }
}

/// The call of a coroutine function: begins when it is awaited.
unsafe extern "C" fn enter_async(
    callable: *mut PyObject,
    args: *const *mut PyObject,
    nargsf: usize,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    unsafe {
        asynchronous::begin(
            callable,
            Call {
                args,
                nargsf,
                kwnames,
            },
        )
    }
}

unsafe extern "C" fn dealloc(o: *mut PyObject) {
    unsafe {
        ffi::PyObject_GC_UnTrack(o as *mut c_void);
        let f = o as *mut Function;
        if !(*f).weakrefs.is_null() {
            ffi::PyObject_ClearWeakRefs(o);
        }
        clear(o);
        let tp = (*o).ob_type;
        (*tp).tp_free.expect("every type has one")(o as *mut c_void);
        ffi::Py_DECREF(tp as *mut PyObject);
    }
}

unsafe extern "C" fn traverse(o: *mut PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    unsafe {
        let f = o as *mut Function;
        let type_ = (*o).ob_type as *mut PyObject;
        for child in [
            type_,
            (*f).dict,
            (*f).helper,
            (*f).wrapped,
            (*f).plan_object,
        ] {
            if !child.is_null() {
                let r = visit(child, arg);
                if r != 0 {
                    return r;
                }
            }
        }
        0
    }
}

unsafe extern "C" fn clear(o: *mut PyObject) -> c_int {
    unsafe {
        let f = o as *mut Function;
        (*f).plan = Plan::never();
        for field in [
            &raw mut (*f).dict,
            &raw mut (*f).helper,
            &raw mut (*f).wrapped,
            &raw mut (*f).plan_object,
        ] {
            let old = std::ptr::replace(field, null_mut());
            if !old.is_null() {
                ffi::Py_DECREF(old);
            }
        }
        0
    }
}

unsafe extern "C" fn bind(
    o: *mut PyObject,
    obj: *mut PyObject,
    _t: *mut PyObject,
) -> *mut PyObject {
    unsafe {
        if obj.is_null() || obj == ffi::Py_None() {
            ffi::Py_INCREF(o);
            return o;
        }
        ffi::PyMethod_New(o, obj)
    }
}

/// `<cached function module.name>`; the names are looked up so that a renamed function shows its new name.
unsafe extern "C" fn repr(o: *mut PyObject) -> *mut PyObject {
    unsafe {
        let name = ffi::PyObject_GetAttrString(o, c"__qualname__".as_ptr());
        if name.is_null() {
            return null_mut();
        }
        let text = ffi::PyUnicode_FromFormat(c"<cached function %S at %p>".as_ptr(), name, o);
        ffi::Py_DECREF(name);
        text
    }
}

/// Pickled and copied by qualified name, as a plain function is.
unsafe extern "C" fn reduce(o: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    unsafe { ffi::PyObject_GetAttrString(o, c"__qualname__".as_ptr()) }
}

/// `__code__`, `__defaults__` and `__kwdefaults__` are those of the wrapped function, as they are now; the closure says which.
unsafe extern "C" fn wrapped_attr(o: *mut PyObject, name: *mut c_void) -> *mut PyObject {
    unsafe {
        let f = o as *mut Function;
        if (*f).wrapped.is_null() {
            ffi::PyErr_SetString(ffi::PyExc_AttributeError, c"the function is gone".as_ptr());
            return null_mut();
        }
        ffi::PyObject_GetAttrString((*f).wrapped, name as *const _)
    }
}

/// Makes the type. Called once, when the module is imported.
pub fn make_type(py: Python) -> PyResult<Py<PyAny>> {
    if let Some(t) = TYPE.get() {
        // SAFETY: the type is never freed.
        return Ok(unsafe { Bound::from_borrowed_ptr(py, t.0 as *mut PyObject).unbind() });
    }
    let member = |name: &'static std::ffi::CStr, offset: usize| ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset as _,
        flags: ffi::READONLY,
        doc: std::ptr::null(),
    };
    let members = Box::leak(Box::new([
        member(c"__vectorcalloffset__", offset_of!(Function, vectorcall)),
        member(c"__dictoffset__", offset_of!(Function, dict)),
        member(c"__weaklistoffset__", offset_of!(Function, weakrefs)),
        // SAFETY: an all-zero definition ends the list.
        unsafe { std::mem::zeroed() },
    ]));
    let getter = |name: &'static std::ffi::CStr| ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(wrapped_attr),
        set: None,
        doc: std::ptr::null(),
        closure: name.as_ptr() as *mut c_void,
    };
    let getset = Box::leak(Box::new([
        getter(c"__code__"),
        getter(c"__defaults__"),
        getter(c"__kwdefaults__"),
        ffi::PyGetSetDef {
            name: c"__dict__".as_ptr(),
            get: Some(ffi::PyObject_GenericGetDict),
            set: Some(ffi::PyObject_GenericSetDict),
            doc: std::ptr::null(),
            closure: null_mut(),
        },
        unsafe { std::mem::zeroed() },
    ]));
    let methods = Box::leak(Box::new([
        ffi::PyMethodDef {
            ml_name: c"__reduce__".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunction: reduce,
            },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: std::ptr::null(),
        },
        unsafe { std::mem::zeroed() },
    ]));
    let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_descr_get, bind as *mut c_void),
        slot(ffi::Py_tp_members, members.as_mut_ptr() as *mut c_void),
        slot(ffi::Py_tp_getset, getset.as_mut_ptr() as *mut c_void),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr() as *mut c_void),
        slot(0, null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"quickcache.CachedFunction".as_ptr(),
        basicsize: size_of::<Function>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_HAVE_VECTORCALL)
            as u32
            | ffi::TPFLAGS_METHOD_DESCRIPTOR
            | ffi::TPFLAGS_DISALLOW_INSTANTIATION
            | ffi::TPFLAGS_IMMUTABLETYPE,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec is well formed; members, getset and methods live for ever.
    unsafe {
        let t = ffi::PyType_FromSpec(&mut spec);
        if t.is_null() {
            return Err(PyErr::fetch(py));
        }
        // One reference of our own keeps the type for ever: decorated objects may outlive the module.
        ffi::Py_INCREF(t);
        let _ = TYPE.set(TypePtr(t as *mut PyTypeObject));
        Ok(Bound::from_owned_ptr(py, t).unbind())
    }
}

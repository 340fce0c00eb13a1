//! An attribute of an instance, read where its type keeps it, as the interpreter's own specialised instructions read it: a
//! compare of the type's version stands for the search through the classes.
//!
//! Where an instance keeps its attributes is private to CPython and differs in 3.11, 3.12 and 3.13. So what is learned is
//! checked against the public API when it is learned, all of it when the module is imported (`self_test`), and on any other
//! CPython nothing is learned and every read goes through the API.

use crate::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether the self-test has passed.
static TRUSTED: AtomicBool = AtomicBool::new(false);

/// The version of no type: CPython gives out far fewer.
const NO_VERSION: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    /// `offset` is from the object: a member of `__slots__`.
    InObject,
    /// `offset` is from the instance's block of values.
    InValues,
}

/// Where the instances of a type keep one attribute, as long as the type has this version.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Given to one type once, as it then was, so that it stands for the type too.
    version: u32,
    offset: u32,
    kept: Kept,
}

impl Attribute {
    /// Stands for no attribute.
    pub const NONE: Attribute = Attribute {
        version: NO_VERSION,
        offset: 0,
        kept: Kept::InObject,
    };

    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.version == NO_VERSION
    }

    /// The attribute as a borrowed reference, or null: `o` is of another type, or does not keep it there.
    ///
    /// # Safety
    /// `o` is a live object and the GIL is held. Runs no Python code.
    #[inline(always)]
    pub unsafe fn read(&self, o: *mut PyObject) -> *mut PyObject {
        unsafe {
            let t = (*o).ob_type;
            if ffi::type_version(t) != self.version {
                return null_mut();
            }
            let block = match self.kept {
                Kept::InObject => o as *const u8,
                Kept::InValues => values(o) as *const u8,
            };
            if block.is_null() {
                return null_mut();
            }
            *(block.add(self.offset as usize) as *const *mut PyObject)
        }
    }

    /// Learns where `o` keeps the attribute `name`, of which `value` has just been read.
    ///
    /// # Safety
    /// All are live, `name` is an interned `str`, and the GIL is held.
    pub unsafe fn learn(
        o: *mut PyObject,
        name: *mut PyObject,
        value: *mut PyObject,
    ) -> Option<Attribute> {
        unsafe {
            if !TRUSTED.load(Relaxed) {
                return None;
            }
            Self::find(o, name).filter(|found| found.read(o) == value)
        }
    }

    unsafe fn find(o: *mut PyObject, name: *mut PyObject) -> Option<Attribute> {
        unsafe {
            let t = (*o).ob_type;
            let generic = ffi::PyObject_GenericGetAttr as *const ();
            if ffi::PyType_HasFeature(t, ffi::Py_TPFLAGS_HEAPTYPE) == 0
                || (*t).tp_getattro.is_none_or(|f| f as *const () != generic)
            {
                return None;
            }
            // Gives the type a version, if it has none.
            let descriptor = ffi::_PyType_Lookup(t, name);
            let version = ffi::type_version(t);
            if version == 0 || version == NO_VERSION {
                return None;
            }
            let at = |kept, offset: usize| {
                let offset = u32::try_from(offset).ok()?;
                Some(Attribute {
                    version,
                    offset,
                    kept,
                })
            };
            if !descriptor.is_null() {
                if (*descriptor).ob_type == &raw mut ffi::PyMemberDescr_Type {
                    return at(Kept::InObject, member(descriptor, t)?);
                }
                // What has `__set__` or `__delete__` goes before the instance; anything else comes after it.
                if (*(*descriptor).ob_type).tp_descr_set.is_some() {
                    return None;
                }
            }
            at(Kept::InValues, index(t, name)? * size_of::<*mut PyObject>())
        }
    }
}

/// The offset of a member of `__slots__`.
unsafe fn member(descriptor: *mut PyObject, t: *mut PyTypeObject) -> Option<usize> {
    unsafe {
        let d = descriptor as *mut ffi::PyMemberDescrObject;
        let member = &*((*d).d_member as *const ffi::PyMemberDef);
        // A descriptor may have been assigned to a class whose instances have something else at that offset.
        let own = ffi::PyType_IsSubtype(t, (*d).d_common.d_type) != 0;
        (own && member.type_code == ffi::Py_T_OBJECT_EX)
            .then(|| usize::try_from(member.offset).ok())?
    }
}

/// The head of the table that the instances of a type share for the names of their attributes.
#[cfg(all(Py_3_11, not(Py_3_14), not(Py_GIL_DISABLED)))]
#[repr(C)]
struct Keys {
    references: isize,
    log2_size: u8,
    log2_index_bytes: u8,
    kind: u8,
    version: u32,
    usable: isize,
    entries: isize,
}

/// The place of an attribute in the block of values. Names are only ever added to a type's table: it holds for good.
#[cfg(all(Py_3_11, not(Py_3_14), not(Py_GIL_DISABLED)))]
unsafe fn index(t: *mut PyTypeObject, name: *mut PyObject) -> Option<usize> {
    // `Py_TPFLAGS_MANAGED_DICT`, and from 3.13 on `Py_TPFLAGS_INLINE_VALUES`.
    let wanted = if cfg!(Py_3_13) { 1 << 2 } else { 1 << 4 };
    const SPLIT: u8 = 2;
    unsafe {
        if (*t).tp_flags & wanted == 0 {
            return None;
        }
        let keys = (*(t as *mut ffi::PyHeapTypeObject)).ht_cached_keys as *const Keys;
        if keys.is_null() || (*keys).kind != SPLIT {
            return None;
        }
        let entries = (keys.add(1) as *const u8).add(1 << (*keys).log2_index_bytes)
            as *const [*mut PyObject; 2];
        (0..(*keys).entries as usize).find(|i| (*entries.add(*i))[0] == name)
    }
}

#[cfg(not(all(Py_3_11, not(Py_3_14), not(Py_GIL_DISABLED))))]
unsafe fn index(_: *mut PyTypeObject, _: *mut PyObject) -> Option<usize> {
    None
}

/// The block of values of an instance whose type has one, or null when its attributes have moved to a dict.
#[inline(always)]
unsafe fn values(o: *mut PyObject) -> *const *mut PyObject {
    #[cfg(all(Py_3_13, not(Py_3_14), not(Py_GIL_DISABLED)))]
    unsafe {
        // capacity, size, embedded, valid; then the values.
        let block = (o as *const u8).add((*(*o).ob_type).tp_basicsize as usize);
        if *block.add(3) == 0 {
            std::ptr::null()
        } else {
            block.add(8) as _
        }
    }
    #[cfg(all(Py_3_12, not(Py_3_13)))]
    unsafe {
        // A dict, or one less than the address of the values.
        let tagged = *(o as *const usize).sub(3);
        if tagged & 1 == 0 {
            std::ptr::null()
        } else {
            (tagged + 1) as _
        }
    }
    #[cfg(all(Py_3_11, not(Py_3_12)))]
    unsafe {
        *(o as *const *const *mut PyObject).sub(4)
    }
    #[cfg(not(all(Py_3_11, not(Py_3_14), not(Py_GIL_DISABLED))))]
    {
        let _ = o;
        std::ptr::null()
    }
}

/// Reads attributes of every kind both ways and compares. Where one differs, no attribute is ever read directly.
pub fn self_test(py: Python) -> PyResult<()> {
    let scope = pyo3::types::PyDict::new(py);
    py.run(
        c"class Plain:
    shared = None
    def __init__(self):
        self.first, self.second, self.third = 1.5, 2.5, 3.5
class Slots:
    __slots__ = ('first', 'second')
    def __init__(self):
        self.first, self.second = 1.5, 2.5
class Both(Slots):
    def __init__(self):
        super().__init__()
        self.third, self.shared = 3.5, 4.5
objects = [Plain(), Slots(), Both(), Plain()]
objects[3].__dict__['second'] = 9.5
",
        None,
        Some(&scope),
    )?;
    let objects = scope.get_item("objects")?;
    let (mut good, mut direct) = (true, 0);
    for o in objects.iter().flat_map(|all| all.try_iter()).flatten() {
        let o = o?;
        for name in ["first", "second", "third", "shared"] {
            let name = pyo3::types::PyString::intern(py, name);
            let value = o.getattr_opt(&name)?;
            // SAFETY: both are alive; what is read is only compared.
            let read = unsafe {
                Attribute::find(o.as_ptr(), name.as_ptr())
                    .map_or(null_mut(), |a| a.read(o.as_ptr()))
            };
            good &= read.is_null() || value.is_some_and(|v| v.as_ptr() == read);
            direct += usize::from(!read.is_null());
        }
    }
    // At least what is in slots can be read on every CPython.
    TRUSTED.store(good && direct >= 4, Relaxed);
    Ok(())
}

/// For the tests: whether attributes are read directly from now on. Returns what was.
#[pyfunction]
pub fn trust_attributes(trust: bool) -> bool {
    TRUSTED.swap(trust, Relaxed)
}

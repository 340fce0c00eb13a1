"""Importing beside the replaced distribution, whose files are the same."""
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quickcache
from quickcache import _native

from .tools import script

PACKAGE = Path(quickcache.__file__).resolve().parent


@pytest.mark.parametrize('beside, warned', [
    ('quickcache-0.5.4.dist-info', True), ('quickcache-0.5.4-py3.11.egg-info', True),
    ('quickcache_rs-0.1.0.dist-info', False), ('quickcache_tools-1.0.dist-info', False),
])
def test_both_distributions_are_one_clear_warning(tmp_path, beside, warned):
    (tmp_path / 'quickcache').symlink_to(PACKAGE)
    (tmp_path / beside).mkdir()
    done = subprocess.run([sys.executable, '-W', 'always', '-c', 'import quickcache'], capture_output=True, text=True, check=True, cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE='1'))
    said = re.findall('UserWarning: (.*)', done.stderr)
    assert said == [
        'both quickcache and quickcache-rs are installed, and they own the same files: pip uninstall quickcache quickcache-rs, '
        'then pip install quickcache-rs'] * warned


def test_importing_leaves_out_what_only_some_use_needs():
    """Nine tenths of the import's time went into these: decorating needs `inspect`, a message `logging`."""
    program = 'import sys, quickcache; print(*{"asyncio", "dataclasses", "django", "inspect", "logging", "pickle", "threading"} & {*sys.modules})'
    asked = [sys.executable, '-S', '-c', program]      # site may import anything
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=dict(os.environ, PYTHONPATH=str(PACKAGE.parent)))
    assert done.stdout.split() == []


def test_the_logger_is_imported_when_it_is_asked_for(tmp_path):
    program = tmp_path / 'program.py'
    program.write_text("""
import sys
from quickcache import Memory, get_quickcache

@get_quickcache(cache=Memory())(['key'])
def look_up(key):
    return key

look_up(1), look_up(1), look_up.clear(1)
print('logging' in sys.modules)
import logging
from quickcache import cache_helpers, logger, quickcache_helper
print(logging.getLogger('quickcache') is logger.logger is cache_helpers.logger is quickcache_helper.logger)
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format='%(name)s %(message)s')
look_up(1)
""")
    done = subprocess.run([sys.executable, '-S', str(program)], capture_output=True, text=True, check=True,
                          env=dict(os.environ, PYTHONPATH=str(PACKAGE.parent)))
    key = re.search(r'quickcache\.look_up\.[0-9a-f]{8}/n1', done.stdout).group()
    assert done.stdout.splitlines() == [
        'False', 'True', 'quickcache checking caches for look_up', f'quickcache {key}', 'quickcache cache miss, calling look_up']


class Slot(ctypes.Structure):
    _fields_ = [('number', ctypes.c_int), ('value', ctypes.c_void_p)]


def module_slots():
    """{number: value} of what the module tells the interpreter before it is run (CPython's moduleobject.h)."""
    init = ctypes.PyDLL(_native.__file__).PyInit__native
    init.restype = ctypes.c_void_p
    head = object.__basicsize__ + 3 * ctypes.sizeof(ctypes.c_void_p)     # m_base: an object, m_init, m_index, m_copy
    after = ctypes.sizeof(ctypes.c_void_p) * 4                            # m_name, m_doc, m_size, m_methods
    slots = ctypes.cast(ctypes.c_void_p.from_address(init() + head + after).value, ctypes.POINTER(Slot))
    found = {}
    while slots[len(found)].number:
        slot = slots[len(found)]
        found[slot.number] = slot.value
    return found


def test_the_module_says_that_it_needs_the_gil():
    """So that a free-threaded interpreter turns it on. (Interpreters before 3.13 do not ask.)"""
    exec_, multiple_interpreters, gil = 2, 3, 4
    slots = module_slots()
    assert exec_ in slots and multiple_interpreters not in slots
    if sys.version_info >= (3, 13):
        assert slots[gil] is None      # Py_MOD_GIL_USED; 1 would be Py_MOD_GIL_NOT_USED
    else:
        assert gil not in slots


def test_an_interpreter_that_was_told_to_do_without_the_gil_is_refused(tmp_path):
    done = script(tmp_path, """
        import sys
        sys._is_gil_enabled = lambda: False
        try:
            import quickcache
        except ImportError as error:
            print(error)
        sys._is_gil_enabled = lambda: True
        import quickcache
    """)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == (
        'quickcache keeps its state under the GIL, and this interpreter was told to run without: leave out -X gil=0 and '
        'PYTHON_GIL=0, then importing quickcache turns the GIL on\n')

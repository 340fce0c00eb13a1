"""P6 when somebody sets the machine's clock: what the store counts by does not go with it."""
import json
import os
import subprocess
import sys
import textwrap

import pytest

from .tools import LONG, PACKAGE

#: Stands before the C library: the time of day is as many seconds off as the program says.
STEPPED = r"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <sys/time.h>
    #include <time.h>

    static long off;
    void step_to(long seconds) { off = seconds; }

    int clock_gettime(clockid_t clock, struct timespec *time) {
        static int (*real)(clockid_t, struct timespec *);
        if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
        int failed = real(clock, time);
        if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += off;
        return failed;
    }
"""

PROGRAM = """
    import ctypes, json, sys, time
    from quickcache import Store, TieredCache, get_quickcache, Memory

    step_to = ctypes.CDLL(sys.argv[1]).step_to
    step_to.argtypes = [ctypes.c_long]
    store, runs = Store(sys.argv[2], timeout=3600), []

    @get_quickcache(cache=store)(['key'])
    def f(key):
        runs.append(key)
        return key

    @get_quickcache(cache=TieredCache([Memory(timeout=3600), Store(sys.argv[2], timeout=3600)]))(['key'])
    def g(key):
        runs.append(key)
        return key

    told = []
    for number, days in enumerate([0, 400, -400, 20_000, 0]):
        step_to(days * 86_400)
        # What an earlier step has stored, and what this one does.
        values = [h(key) for h in (f, g) for key in range(number + 1)] * 2
        store.set(f'of {number}', number)
        kept = [store.get(f'of {earlier}') for earlier in range(number + 1)]
        told.append([time.time(), len(runs), kept, store.time_left('of 0'), f.explain(0).age, f.explain(0).time_left])
    print(json.dumps(told))
"""


@pytest.fixture
def stepped(tmp_path):
    source, library = tmp_path / 'stepped.c', tmp_path / 'stepped.so'
    source.write_text(textwrap.dedent(STEPPED))
    subprocess.run(['cc', '-shared', '-fPIC', '-o', str(library), str(source), '-ldl'], check=True)
    return library


def test_p6_a_clock_that_is_set_forward_or_back_ends_no_value_and_lengthens_none(stepped, tmp_path):
    program = tmp_path / 'program.py'
    program.write_text(textwrap.dedent(PROGRAM))
    ran = subprocess.run([sys.executable, str(program), str(stepped), str(tmp_path / 'store')], check=True,
                         stdout=subprocess.PIPE, timeout=LONG,
                         env={**os.environ, 'PYTHONPATH': str(PACKAGE), 'LD_PRELOAD': str(stepped)})
    told = json.loads(ran.stdout)
    times = [when for when, *_ in told]
    assert times[1] - times[0] > 399 * 86_400 and times[0] - times[2] > 399 * 86_400, 'the clock was not set'
    for number, (_, runs, kept, left, age, explained) in enumerate(told):
        assert runs == 2 * (number + 1), 'each key once for each function, when it was new'
        assert kept == list(range(number + 1))
        assert 3600 - LONG < left <= 3600 and 3600 - LONG < explained <= 3600
        assert 0 <= age < LONG

"""What the claims are made with: gates that a thread stops at, threads that give their result, caches that can be paused."""
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from quickcache import Memory, TieredCache, get_quickcache

Event = threading.Event
Lock = threading.Lock
#: Seconds after which a wait that an event should have ended is a failure. (Shorter when a wrong engine is tried.)
LONG = float(os.environ.get('CLAIMS_LONG', 20))
PACKAGE = Path(__file__).resolve().parents[2]


class Gate:
    """A place where whoever comes by waits until it is opened. `times`: how many are stopped, the rest walks through."""

    def __init__(self, times=1):
        self.times = times
        self.entered = Event()
        self._open = Event()

    def __call__(self):
        if self.times > 0:
            self.times -= 1
            self.entered.set()
            assert self._open.wait(LONG), 'the gate was never opened'

    def reached(self):
        assert self.entered.wait(LONG), 'nobody came to the gate'

    def open(self):
        self.times = 0
        self._open.set()


class Started:
    """A call on a thread of its own."""

    def __init__(self, function, *args, **kwargs):
        self._future = concurrent.futures.Future()

        def run():
            try:
                self._future.set_result(function(*args, **kwargs))
            except BaseException as error:
                self._future.set_exception(error)
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self):
        return self._future.result(LONG)

    def exception(self):
        return self._future.exception(LONG)

    def running(self):
        return not self._future.done()


def start(function, *args, **kwargs):
    return Started(function, *args, **kwargs)


class WatchedLock:
    """In place of `threading.Lock`: the engine waits on such locks, and it alone with a timeout."""

    def __init__(self):
        self._lock = Lock()

    def begins_to_wait(self):
        pass

    def acquire(self, blocking=True, timeout=-1):
        if timeout != -1:
            self.begins_to_wait()
        return self._lock.acquire(blocking, timeout)

    def release(self):
        self._lock.release()

    def locked(self):
        return self._lock.locked()

    __enter__ = acquire

    def __exit__(self, *_):
        self.release()


class Waits:
    """Counts the waits of followers and clears, so that a test knows that they have begun."""

    def __init__(self):
        self._begun = threading.Semaphore(0)

    def __enter__(self):
        begun = self._begun

        class Watched(WatchedLock):
            def begins_to_wait(self):
                begun.release()

        threading.Lock = Watched
        return self

    def __exit__(self, *_):
        threading.Lock = Lock

    def reach(self, count):
        for _ in range(count):
            assert self._begun.acquire(timeout=LONG), 'nobody waits'

    def none(self):
        assert not self._begun.acquire(blocking=False), 'somebody waited'


class UserCache:
    """What a user may give: get, set and delete on a dict. A gate can stand before a set and behind a get."""

    def __init__(self):
        self.store = {}
        self.before_set = lambda: None
        self.after_get = lambda: None
        self.before_delete = lambda: None

    def get(self, key, default=None):
        value = self.store.get(key, default)
        self.after_get()
        return value

    def set(self, key, value):
        self.before_set()
        self.store[key] = value

    def delete(self, key):
        self.before_delete()
        self.store.pop(key, None)


class DummyCache:
    """Keeps nothing."""

    def get(self, key, default=None):
        return default

    def set(self, key, value):
        pass

    def delete(self, key):
        pass


def locmem():
    backend = pytest.importorskip('django.core.cache.backends.locmem')
    cache = backend.LocMemCache('claims', {})
    cache.clear()
    return cache


def django_memory(name=None, timeout=300, **options):
    backends = pytest.importorskip('quickcache.django_backends')
    return backends.MemoryCache(name or os.urandom(8).hex(), {'TIMEOUT': timeout, 'OPTIONS': options})


CACHES = {
    'memory': Memory,
    'user': UserCache,
    'memory+user': lambda: TieredCache([Memory(), UserCache()]),
    'user+user': lambda: TieredCache([UserCache(), UserCache()]),
    'memory+memory': lambda: TieredCache([Memory(), Memory()]),
    'django locmem': locmem,
    'django memory+locmem': lambda: TieredCache([django_memory(), locmem()]),
}

every_cache = pytest.mark.parametrize('make_cache', CACHES.values(), ids=CACHES)


def some_caches(*names):
    return pytest.mark.parametrize('make_cache', [CACHES[name] for name in names], ids=names)


def cached(cache, vary_on=('key',), **options):
    return get_quickcache(cache=cache, **options)(list(vary_on))


class Source:
    """Where a function reads from. The function notes each execution, and stops at the gate with what it has read."""

    def __init__(self, value=1):
        self.value = value
        self.executions = 0
        self.gate = lambda: None

    def read(self):
        self.executions += 1
        value = self.value
        self.gate()
        return value

    def cached(self, cache, **options):
        @cached(cache, **options)
        def f(key, force=False):
            return self.read()
        return f

    def cached_async(self, cache, **options):
        @cached(cache, **options)
        async def f(key):
            self.executions += 1
            value = self.value
            await self.gate()
            return value
        return f


@contextlib.contextmanager
def eager_switching():
    """Threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def in_child(check):
    """Runs `check` in the child of a fork; it fails by raising, or by taking too long."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, LONG)
            check()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f'the child ended with {os.waitstatus_to_exitcode(status)}'


def script(tmp_path, text, timeout=60, **environment):
    """Runs a program in an interpreter of its own, from a file: sources are part of the keys."""
    path = tmp_path / 'program.py'
    path.write_text(textwrap.dedent(text))
    return subprocess.run([sys.executable, '-X', 'faulthandler', str(path)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, 'PYTHONPATH': str(PACKAGE), **environment})

"""Switches for tests: a clock that moves when it is told to, caches that are off, caches that are new.

Each is a context manager (and so a decorator of tests), and holds for the whole process, every thread of it, until its block
ends. While one is on, hits are slower; afterwards they are as fast as before.

    import pytest
    from quickcache import testing

    @pytest.fixture(autouse=True)
    def new_caches():
        with testing.isolated():
            yield
"""
import contextlib
import copy
import pickle
import sys
import threading
from datetime import timedelta

from . import _native
from .cache_helpers import CacheWithPresets, TieredCache

__all__ = ['FakeClock', 'disabled', 'fake_clock', 'isolated']


class FakeClock:
    """What `fake_clock` gives."""

    def __init__(self):
        self._over = False

    def advance(self, seconds):
        """Moves the clock on by `seconds`, a number or a timedelta, to the millisecond."""
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
            raise ValueError('FakeClock.advance: seconds must be a number of seconds, 0 or more, not {!r}'.format(seconds))
        if self._over:
            raise RuntimeError('FakeClock.advance: the block of this fake_clock() has ended; advance it inside')
        _native.set_fake_clock(_native.now() + round(seconds * 1000))


@contextlib.contextmanager
def fake_clock():
    """
    Inside, the timeouts of quickcache's own tiers go by a clock that stands still until ``clock.advance(seconds)``

    Use it to see what happens when a value expires, without waiting for it. What threads wait for each other, and
    ``clear_with(settle=...)``, take real time, and caches that are not quickcache's have their own clocks. What a memory tier
    holds at the end of a block that has gone ahead of the real time is dropped, and a store is emptied in which something was
    stored inside: give tests a store of their own, or use ``isolated()`` around this.

    :raises RuntimeError: inside another ``fake_clock()``
    """
    if _native.has_fake_clock():
        raise RuntimeError('fake_clock: there is one already; advance that one')
    clock = FakeClock()
    _native.set_fake_clock(_native.now())
    try:
        yield clock
    finally:
        clock._over = True
        _native.set_fake_clock(None)


@contextlib.contextmanager
def disabled():
    """
    Inside, every cached function runs each time: nothing is read from a cache and nothing stored

    Clears are done as ever. Use it to test a function itself, or to find out whether a cache is why a test fails.
    """
    _native.disable(True)
    try:
        yield
    finally:
        _native.disable(False)


@contextlib.contextmanager
def isolated():
    """
    Inside, every cached function begins with an empty cache; what was cached before is there again afterwards

    Use it around each test, so that none sees what another has cached. Functions get caches of their own that are made as
    theirs are, and share them where they share theirs; a cache that is not quickcache's is replaced by a dict. The caches
    themselves are left alone: what is done to a cache directly, by its text keys or its ``clear()``, is not seen by functions
    inside, nor is what a helper class of your own asks its ``cache`` itself. A clear inside clears inside only.
    """
    stand_ins = _StandIns()
    # One object, so that the end finds its own block.
    stand_in = stand_ins.of
    _native.isolate(stand_in)
    try:
        yield
    finally:
        _native.end_isolation(stand_in)


class _StandIns:
    """The caches of one isolated block."""

    def __init__(self):
        # By identity; the cache itself is held, so that no other gets its id.
        self._made = {}
        self._lock = threading.RLock()

    def of(self, cache):
        with self._lock:
            if id(cache) not in self._made:
                made = self._make(cache)
                self._made[id(cache)] = cache, made
                # A cache that is one of ours stands for itself.
                self._made[id(made)] = made, made
            return self._made[id(cache)][1]

    def _make(self, cache):
        if type(cache) in (_native.Memory, _native.Store, _native.Redis):
            return cache._like()
        if type(cache) is CacheWithPresets:
            return cache._replace(cache=self.of(cache.cache))
        if type(cache) is TieredCache:
            return TieredCache([self.of(tier) for tier in cache.caches])
        backends = sys.modules.get('quickcache.django_backends')
        if backends is not None and type(cache) is backends.MemoryCache:
            made = copy.copy(cache)
            made._memory, made._lock = self.of(cache._memory), threading.RLock()
            return made
        if backends is not None and type(cache) is backends.StoreCache:
            made = copy.copy(cache)
            made._store = self.of(cache._store)
            return made
        if backends is not None and type(cache) is backends.RedisCache:
            made = copy.copy(cache)
            made._redis = self.of(cache._redis)
            return made
        base = sys.modules.get('django.core.cache.backends.base')
        pickles = base is not None and isinstance(cache, base.BaseCache)
        # Under the name of the cache's class: explain and the log give it.
        return type(type(cache).__name__, (_Dict,), {})(pickles)


class _Dict:
    """A cache that holds everything until its time has come, by the clock of the block."""

    def __init__(self, pickles):
        self._entries = {}
        self._pickles = pickles

    def get(self, key, default=None):
        value, due = self._entries.get(key, (None, 0))
        if due is not None and due <= _native.now():
            return default
        return pickle.loads(value) if self._pickles else value

    def set(self, key, value, timeout=None):
        number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        due = _native.now() + timeout * 1000 if number else None
        self._entries[key] = pickle.dumps(value) if self._pickles else value, due

    def delete(self, key):
        self._entries.pop(key, None)

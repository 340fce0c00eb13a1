"""Django cache backends made of quickcache's own tiers.

    CACHES = {
        'locmem': {'BACKEND': 'quickcache.django_backends.MemoryCache', 'LOCATION': 'quickcache'},
        'default': {'BACKEND': 'quickcache.django_backends.StoreCache'},
        'network': {'BACKEND': 'quickcache.django_backends.RedisCache', 'LOCATION': 'redis://localhost:6379/0'},
    }

Functions that are cached with `get_django_quickcache` reach these tiers without going through Django; everything else
sees an ordinary backend.
"""
import contextlib
import pickle
import threading

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, InvalidCacheBackendError, default_key_func
from django.utils.encoding import force_bytes

from . import redis_quickcache
from ._native import Memory, Redis, Store

# Backends of one LOCATION share their entries, whichever thread they were made for.
_memories: dict = {}
_memories_lock = threading.Lock()


# Exact types whose values cannot change: stored as they are.
_IMMUTABLE = frozenset((type(None), bool, int, float, complex, str, bytes))


class _Pickled:
    """A value that is pickled already: storing it runs none of its code, loading it gives the value."""

    __slots__ = ('_data',)

    def __init__(self, value):
        self._data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def __reduce__(self):
        return pickle.loads, (self._data,)


def _ready(value):
    """What can be stored under a lock: pickling runs the value's own code, which may use the cache or wait for who does."""
    return value if type(value) in _IMMUTABLE else _Pickled(value)


class MemoryCache(BaseCache):
    """The memory of this process, as Django's locmem: values are copied by pickle unless they cannot change.

    OPTIONS: `MAX_ENTRIES` (10,000), `MAX_BYTES` (64 MiB), `CULL_FREQUENCY` (3; 0 empties the cache when it is full). Of
    several backends with one LOCATION, the first one's bounds hold for all.
    """

    def __init__(self, name, params):
        options = params.get('OPTIONS', {})
        if 'MAX_ENTRIES' not in options and 'max_entries' not in params:
            params = dict(params, max_entries=10_000)
        super().__init__(params)
        with _memories_lock:
            if name not in _memories:
                _memories[name] = (
                    Memory(None, max_entries=self._max_entries or None, max_bytes=options.get('MAX_BYTES', 64 << 20),
                           copy=True),
                    threading.RLock(),
                )
            self._memory, self._lock = _memories[name]

    def _quickcache_tier(self):
        """The tier behind this backend, what comes before its keys (None: another key function decides), the class this holds
        for, and the timeout of a `set` without one.
        """
        prefix = self.key_func('', self.key_prefix, self.version) if self.key_func is default_key_func else None
        return self._memory, prefix, MemoryCache, self.default_timeout

    def _seconds(self, timeout):
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout

    def _store(self, key, value, timeout):
        known = key in self._memory
        if not known and len(self._memory) >= self._max_entries:
            self._cull()
        self._memory.set(key, value, self._seconds(timeout))
        if known:
            self._visit(key)

    def _visit(self, key):
        """A key that is stored again is in use, as in locmem: to look for it counts as a visit."""
        return key in self._memory

    def _cull(self):
        if self._cull_frequency == 0:
            self._memory.clear()
        else:
            self._memory.shrink(len(self._memory) - len(self._memory) // self._cull_frequency)

    def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        key = self.make_and_validate_key(key, version=version)
        value = _ready(value)
        with self._lock:
            if key in self._memory:
                return False
            self._store(key, value, timeout)
            return True

    def get(self, key, default=None, version=None):
        return self._memory.get(self.make_and_validate_key(key, version=version), default)

    def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        key = self.make_and_validate_key(key, version=version)
        value = _ready(value)
        with self._lock:
            self._store(key, value, timeout)

    def touch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
        key = self.make_and_validate_key(key, version=version)
        with self._lock:
            return self._memory.touch(key, self._seconds(timeout))

    def incr(self, key, delta=1, version=None):
        key = self.make_and_validate_key(key, version=version)
        with self._lock:
            value = self._memory.get(key, self)
            if value is self:
                raise ValueError("Key '%s' not found" % key)
            value += delta
            self._memory.set(key, value, self._memory.time_left(key))
            self._visit(key)
            return value

    def has_key(self, key, version=None):
        return self.make_and_validate_key(key, version=version) in self._memory

    def delete(self, key, version=None):
        return self._memory.delete(self.make_and_validate_key(key, version=version))

    def clear(self):
        self._memory.clear()


@contextlib.contextmanager
def _in_pickles_words(value):
    """A value that cannot be stored is the error of pickle that it is with Django's own backends."""
    try:
        yield
    except TypeError:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        raise


class _TierCache(BaseCache):
    """A backend over a tier that does what the methods of a backend do, and serialises."""

    # In the words of `MemoryCache._quickcache_tier`, which each backend says for itself alone: a subclass may do anything else.
    def _said(self, tier, cls):
        prefix = self.key_func('', self.key_prefix, self.version) if self.key_func is default_key_func else None
        return tier, prefix, cls, self.default_timeout

    @property
    def _tier(self):
        return self._quickcache_tier()[0]

    def _seconds(self, timeout):
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout

    def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        key = self.make_and_validate_key(key, version=version)
        with _in_pickles_words(value):
            return self._tier.add(key, value, self._seconds(timeout))

    def get(self, key, default=None, version=None):
        return self._tier.get(self.make_and_validate_key(key, version=version), default)

    def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        key = self.make_and_validate_key(key, version=version)
        with _in_pickles_words(value):
            self._tier.set(key, value, self._seconds(timeout))

    def touch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
        return self._tier.touch(self.make_and_validate_key(key, version=version), self._seconds(timeout))

    def incr(self, key, delta=1, version=None):
        return self._tier.incr(self.make_and_validate_key(key, version=version), delta)

    def has_key(self, key, version=None):
        return self.make_and_validate_key(key, version=version) in self._tier

    def delete(self, key, version=None):
        return self._tier.delete(self.make_and_validate_key(key, version=version))

    def clear(self):
        self._tier.clear()


class StoreCache(_TierCache):
    """The store that all processes of this machine and user share, with no server; see `quickcache.Store`.

    LOCATION: its folder (`''`: this user's cache folder). OPTIONS: `MAX_BYTES` (256 MiB). Values are stored typed, else pickled.
    """

    def __init__(self, path, params):
        super().__init__(params)
        options = params.get('OPTIONS', {})
        self._store = Store(path or None, None, max_bytes=options.get('MAX_BYTES', 256 << 20))

    def _quickcache_tier(self):
        return self._said(self._store, StoreCache)


def _secrets():
    """What the values in a network tier are sealed with: nobody who does not know SECRET_KEY can have one unpickled here."""
    from django.conf import settings
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [b'quickcache.django_backends.RedisCache ' + force_bytes(key) for key in keys]


class RedisCache(_TierCache):
    """A Redis or Valkey server that several machines share; see `quickcache.Redis`.

    LOCATION: its URL, or with the option `PRIMARY` a list of those of its sentinels, with `CLUSTER` of some nodes. OPTIONS: those
    of `quickcache.Redis` but its timeout and secret, in capitals: `NAMESPACE`, `BUDGET`, `STALENESS`, `CONNECTIONS`, `FOLDER`,
    `CA_FILE`, `CLIENT_CERT`, `PRIMARY`, `SENTINEL_PASSWORD`, `CLUSTER`, `SERVE_WHILE_UNREACHABLE`. Values are stored typed, else
    pickled, and sealed with a key that is made of SECRET_KEY; what was sealed by one of SECRET_KEY_FALLBACKS is read. While the
    server cannot be reached nothing is found and nothing stored, and nothing raised. `clear()` removes all that is under the
    namespace, of every backend and function.
    """

    def __init__(self, location, params):
        super().__init__(params)
        options = {name.lower(): value for name, value in params.get('OPTIONS', {}).items()}
        # The bounds of backends that cull.
        for name in ('max_entries', 'cull_frequency'):
            options.pop(name, None)
        if 'secret' in options or 'timeout' in options:
            raise InvalidCacheBackendError(
                'RedisCache: OPTIONS has SECRET or TIMEOUT; values are sealed with SECRET_KEY, and TIMEOUT stands beside OPTIONS')
        unknown = sorted(option.upper() for option in options if option not in redis_quickcache._OWN)
        if unknown:
            raise InvalidCacheBackendError(
                'RedisCache: OPTIONS has {}, which it does not know, but {} (user, password and database are in LOCATION)'.format(
                    ', '.join(unknown), ', '.join(name.upper() for name in redis_quickcache._OWN if name != 'secret')))
        self._redis = Redis(location or 'redis://localhost:6379/0', None, secret=_secrets(), **options)

    def _quickcache_tier(self):
        return self._said(self._redis, RedisCache)

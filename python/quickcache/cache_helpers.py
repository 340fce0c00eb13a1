"""Caches made of caches: one with a timeout and a key prefix, one of several tiers.

A decorated function whose cache is exactly one of these is driven tier by tier by the engine, in the same order of calls;
what stands here is what a direct caller, a subclass or a patch sees.
"""
from collections import namedtuple

from . import _native
from . import logger as log


def __getattr__(name):
    if name == 'logger':
        return log.logger
    raise AttributeError('module {!r} has no attribute {!r}'.format(__name__, name))


class ForceSkipCache(Exception):
    """Raised by a prefix function or a backend to say: as if there were no cache this time."""


class CacheWithPresets(namedtuple('CacheWithPresets', ['cache', 'timeout', 'prefix_function'])):
    """A cache whose every `set` has the timeout `timeout` (seconds) and whose keys begin with `prefix_function()`."""

    # make prefix_function optional
    def __new__(cls, cache, timeout, prefix_function=None):
        return super().__new__(cls, cache, timeout, prefix_function)

    def prefixed_key(self, key):
        if self.prefix_function:
            return self.prefix_function() + key
        else:
            return key

    def get(self, key, default=None):
        try:
            return self.cache.get(self.prefixed_key(key), default=default)
        except ForceSkipCache:
            return default

    def set(self, key, value):
        try:
            return self.cache.set(self.prefixed_key(key), value, timeout=self.timeout)
        except ForceSkipCache:
            pass

    def delete(self, key):
        try:
            return self.cache.delete(self.prefixed_key(key))
        except ForceSkipCache:
            pass


class CacheWithTimeout(CacheWithPresets):
    """The old name of `CacheWithPresets`."""

    def __new__(cls, cache, timeout):
        import warnings
        warnings.warn("CacheWithTimeout is deprecated. Please use CacheWithPresets instead.",
                      DeprecationWarning, stacklevel=1)
        return super().__new__(cls, cache, timeout)


class TieredCache:
    """
    Several caches, asked in order: the fast, local ones first, the slow, shared ones last.

    A hit in a slower tier is stored in the faster ones (backfill). Each tier has its own timeout: `set` takes none.
    """

    def __init__(self, caches):
        self.caches = caches

    def __setattr__(self, name, value):
        made = 'caches' in self.__dict__
        object.__setattr__(self, name, value)
        if made:
            _native.retire_plans()

    def __delattr__(self, name):
        object.__delattr__(self, name)
        _native.retire_plans()

    def get(self, key, default=None):
        missed: list = []
        for cache in self.caches:
            content = cache.get(key, default=Ellipsis)
            if content is not Ellipsis:
                for missed_cache in missed:
                    missed_cache.set(key, content)
                log.logger.debug('missed caches: {}'.format([c.__class__.__name__ for c in missed]))
                log.logger.debug('hit cache: {}'.format(cache.__class__.__name__))
                return content
            else:
                missed.append(cache)
        return default

    def set(self, key, value):
        for cache in self.caches:
            cache.set(key, value)

    def delete(self, key):
        for cache in self.caches:
            cache.delete(key)

"""quickcache over Django's caches: the alias 'locmem' in front of the alias 'default'."""
from collections import namedtuple

from django.core.cache import InvalidCacheBackendError, caches

from .cache_helpers import CacheWithPresets, TieredCache
from .quickcache import ConfigMixin, assert_function, get_quickcache
from .quickcache_helper import QuickCacheHelper


class DjangoQuickCache(namedtuple('DjangoQuickCache', [
    'vary_on',
    'skip_arg',
    'timeout',
    'memoize_timeout',
    'helper_class',
    'assert_function',
    'session_function',
]), ConfigMixin):
    """The configuration of a cache in two tiers, for `memoize_timeout` and `timeout` seconds; 0 or None: without that tier."""

    def call(self):
        cache = tiered_django_cache([('locmem', self.memoize_timeout, self.session_function),
                                     ('default', self.timeout, None)])
        return get_quickcache(
            cache=cache,
            vary_on=self.vary_on,
            skip_arg=self.skip_arg,
            helper_class=self.helper_class,
            assert_function=self.assert_function,
        ).call()


def tiered_django_cache(cache_with_preset_arg_lists):
    """A `TieredCache` of `(alias, timeout, session_function)`; those without a timeout are left out."""
    return TieredCache([
        CacheWithPresets(_cache(cache_name), timeout, session_function)
        for cache_name, timeout, session_function in cache_with_preset_arg_lists
        if timeout
    ])


def _cache(alias):
    try:
        return caches[alias]
    except InvalidCacheBackendError as error:
        if alias in caches.settings:
            raise
        raise InvalidCacheBackendError(
            "{} get_django_quickcache keeps values in the aliases 'locmem' (for memoize_timeout) and 'default' (for timeout): "
            'add {!r} to CACHES in the settings, or give 0 as its timeout to go without it'.format(error, alias)) from error


get_django_quickcache = DjangoQuickCache(
    vary_on=Ellipsis,
    skip_arg=None,
    timeout=Ellipsis,
    memoize_timeout=Ellipsis,
    helper_class=QuickCacheHelper,
    assert_function=assert_function,
    session_function=None,
).but_with

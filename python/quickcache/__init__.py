"""Cache a function by naming three things: the function, the cache, and the arguments its value varies on."""
from .cache_helpers import ForceSkipCache, TieredCache
from .quickcache import get_quickcache
from .quickcache_helper import QuickCacheHelper
from ._native import Memory, __version__

__all__ = [
    'ForceSkipCache',
    'Memory',
    'QuickCacheHelper',
    'TieredCache',
    '__version__',
    'get_quickcache',
]

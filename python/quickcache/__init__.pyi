from ._native import Memory as Memory, __version__ as __version__, register as register
from .cache_helpers import ForceSkipCache as ForceSkipCache, TieredCache as TieredCache
from .quickcache import get_quickcache as get_quickcache
from .quickcache_helper import QuickCacheHelper as QuickCacheHelper

__all__ = [
    'ForceSkipCache',
    'Memory',
    'QuickCacheHelper',
    'TieredCache',
    '__version__',
    'get_quickcache',
    'register',
]

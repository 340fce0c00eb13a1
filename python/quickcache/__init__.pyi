from ._native import (
    Memory as Memory,
    Redis as Redis,
    Store as Store,
    __version__ as __version__,
    register as register,
)
from .cache_helpers import ForceSkipCache as ForceSkipCache, TieredCache as TieredCache
from .errors import ClearPending as ClearPending
from .local import get_local_quickcache as get_local_quickcache
from .quickcache import get_quickcache as get_quickcache
from .quickcache_helper import QuickCacheHelper as QuickCacheHelper
from .redis_quickcache import get_redis_quickcache as get_redis_quickcache

__all__ = [
    'ClearPending',
    'ForceSkipCache',
    'Memory',
    'QuickCacheHelper',
    'Redis',
    'Store',
    'TieredCache',
    '__version__',
    'get_local_quickcache',
    'get_quickcache',
    'get_redis_quickcache',
    'register',
]

from ._native import Memory as Memory, Store as Store, __version__ as __version__, register as register
from .cache_helpers import ForceSkipCache as ForceSkipCache, TieredCache as TieredCache
from .errors import ClearPending as ClearPending
from .local import get_local_quickcache as get_local_quickcache
from .quickcache import get_quickcache as get_quickcache
from .quickcache_helper import QuickCacheHelper as QuickCacheHelper

__all__ = [
    'ClearPending',
    'ForceSkipCache',
    'Memory',
    'QuickCacheHelper',
    'Store',
    'TieredCache',
    '__version__',
    'get_local_quickcache',
    'get_quickcache',
    'register',
]

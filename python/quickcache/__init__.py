"""Cache a function by naming three things: the function, the cache, and the arguments its value varies on."""
import os

try:
    from ._native import Memory, Redis, Store, __version__, register
except ImportError as error:
    if 'subinterpreters' not in str(error):
        raise
    raise ImportError(
        'quickcache cannot be imported in a sub-interpreter, where it would share its memory with others. Under mod_wsgi set '
        'WSGIApplicationGroup %{GLOBAL}, so that the application runs in the main interpreter') from None

from .cache_helpers import ForceSkipCache, TieredCache
from .errors import ClearPending
from .local import get_local_quickcache
from .quickcache import get_quickcache
from .quickcache_helper import QuickCacheHelper
from .redis_quickcache import get_redis_quickcache

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


def _warn_of_both():
    """The replaced distribution owns the same files: whichever was installed last has overwritten some of the other's."""
    try:
        beside = os.listdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    except OSError:
        return
    if any(name.startswith('quickcache-') and name.endswith(('.dist-info', '.egg-info')) for name in beside):
        import warnings
        warnings.warn(
            'both quickcache and quickcache-rs are installed, and they own the same files: '
            'pip uninstall quickcache quickcache-rs, then pip install quickcache-rs', UserWarning, stacklevel=3)


_warn_of_both()

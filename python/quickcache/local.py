"""The constructor for one machine: memory in front, the machine's store behind it, no server."""
from ._native import Store


def get_local_quickcache(memoize_timeout=10, timeout=300, path=None, *, max_bytes=256 << 20, **options):
    """
    A decorator for functions whose values all processes of this machine and user share

    A value lives for `memoize_timeout` seconds in the memory of each process, and for `timeout` seconds in the store, a folder:
    `path`, by default this user's cache folder. `max_bytes` is what values may take there. A clear in one process is seen by all
    of them at once. The other `options` are those of `quickcache.configuration.Configuration`; what the store does when
    something is wrong with its files, `quickcache.Store` tells.

        quickcache = get_local_quickcache()

        @quickcache(['person.id'], skip_arg='force')
        def get_all_posts(person, force=False): ...

    :raises TypeError: for an option that there is not, or a value of the wrong type
    :raises ValueError: for a value that cannot be
    """
    # Not when the package is imported: whoever uses drop-in functions only does without it.
    from .configuration import _over
    return _over(Store(path, timeout, max_bytes=max_bytes), 'get_local_quickcache', memoize_timeout, timeout, options,
                 ('path', 'max_bytes'))

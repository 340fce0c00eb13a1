"""The constructor for several machines: memory in front, a Redis or Valkey server behind it."""
from ._native import Redis

#: The options of `Redis` beside `url` and `timeout`.
_OWN = (
    'namespace', 'budget', 'staleness', 'connections', 'folder', 'ca_file', 'client_cert', 'primary', 'sentinel_password',
    'cluster', 'secret', 'serve_while_unreachable')


def get_redis_quickcache(url='redis://localhost:6379/0', memoize_timeout=10, timeout=300, **options):
    """
    A decorator for functions whose values the processes of several machines share

    A value lives for `memoize_timeout` seconds in the memory of each process, and for `timeout` seconds on the server of `url`.
    A clear on one machine reaches the memory of all others within `staleness` (0.25 seconds), whatever the network does. The
    `options` are those of `quickcache.Redis`, which tells what happens while the server cannot be reached, and of
    `quickcache.configuration.Configuration`.

        quickcache = get_redis_quickcache('redis://localhost:6379/0')

        @quickcache(['person.id'], skip_arg='force')
        def get_all_posts(person, force=False): ...

    :raises TypeError: for an option that there is not, or a value of the wrong type
    :raises ValueError: for a value that cannot be
    """
    from .configuration import _over
    own = {option: options.pop(option) for option in _OWN if option in options}
    return _over(Redis(url, timeout, **own), 'get_redis_quickcache', memoize_timeout, timeout, options, ('url', *_OWN))

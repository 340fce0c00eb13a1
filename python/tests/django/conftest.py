"""Settings for the whole process, the replaced library beside ours, and real servers.

Every wait here has an end: the clients give up after five seconds, threads are joined with a limit.
"""
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

def _has_django():
    try:
        import django.conf
    except ImportError:     # a folder of this name may be importable
        return False
    return bool(django.conf)


# Without Django there is nothing to collect here: matrix.py makes the environments that have it.
HAS_DJANGO = _has_django()
collect_ignore_glob = [] if HAS_DJANGO else ['*']

ROOT = Path(__file__).resolve().parents[3]
LOCMEM = 'django.core.cache.backends.locmem.LocMemCache'
MEMORY = 'quickcache.django_backends.MemoryCache'


def tool(path):
    """A module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module     # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session', autouse=True)
def django_set_up():
    """Not earlier: whoever imports this folder beside another may have settings of their own."""
    from django.conf import settings
    if not settings.configured:
        settings.configure(USE_TZ=True, SECRET_KEY='test', CACHES={'default': {'BACKEND': LOCMEM}})
        import django
        django.setup()


@pytest.fixture(scope='session')
def servers():
    """A function that starts a server of a kind, once; they end with the session."""
    from contextlib import ExitStack
    tools = tool(ROOT / 'tools' / 'servers.py')
    with ExitStack() as stack:
        running = {}

        def start(kind):
            if kind not in running:
                try:
                    running[kind] = stack.enter_context(getattr(tools, kind)())
                except tools.ServerError as error:
                    pytest.skip(f'no {kind} server: {error}')
            return running[kind]
        yield start


def shared_tier(kind, servers):
    """What CACHES says of the alias 'default'."""
    if kind in ('redis', 'memcached', 'memcached unpooled'):
        client = 'redis' if kind == 'redis' else 'pymemcache'
        pytest.importorskip(client, reason=f'{client} is not installed in this environment; matrix.py makes some that have it')
    if kind == 'redis':
        return {'BACKEND': 'django.core.cache.backends.redis.RedisCache', 'LOCATION': servers('redis').url,
                'OPTIONS': {'socket_timeout': 5, 'socket_connect_timeout': 5}}
    if kind == 'memcached unpooled':    # as Django's documentation writes it
        return {'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache', 'LOCATION': servers('memcached').address}
    if kind == 'memcached':
        # A configuration keeps the connection of the thread that decorated, as 0.5.4 did: pymemcache's is for one thread only,
        # unless it is told to pool.
        return {'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache', 'LOCATION': servers('memcached').address,
                'OPTIONS': {'timeout': 5, 'connect_timeout': 5, 'use_pooling': True}}
    return {'BACKEND': {'locmem': LOCMEM, 'memory': MEMORY}[kind], 'LOCATION': 'shared'}


@pytest.fixture
def redis_behind_locmem(servers):
    from django.test import override_settings
    with override_settings(CACHES={'locmem': {'BACKEND': LOCMEM, 'LOCATION': 'front'}, 'default': shared_tier('redis', servers)}):
        yield


@pytest.fixture
def nobody_behind_locmem():
    """A server that does not answer."""
    pytest.importorskip('redis', reason='redis is not installed in this environment')
    from django.test import override_settings
    nobody = {'BACKEND': 'django.core.cache.backends.redis.RedisCache', 'LOCATION': 'redis://127.0.0.1:1/0'}
    with override_settings(CACHES={'locmem': {'BACKEND': LOCMEM, 'LOCATION': 'front'}, 'default': nobody}):
        yield


@pytest.fixture(params=['locmem', 'memory', 'redis', 'memcached', 'memcached unpooled'])
def site(request, servers):
    """A Django site with locmem in front of a shared tier; its kind. Both are empty at the start."""
    from django.core.cache import caches
    from django.test import override_settings
    front = MEMORY if request.param == 'memory' else LOCMEM
    with override_settings(CACHES={'locmem': {'BACKEND': front, 'LOCATION': 'front'},
                                   'default': shared_tier(request.param, servers)}):
        for alias in ('locmem', 'default'):
            caches[alias].clear()
        yield request.param


@pytest.fixture(scope='session')
def seed():
    """`get_django_quickcache` of 0.5.4."""
    package = tool(ROOT / 'tools' / 'setup' / 'seed.py').load_seed()
    return importlib.import_module(f'{package.__name__}.django_quickcache').get_django_quickcache


@pytest.fixture(scope='session')
def ours():
    from quickcache.django_quickcache import get_django_quickcache
    return get_django_quickcache

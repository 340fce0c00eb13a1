"""`RedisCache` behind `MemoryCache`, as `get_django_quickcache` reaches it."""
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
    import sys, time
    from django.conf import settings
    url, folder, namespace = sys.argv[1:]

    def backend(**options):
        return {{'BACKEND': 'quickcache.django_backends.RedisCache', 'LOCATION': url, {place}
                'OPTIONS': {{'NAMESPACE': namespace, 'FOLDER': folder, 'BUDGET': 5, **options}}}}

    settings.configure(SECRET_KEY='{secret}', SECRET_KEY_FALLBACKS={fallbacks}, CACHES={{
        'locmem': {{'BACKEND': 'quickcache.django_backends.MemoryCache'}}, 'default': backend()}})
    from django.core.cache import InvalidCacheBackendError, cache, caches
    from quickcache.django_quickcache import get_django_quickcache
    source = [1]

    class Pickled:
        pass

    @get_django_quickcache(memoize_timeout=10, timeout=300)(['key'])
    def f(key):
        return source[0]
"""


@pytest.fixture(scope='module')
def server():
    spec = importlib.util.spec_from_file_location('quickcache_test_servers', ROOT / 'tools' / 'servers.py')
    servers = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = servers
    spec.loader.exec_module(servers)
    with servers.redis() as running:
        yield running


@pytest.fixture
def run(server, tmp_path):
    namespace = 'test-' + os.urandom(8).hex()

    def run(text, place='', secret='one', fallbacks=()):
        program = textwrap.dedent(PROGRAM.format(place=place, secret=secret, fallbacks=list(fallbacks))) + textwrap.dedent(text)
        # In a file, of which its text can be read.
        file = tmp_path / 'program.py'
        file.write_text(program)
        subprocess.run([sys.executable, file, server.url, tmp_path / 'machine', namespace], check=True, timeout=60)
    return run


@pytest.mark.parametrize('place', ['', "'KEY_PREFIX': 'site',", "'KEY_PREFIX': 'a/b/', 'VERSION': 3,"])
def test_functions_take_the_native_path_and_the_backend_sees_what_they_store(run, place):
    run("""
        assert (f(1), f(1)) == (1, 1)
        assert f.stats().executions == 1 and f.stats().outer_hits == 0
        assert cache.get(f.get_cache_key(1)) == 1
        source[0] = 2
        f.clear(1)
        assert f(1) == 2
        cache.set(f.get_cache_key(1), 3)
        time.sleep(0.25)
        assert f(1) == 3
        cache.delete(f.get_cache_key(1))
        time.sleep(0.25)
        assert f(1) == 2
    """, place)
    # Another process finds it.
    run('assert f(1) == 2 and f.stats().redis_hits == 1', place)


def test_secret_keys_rotate_and_nobody_without_one_has_a_value_unpickled_here(run):
    run("cache.set('key', Pickled()); assert isinstance(cache.get('key'), Pickled)")
    run("assert isinstance(cache.get('key'), Pickled)", secret='two', fallbacks=['one'])
    run("assert cache.get('key') is None", secret='two')


def test_options_that_there_are_not_are_told(run):
    run("""
        for options, says in (({'NAMESPAC': 'a'}, 'OPTIONS has NAMESPAC, which it does not know, but NAMESPACE, '),
                              ({'PASSWORD': 'a', 'db': 1}, 'OPTIONS has DB, PASSWORD, '),
                              ({'PASSWORD': 'a'}, 'password and database are in LOCATION'),
                              ({'SECRET': b'a'}, 'SECRET_KEY')):
            settings.CACHES['wrong'] = backend(**options)
            caches.settings.update(caches.configure_settings(None))
            try:
                caches['wrong']
            except InvalidCacheBackendError as error:
                assert says in str(error), error
            else:
                raise AssertionError(says)
    """)

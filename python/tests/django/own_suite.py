"""Django's own tests of a cache backend, run on a backend of `quickcache.django_backends`.

    python own_suite.py DJANGO_SOURCE MemoryCache|StoreCache|RedisCache
                              as Django's runner prints it; the last line says how many ran and what was skipped

The cases are those of Django's `tests/cache/tests.py`, subclassed here as Django subclasses them for each backend of its own:
every case of `BaseCacheTests`, those of its locmem backend, and the cases of the code above a backend (cache utilities,
middleware, i18n, templates), with the backend exchanged. StoreCache and RedisCache cull nothing by a number of entries: as for
Django's own memcached and Redis backends the suite is told that it has no caches that do, and skips those cases; and they take no lock,
so that nothing is to be said about pickling under one.
"""
import inspect
import re
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

BACKENDS = 'quickcache.django_backends.'
MEMORY, STORE, REDIS = (BACKENDS + name for name in ('MemoryCache', 'StoreCache', 'RedisCache'))
LOCMEM = 'django.core.cache.backends.locmem.LocMemCache'

# Cases of LocMemCacheTests that read locmem's private attributes: the same claims stand below, asked of ours.
REWRITTEN = ('test_locking_on_pickle', 'test_incr_decr_timeout')
# The classes above a backend: their settings name locmem.
ABOVE = ('CacheUtils', 'PrefixedCacheUtils', 'CacheHEADTest', 'CacheI18nTest', 'PrefixedCacheI18nTest',
         'CacheMiddlewareTest', 'TestWithTemplateResponse')


def configure(backend):
    from django.conf import settings
    settings.configure(
        SECRET_KEY='django_tests_secret_key', USE_TZ=False, LANGUAGE_CODE='en',
        INSTALLED_APPS=['cache'], ROOT_URLCONF='urls', DEFAULT_AUTO_FIELD='django.db.models.AutoField',
        CACHES={'default': backend},
        DATABASES={alias: {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'} for alias in ('default', 'other')},
        TEMPLATES=[{'BACKEND': 'django.template.backends.django.DjangoTemplates', 'APP_DIRS': True, 'DIRS': []}],
    )
    import django
    django.setup()


def exchanged(settings, ours):
    """CACHES with our backend in the place of locmem; `ours` gives it for a LOCATION."""
    return {alias: {**params, **ours(params.get('LOCATION', ''))} if params['BACKEND'] == LOCMEM else params
            for alias, params in settings.items()}


def above(ours):
    """The classes of the code above a backend."""
    from cache import tests
    from django.test import override_settings
    for name in ABOVE:
        case = getattr(tests, name)
        settings = exchanged(case._overridden_settings['CACHES'], ours)
        yield override_settings(CACHES=settings)(type(name, (case,), {'__module__': __name__}))


def shared_cases(place):
    """Of a backend over a tier that others share; `place` gives it for a name."""
    from cache import tests
    from django.core.cache import cache, caches
    from django.test import TestCase, override_settings

    @override_settings(CACHES=tests.caches_setting_for_tests(base=place(''), exclude={'cull', 'zero_cull'}))
    class SharedCacheTests(tests.BaseCacheTests, TestCase):
        def test_incr_decr_timeout(self):
            cache.set('value', 1, timeout=cache.default_timeout * 10)
            left = cache._tier.time_left(cache.make_key('value'))
            for change in (cache.incr, cache.decr):
                change('value')
                self.assertAlmostEqual(left, cache._tier.time_left(cache.make_key('value')), delta=1)

        @override_settings(CACHES={'default': place(''), 'other': place('other')})
        def test_multiple_caches(self):
            cache.set('value', 42)
            self.assertEqual(caches['default'].get('value'), 42)
            self.assertIsNone(caches['other'].get('value'))

    return [SharedCacheTests, *above(place)]


def memory_cases():
    """The test classes, made from Django's."""
    from cache import tests
    from django.core.cache import cache, caches
    from django.test import TestCase, override_settings

    @override_settings(CACHES=tests.caches_setting_for_tests(BACKEND=MEMORY))
    class MemoryCacheTests(tests.BaseCacheTests, TestCase):
        def test_locking_on_pickle(self):
            # Our lock is an RLock, which has no `locked()` before Python 3.14.
            bad_obj = tests.PicklingSideEffect(SimpleNamespace(_lock=SimpleNamespace(locked=cache._lock._is_owned)))
            bad_obj.locked = None
            cache.set('set', bad_obj)
            self.assertIs(bad_obj.locked, False, 'Cache was locked during pickling')
            self.assertIs(cache.add('add', bad_obj), True)
            self.assertIs(bad_obj.locked, False, 'Cache was locked during pickling')

        def test_incr_decr_timeout(self):
            cache.set('value', 1, timeout=cache.default_timeout * 10)
            key = cache.make_key('value')

            def expiry():
                return time.monotonic() + cache._memory.time_left(key)
            expire = expiry()
            self.assertEqual(cache.incr('value'), 2)
            self.assertAlmostEqual(expire, expiry(), delta=1)
            self.assertEqual(cache.decr('value'), 1)
            self.assertAlmostEqual(expire, expiry(), delta=1)

    def limited(name, case):
        # A place of its own. Our policy is not LRU: it lets a newcomer stay where LRU would not, one entry of nine. Of
        # test_lru_set the place is made with the default bounds, so that only Django's culling is at work.
        place = {'BACKEND': MEMORY, 'LOCATION': name}
        settings = tests.caches_setting_for_tests(**place, OPTIONS={'MAX_ENTRIES': 9})

        @override_settings(CACHES=settings | {'place': place})
        def test(self):
            caches['place' if name == 'test_lru_set' else 'default'].clear()
            case(self)
        return test

    for name, case in vars(tests.LocMemCacheTests).items():
        if name.startswith('test_lru'):
            setattr(MemoryCacheTests, name, limited(name, inspect.unwrap(case)))
        elif name == 'test_multiple_caches':
            isolated = {'default': {'BACKEND': MEMORY}, 'other': {'BACKEND': MEMORY, 'LOCATION': 'other'}}
            setattr(MemoryCacheTests, name, override_settings(CACHES=isolated)(inspect.unwrap(case)))
        elif name.startswith('test_') and name not in REWRITTEN:
            setattr(MemoryCacheTests, name, case)

    return [MemoryCacheTests, *above(lambda name: {'BACKEND': MEMORY})]


def store_at(folder):
    def place(name):
        return {'BACKEND': STORE, 'LOCATION': f'{folder}/{name or "default"}', 'OPTIONS': {'MAX_BYTES': 8 << 20}}
    return place


def redis_at(url, folder):
    def place(name):
        namespace = 'django.' + (re.sub(r'[^\w.-]', '-', name) or 'default')
        return {'BACKEND': REDIS, 'LOCATION': url, 'OPTIONS': {'NAMESPACE': namespace, 'FOLDER': folder + '/machine', 'BUDGET': 5}}
    return place


def main(source, backend, folder, *url):
    sys.path.insert(0, str(Path(source) / 'tests'))
    place = {'MemoryCache': lambda: None, 'StoreCache': lambda: store_at(folder), 'RedisCache': lambda: redis_at(*url, folder)}[backend]()
    configure(place('') if place else {'BACKEND': MEMORY, 'LOCATION': folder + '/default'})
    cases = shared_cases(place) if place else memory_cases()
    from unittest import TestSuite, defaultTestLoader

    from django.test.runner import DiscoverRunner

    runner = DiscoverRunner(verbosity=1, interactive=False)
    suite = TestSuite(map(defaultTestLoader.loadTestsFromTestCase, cases))
    runner.setup_test_environment()
    databases = runner.setup_databases()
    try:
        result = runner.run_suite(suite)
    finally:
        runner.teardown_databases(databases)
        runner.teardown_test_environment()
    for case, reason in result.skipped:
        print(f'skipped {case.id()}: {reason}')
    bad = [case.id() for case, _ in result.errors + result.failures] + [case.id() for case in result.unexpectedSuccesses]
    print(f'ran {result.testsRun}, failed {len(bad)}, skipped {len(result.skipped)}')
    return 1 if bad else 0


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[2] != 'RedisCache':
            sys.exit(main(*sys.argv[1:], folder))
        sys.path.insert(0, str(Path(__file__).resolve().parents[3] / 'tools'))
        import servers
        with servers.redis() as server:
            sys.exit(main(*sys.argv[1:], folder, server.url))

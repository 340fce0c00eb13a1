"""`StoreCache` behind `MemoryCache`, as `get_django_quickcache` reaches it: several processes of one site are one cache."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from claims.processes import Site

PROGRAM = """
    from django.conf import settings

    def key_function(key, prefix, version):
        return f'{{prefix}}/{{version}}/{{key}}'

    settings.configure(CACHES={{
        'locmem': {{'BACKEND': 'quickcache.django_backends.MemoryCache'}},
        'default': {{'BACKEND': 'quickcache.django_backends.StoreCache', 'LOCATION': FOLDER, 'OPTIONS': {{'MAX_BYTES': 4 << 20}}, {options}}},
        'other': {{'BACKEND': 'quickcache.django_backends.StoreCache', 'LOCATION': FOLDER + '-other'}},
    }})
    from django.core.cache import caches
    from quickcache.django_quickcache import get_django_quickcache
    source = {{'value': 1, 'session': 'one.'}}

    @get_django_quickcache(memoize_timeout=10, timeout=300{more})(['key'])
    def f(key):
        ran()
        return [key, source['value']]

    def key():
        return f.get_cache_key(1)
"""


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.end()


def two(site, options='', more=''):
    program = PROGRAM.format(options=options, more=more)
    return site.start(program), site.start(program)


PLACES = pytest.mark.parametrize('options', [
    '', "'KEY_PREFIX': 'site'", "'KEY_PREFIX': 'a/b/'", "'VERSION': 3", "'KEY_PREFIX': 'quickcache.x/', 'VERSION': 2"])


@PLACES
def test_p2_a_clear_in_one_process_is_seen_by_the_memory_of_another(site, options):
    one, other = two(site, options)
    assert one.do('f(1)') == other.do('f(1)') == other.do('f(1)') == [1, 1] and len(site.executions) == 1
    stats = other.do('f.stats()')
    assert (stats.store_hits, stats.memory_hits, stats.outer_hits) == (1, 1, 0), 'the native path'
    for change in ('f.clear(1)', 'f.clear_all()', "f.set_cached_value(1).to([1, 2])", "caches['default'].delete(key())",
                   "caches['default'].set(key(), [1, 2])", "caches['default'].clear()"):
        other.do('f(1)')
        one.do("source['value'] = 2"), other.do("source['value'] = 2")
        one.do(change)
        assert other.do('f(1)') == [1, 2], change
        one.do("source['value'] = 1"), other.do("source['value'] = 1; f.clear_all(); f(1)")


@PLACES
def test_the_backend_sees_a_functions_entry_and_the_function_what_is_set_there(site, options):
    one, other = two(site, options)
    one.do('f(1)')
    assert other.do("caches['default'].get(key())") == [1, 1] and other.do("key() in caches['default']") is True
    other.do("caches['default'].set(key(), 'set')")
    assert one.do('f(1)') == 'set'
    other.do("caches['default'].set(f.get_cache_key(2), 'first')")
    assert one.do('f(2)') == 'first' and len(site.executions) == 1


def test_a_key_function_of_the_sites_own_takes_the_python_path_and_serves(site):
    one, other = two(site, "'KEY_FUNCTION': key_function, 'KEY_PREFIX': 'p'")
    one.do('f(1)')
    assert other.do('f(1)') == other.do('f(1)') == [1, 1] and len(site.executions) == 1
    stats = other.do('f.stats()')
    assert (stats.store_hits, stats.outer_hits) == (0, 1)
    assert other.do("caches['default'].get(key())") == [1, 1]
    one.do('f.clear(1)')
    assert other.do("caches['default'].get(key())") is None


def test_two_versions_and_two_prefixes_share_a_folder_and_no_entry(site):
    processes = [site.start(PROGRAM.format(options=options, more=''), name=f'site{number}.py')
                 for number, options in enumerate(('', "'VERSION': 2", "'KEY_PREFIX': 'a'", "'KEY_PREFIX': 'b'"))]
    for process in processes:
        process.do('f(1)')
    assert len(site.executions) == 4
    processes[0].do('f.clear(1)')
    for process in processes[1:]:
        assert process.do('f(1)') == [1, 1]
    assert len(site.executions) == 4


def test_two_aliases_with_folders_of_their_own_share_nothing(site):
    one, other = two(site)
    one.do("caches['default'].set('key', 1), caches['other'].set('key', 2)")
    assert other.do("caches['default'].get('key'), caches['other'].get('key')") == (1, 2)
    other.do("caches['other'].clear()")
    assert one.do("caches['default'].get('key'), caches['other'].get('key')") == (1, None)


def test_a_session_function_divides_the_memory_and_not_the_store(site):
    one, other = two(site, more=", session_function=lambda: source['session']")
    assert one.do('f(1)') == [1, 1]
    assert one.do("caches['locmem'].get('one.' + key())") == [1, 1]
    one.do("source['session'] = 'two.'; caches['default'].set(key(), 'shared')")
    assert one.do('f(1)') == 'shared' and other.do('f(1)') == 'shared' and len(site.executions) == 1
    one.do("source['session'] = 'one.'")
    assert one.do('f(1)') == [1, 1], 'as ever: what a session has in its memory it keeps for that time'


@pytest.mark.parametrize('memoize_timeout, timeout', [(0, 300), (10, 0)])
def test_a_site_with_one_of_the_two_tiers(site, memoize_timeout, timeout):
    one, other = two(site, more='')
    define = f"""
@get_django_quickcache(memoize_timeout={memoize_timeout}, timeout={timeout})(['key'])
def one_tier(key):
    ran()
    return [key]
"""
    for process in (one, other):
        # A function needs a source: of one text in both.
        path = site.tmp_path / 'one_tier.py'
        path.write_text(define)
        process.do(f"exec(compile(open({str(path)!r}).read(), {str(path)!r}, 'exec'))")
    assert one.do('one_tier(1)') == one.do('one_tier(1)') == other.do('one_tier(1)') == [1]
    assert len(site.executions) == (1 if timeout else 2)
    one.do('one_tier.clear(1)')
    assert (other.do('one_tier.get_cached_value(1)') is ...) == bool(timeout)


def test_workers_of_one_site_add_up_a_counter(site):
    one, other = two(site)
    one.do("caches['default'].set('n', 0)")
    count = "for _ in range(200): caches['default'].incr('n')"
    for running in [one.begin(count), other.begin(count)]:
        running.result(20)
    assert one.do("caches['default'].get('n')") == 400
    assert one.do("caches['default'].decr('n', 10)") == 390

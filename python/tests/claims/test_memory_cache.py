"""`Memory` as an ordinary cache, and as one cache with what functions keep in it."""
import datetime
import decimal
import gc
import logging
import time
import weakref

import pytest

from quickcache import Memory, TieredCache, testing

from .tools import Source, cached, django_memory

NO_EXPIRY = None


# ---- get, set, delete, touch ----

def test_what_was_set_is_got_until_it_is_deleted():
    memory = Memory()
    assert memory.get('key') is None
    assert memory.get('key', 'default') == 'default' and memory.get('key', default=3) == 3
    memory.set('key', 'value')
    assert memory.get('key') == 'value' and 'key' in memory and len(memory) == 1
    assert memory.delete('key') is True and memory.delete('key') is False
    assert memory.get('key') is None and 'key' not in memory and len(memory) == 0


def test_none_is_a_value():
    memory = Memory()
    memory.set('key', None)
    assert memory.get('key', 'default') is None and 'key' in memory


def test_a_second_set_replaces():
    memory = Memory()
    memory.set('key', 1)
    memory.set('key', 2)
    assert memory.get('key') == 2 and len(memory) == 1


def test_clear_removes_everything():
    memory = Memory()
    f = Source().cached(memory)
    f(1)
    memory.set('key', 1)
    memory.clear()
    assert len(memory) == 0 and memory.bytes == 0
    assert f.get_cached_value(1) is Ellipsis


@pytest.mark.parametrize('timeout', [0, -1, 0.0, -0.5])
def test_a_set_with_no_time_left_stores_nothing_and_removes_what_was_there(timeout):
    memory = Memory()
    memory.set('key', 1)
    memory.set('key', 2, timeout)
    assert memory.get('key') is None and len(memory) == 0


def test_the_timeout_of_a_set_is_its_own():
    memory = Memory(timeout=1000)
    memory.set('own', 1)
    memory.set('given', 1, 10)
    memory.set('by keyword', 1, timeout=20)
    memory.set('never', 1, timeout=None)
    assert 990 < memory.time_left('own') <= 1000
    assert 9 < memory.time_left('given') <= 10
    assert 19 < memory.time_left('by keyword') <= 20
    assert memory.time_left('never') is NO_EXPIRY
    assert memory.time_left('absent') == 0.0
    assert memory.timeout == 1000


def test_touch_gives_another_timeout_and_says_whether_it_was_there():
    memory = Memory(timeout=1000)
    memory.set('key', 1, 10)
    assert memory.touch('key', 100) is True and memory.time_left('key') > 10
    assert memory.touch('key') is True and memory.time_left('key') > 100
    assert memory.touch('key', None) is True and memory.time_left('key') is NO_EXPIRY
    assert memory.touch('key', 0) is True and 'key' not in memory
    assert memory.touch('absent') is False


def test_touch_of_an_entry_of_a_function():
    memory = Memory(timeout=10)
    source = Source()
    f = source.cached(memory)
    f(1)
    assert memory.touch(f.get_cache_key(1), 1000)
    assert f.explain(1).time_left is None or f.explain(1).time_left > 10
    assert f(1) == 1 and source.executions == 1
    assert f.explain(1).time_left > 10


# ---- one cache with the functions' entries ----

@pytest.mark.parametrize('make', [Memory, django_memory], ids=['memory', 'django memory'])
class TestTextKeys:
    def test_see_what_a_function_stored(self, make):
        cache = make()
        f = Source().cached(cache)
        assert cache.get(f.get_cache_key(1)) is None
        f(1)
        assert cache.get(f.get_cache_key(1)) == 1
        f(2)
        assert cache.get(f.get_cache_key(2)) == 1, 'stored after the first look by text'

    def test_are_seen_by_the_function(self, make):
        cache = make()
        source = Source()
        f = source.cached(cache)
        cache.set(f.get_cache_key(1), 'set')
        assert f(1) == 'set' and f.get_cached_value(1) == 'set'
        assert cache.get(f.get_cache_key(1)) == 'set'
        assert source.executions == 0

    def test_replace_what_a_function_stored(self, make):
        cache = make()
        f = Source().cached(cache)
        f(1)
        cache.set(f.get_cache_key(1), 'set')
        assert f(1) == 'set' and cache.get(f.get_cache_key(1)) == 'set'

    def test_delete_what_a_function_stored(self, make):
        cache = make()
        source = Source()
        f = source.cached(cache)
        f(1)
        assert cache.delete(f.get_cache_key(1)) is True
        source.value = 2
        assert f(1) == 2

    def test_are_cleared_by_the_function(self, make):
        cache = make()
        f = Source().cached(cache)
        cache.set(f.get_cache_key(1), 'set')
        f.clear(1)
        assert cache.get(f.get_cache_key(1)) is None and f.get_cached_value(1) is Ellipsis
        cache.set(f.get_cache_key(1), 'set')
        f.clear_all()
        assert cache.get(f.get_cache_key(1)) is None and f.get_cached_value(1) is Ellipsis

    @pytest.mark.parametrize('how', ['set_cached_value', 'refresh', 'skip_arg'])
    def test_see_what_a_function_stored_over_them(self, make, how):
        cache = make()
        f = Source('new').cached(cache, skip_arg='force')
        cache.set(f.get_cache_key(1), 'set')
        if how == 'set_cached_value':
            f.set_cached_value(1).to('new')
        elif how == 'refresh':
            f.refresh(1)
        else:
            f(1, force=True)
        assert cache.get(f.get_cache_key(1)) == 'new'
        assert f(1) == 'new'
        f.clear(1)
        assert cache.get(f.get_cache_key(1)) is None

    @pytest.mark.parametrize('key', [None, True, 1, 1.0, 'text', b'text', '', (1, 2), 'x' * 200, ('u',) * 60, 'ünï'])
    def test_agree_for_every_kind_of_key(self, make, key):
        cache = make()
        f = Source().cached(cache)
        f(key)
        assert cache.get(f.get_cache_key(key)) == 1
        cache.set(f.get_cache_key(key), 2)
        assert f(key) == 2
        cache.delete(f.get_cache_key(key))
        assert f.get_cached_value(key) is Ellipsis


def test_the_index_of_text_keys_is_bounded_as_the_entries_are():
    """A single look by text makes an index of the function's keys: it must not keep what the table let go."""
    memory = Memory(max_entries=100)
    f = Source().cached(memory)
    f(-1)
    memory.get(f.get_cache_key(-1))
    before = _resident()
    for key in range(100_000):
        f(key)
    grown = _resident() - before
    assert grown < 3 << 20, f'{grown >> 10} KiB more for 100 entries'
    assert memory.get(f.get_cache_key(99_999)) == 1


def _resident():
    gc.collect()
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * 4096


# ---- copies ----

def _served(memory, value):
    @cached(memory)
    def f(key):
        return value
    f(1)
    return f(1), f(1)


def test_without_copies_callers_share_one_object():
    value = ['mutable']
    one, two = _served(Memory(), value)
    assert one is two is value
    one, two = _served(Memory(copy=False), value)
    assert one is two is value
    memory = Memory()
    memory.set('key', value)
    assert memory.get('key') is value


def test_with_copies_each_caller_has_its_own():
    value = ['mutable']
    memory = Memory(copy=True)
    one, two = _served(memory, value)
    assert one == two == value and one is not two and one is not value
    one.append('changed')
    assert _served(memory, value)[0] == ['mutable']
    memory.set('key', value)
    value.append('later')
    got = memory.get('key')
    got.append('changed')
    assert memory.get('key') == ['mutable']


def test_the_default_copies_where_another_tier_would():
    from quickcache import TieredCache
    from .tools import UserCache
    value = ['mutable']
    for cache, shared in [(Memory(), True), (TieredCache([Memory()]), True), (TieredCache([Memory(), Memory()]), True),
                          (TieredCache([Memory(), UserCache()]), False), (TieredCache([Memory(), Memory(copy=True)]), False),
                          (TieredCache([Memory(copy=False), UserCache()]), True)]:
        one, two = _served(cache, value)
        assert one == two and (one is two) is shared, cache


@pytest.mark.parametrize('value', [
    None, True, 12345678901234567890, 1.5, 2j, 'text' * 100, b'bytes' * 100, ..., ('a', (1, 2.5)), frozenset(['a', 'b'])],
    ids=repr)
def test_immutable_values_are_never_copied(value):
    if value is ...:
        memory = Memory(copy=True)
        memory.set('key', ...)
        assert memory.get('key') is ...
        return
    one, two = _served(Memory(copy=True), value)
    assert one is two is value


def test_what_holds_something_mutable_is_copied():
    inner = []
    one, two = _served(Memory(copy=True), (inner,))
    assert one == two and one[0] is not two[0] and one[0] is not inner


# ---- bounds ----

def test_the_bound_of_entries_holds():
    memory = Memory(max_entries=100)
    f = Source().cached(memory)
    for key in range(1000):
        f(key)
        memory.set(str(key), key)
        assert len(memory) <= 100
    assert len(memory) > 50


def test_the_bound_of_bytes_holds():
    memory = Memory(max_entries=None, max_bytes=100_000)
    f = Source('x' * 1000).cached(memory)
    for key in range(1000):
        f(key)
        assert memory.bytes <= 100_000
    assert 50 <= len(memory) <= 100


def test_a_value_larger_than_the_bound_is_given_to_the_caller_and_not_stored():
    memory = Memory(max_bytes=10_000)
    f = Source('x' * 1_000_000).cached(memory)
    f.set_cached_value(2).to('small')
    assert len(f(1)) == 1_000_000
    assert memory.bytes <= 10_000
    assert f.get_cached_value(2) == 'small'


def test_what_is_asked_for_stays_when_others_pass_by():
    memory = Memory(max_entries=100)
    source = Source()
    f = source.cached(memory)
    for key in range(1000):
        f(key)
        f('hot')
    assert source.executions == 1001


class Value:
    """Something that can be watched."""


@pytest.mark.parametrize('how', ['function', 'set'])
def test_expired_entries_are_freed_without_being_asked_for(how):
    memory = Memory(timeout=1000)
    f = Source(0).cached(memory)
    watched = []
    for n in range(20):
        value = Value()
        watched.append(weakref.ref(value))
        memory.set(f'short {n}', value, 0.01)
        del value
    time.sleep(0.02)
    for n in range(200):
        f(n) if how == 'function' else memory.set(f'long {n}', n)
    assert sum(ref() is not None for ref in watched) == 0


def test_sweep_frees_what_has_expired_and_says_how_many():
    # By a fake clock: on a busy machine an insert after the first would sweep them.
    with testing.fake_clock() as clock:
        memory = Memory()
        for n in range(5):
            memory.set(str(n), n, 1)
        memory.set('stays', 1)
        clock.advance(1)
        assert memory.sweep() == 5 and len(memory) == 1


def test_shrink_leaves_at_most_so_many():
    memory = Memory()
    for n in range(100):
        memory.set(str(n), n)
    memory.shrink(10)
    assert 0 < len(memory) <= 10
    for n in range(100):
        memory.set(str(n), n)
    assert len(memory) == 100


def test_shrink_leaves_what_was_asked_for_most():
    memory = Memory(max_entries=300)
    f = cached(memory)(lambda key: key)
    for key in range(300):
        f(key)
    for key in range(0, 300, 3):
        f(key)
    f(0), f(0)
    memory.shrink(100)
    kept = [key for key in range(300) if f.get_cached_value(key) is not Ellipsis]
    assert kept == list(range(0, 300, 3))
    memory.shrink(1)
    assert f.get_cached_value(0) == 0


def test_a_full_django_memory_culls_what_was_not_asked_for():
    cache = django_memory(MAX_ENTRIES=300)
    for key in range(300):
        cache.set(str(key), key)
    for key in range(200):
        assert cache.get(str(key)) == key
    cache.set('more', 1)
    assert [key for key in range(300) if cache.get(str(key)) is None] == list(range(200, 300))


# ---- the tiers of a TieredCache ----

def test_a_list_of_tiers_that_is_changed_in_place_is_seen_by_whatever_is_not_a_hit():
    first, second = Memory(), Memory()
    tiers = [first]
    source = Source()
    f = source.cached(TieredCache(tiers))
    f(1)
    tiers[0] = second
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 1 and source.executions == 2
    tiers.insert(0, first)
    f.clear(1)
    assert first.get(f.get_cache_key(1)) is second.get(f.get_cache_key(1)) is None


def test_to_make_a_tiered_cache_leaves_the_hit_path_of_others(caplog):
    f = Source().cached(TieredCache([Memory()]))
    f(1), f(1)
    caplog.set_level(logging.DEBUG, 'quickcache')
    TieredCache([Memory()])
    f(1)
    assert not caplog.records


# ---- options ----

@pytest.mark.parametrize('options, error, words', [
    ({'timeout': -1}, ValueError, ['timeout', 'more than 0', '-1', 'None']),
    ({'timeout': 0}, ValueError, ['timeout', 'more than 0', 'None']),
    ({'timeout': float('nan')}, ValueError, ['timeout', 'nan']),
    ({'timeout': True}, TypeError, ['timeout', 'number of seconds', 'bool']),
    ({'timeout': '5'}, TypeError, ['timeout', 'number of seconds', 'str']),
    ({'timeout': -10 ** 400}, ValueError, ['timeout', 'more than 0']),
    ({'timeout': datetime.timedelta(seconds=-1)}, ValueError, ['timeout', 'more than 0']),
    ({'max_entries': 0}, ValueError, ['max_entries', 'more than 0', 'None']),
    ({'max_entries': -1}, ValueError, ['max_entries', 'more than 0', '-1']),
    ({'max_entries': 1.5}, TypeError, ['max_entries', 'integer', 'float']),
    ({'max_entries': True}, TypeError, ['max_entries', 'integer', 'bool']),
    ({'max_entries': '10'}, TypeError, ['max_entries', 'integer', 'str']),
    ({'max_bytes': 0}, ValueError, ['max_bytes', 'more than 0', 'None']),
    ({'max_bytes': 1.5}, TypeError, ['max_bytes', 'integer', 'float']),
    ({'copy': 1}, TypeError, ['copy', 'True, False or None']),
    ({'copy': 'yes'}, TypeError, ['copy', 'True, False or None']),
    ({'max_size': 1}, TypeError, ['Memory', 'max_size', 'unexpected']),
], ids=lambda v: str(v)[:40] if isinstance(v, dict) else '')
def test_a_bad_option_is_one_error_that_names_it(options, error, words):
    with pytest.raises(error) as raised:
        Memory(**options)
    for word in words:
        assert word in str(raised.value)


def test_a_huge_bound_is_a_bound():
    assert Memory(max_entries=10 ** 30, max_bytes=10 ** 30).get('key') is None


def test_options_are_by_keyword_but_the_timeout():
    assert Memory(5).timeout == 5
    assert Memory(datetime.timedelta(minutes=1)).timeout == 60
    assert Memory(float('inf')).timeout is None and Memory(10 ** 400).timeout is None
    with pytest.raises(TypeError):
        Memory(5, 100)


@pytest.mark.parametrize('key', [1, None, b'key', ('a',)])
def test_a_key_that_is_no_text_is_one_error(key):
    memory = Memory()
    for use in (memory.get, memory.delete, memory.touch, memory.time_left, lambda k: memory.set(k, 1), lambda k: k in memory):
        with pytest.raises(TypeError, match='key of Memory must be a str'):
            use(key)


@pytest.mark.parametrize('timeout', ['5', [], object(), True, float('nan')])
def test_a_bad_timeout_of_a_set_is_one_error_and_keeps_what_was_there(timeout):
    memory = Memory()
    memory.set('key', 1)
    for use in (lambda: memory.set('key', 2, timeout), lambda: memory.touch('key', timeout)):
        with pytest.raises(TypeError, match='timeout must be a number of seconds, a timedelta or None'):
            use()
    assert memory.get('key') == 1


@pytest.mark.parametrize('hour', [3600, 3600.0, decimal.Decimal(3600), datetime.timedelta(hours=1)])
def test_a_time_is_a_number_of_seconds_or_a_timedelta_wherever_one_is_taken(hour):
    memory = Memory(timeout=hour)
    assert memory.timeout == 3600
    memory.set('set', 1, hour)
    memory.set('touched', 1, 1)
    memory.touch('touched', hour)
    assert 3500 < memory.time_left('set') <= 3600 and 3500 < memory.time_left('touched') <= 3600


def test_a_value_that_cannot_be_copied_is_an_error_of_set_and_keeps_what_was_there():
    memory = Memory(copy=True)
    memory.set('key', 1)
    with pytest.raises(Exception):
        memory.set('key', lambda: None)
    assert memory.get('key') == 1


def test_what_it_says_of_itself():
    memory = Memory(timeout=5)
    memory.set('key', 'value')
    assert repr(memory) == f'<quickcache.Memory timeout=5s entries=1 bytes={memory.bytes}>'
    assert 'timeout=None' in repr(Memory(None))

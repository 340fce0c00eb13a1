"""`Store` as an ordinary cache that processes share, and as a tier wherever a tier can stand."""
import asyncio
import datetime
import logging

import pytest

from quickcache import Memory, Store, TieredCache, get_quickcache, testing
from quickcache.cache_helpers import CacheWithPresets

from .processes import Process
from .tools import LONG, Source, UserCache

NO_EXPIRY = None


@pytest.fixture
def store(folder):
    return Store(folder, timeout=1000, max_bytes=4 << 20)


# ---- get, set, add, incr, touch, delete, time_left, in ----

def test_what_was_set_is_got_until_it_is_deleted(store):
    assert store.get('key') is None
    assert store.get('key', 'default') == 'default' and store.get('key', default=3) == 3
    assert store.set('key', 'value') is None
    assert store.get('key') == 'value' and 'key' in store
    assert store.delete('key') is True and store.delete('key') is False
    assert store.get('key') is None and 'key' not in store


def test_none_is_a_value(store):
    store.set('key', None)
    assert store.get('key', 'default') is None and 'key' in store and store.add('key', 1) is False


def test_a_second_set_replaces(store):
    for value in range(100):
        store.set('key', value)
        assert store.get('key') == value


def test_a_value_is_a_new_object_for_each_get(store):
    value = [1]
    store.set('key', value)
    value.append(2)
    got = store.get('key')
    got.append(3)
    assert store.get('key') == [1]


def test_clear_removes_everything(store, folder):
    f = get_quickcache(cache=TieredCache([Memory(), Store(folder, max_bytes=4 << 20)]))(['key'])(lambda key: [key])
    f(1)
    store.set('key', 1), store.set('other', 1)
    store.clear()
    assert store.get('key') is store.get('other') is None and f.get_cached_value(1) is ...


@pytest.mark.parametrize('timeout', [0, -1, 0.0, -0.5, datetime.timedelta(0)])
def test_a_set_with_no_time_left_stores_nothing_and_removes_what_was_there(store, timeout):
    store.set('key', 1)
    store.set('key', 2, timeout)
    assert store.get('key') is None
    assert store.add('key', 1, timeout) is True and 'key' not in store


def test_the_timeout_of_a_set_is_its_own(store):
    store.set('own', 1)
    store.set('given', 1, 10)
    store.set('by keyword', 1, timeout=20)
    store.set('span', 1, datetime.timedelta(seconds=30))
    store.set('never', 1, timeout=None)
    store.add('added', 1, 40)
    for key, most in {'own': 1000, 'given': 10, 'by keyword': 20, 'span': 30, 'added': 40}.items():
        assert most - 1 < store.time_left(key) <= most, key
    assert store.time_left('never') is NO_EXPIRY and store.time_left('absent') == 0.0
    assert store.timeout == 1000


@pytest.mark.parametrize('method', ['set', 'add', 'touch'])
@pytest.mark.parametrize('timeout', ['1', [1], True, float('nan'), object()], ids=repr)
def test_a_timeout_that_is_none_is_one_error_that_names_it(store, method, timeout):
    with pytest.raises(TypeError, match='Store: timeout must be a number of seconds, a timedelta or None, not '):
        getattr(store, method)('key', *(() if method == 'touch' else (1,)), timeout)


def test_timeouts_go_by_the_fake_clock(store):
    with testing.fake_clock() as clock:
        store.set('key', 1, 10)
        clock.advance(9)
        assert store.time_left('key') == 1 and store.get('key') == 1
        clock.advance(1)
        assert store.get('key') is None and store.time_left('key') == 0 and 'key' not in store
        assert store.add('key', 2) is True


def test_touch_gives_another_timeout_and_says_whether_it_was_there(store):
    store.set('key', [1], 10)
    assert store.touch('key', 100) is True and 99 < store.time_left('key') <= 100
    assert store.touch('key') is True and store.time_left('key') > 100
    assert store.touch('key', None) is True and store.time_left('key') is NO_EXPIRY
    assert store.get('key') == [1]
    assert store.touch('key', 0) is True and 'key' not in store
    assert store.touch('absent') is False


def test_add_stores_only_what_is_not_there(store):
    assert store.add('key', 1) is True and store.add('key', 2) is False and store.get('key') == 1


def test_incr_adds_and_keeps_the_time(store):
    store.set('key', 1, 10)
    assert store.incr('key') == 2 and store.incr('key', 10) == 12 and store.incr('key', delta=-5) == 7
    assert store.incr('key', 0.5) == 7.5 and store.get('key') == 7.5
    assert 9 < store.time_left('key') <= 10
    with pytest.raises(ValueError, match="^Key 'absent' not found$"):
        store.incr('absent')
    store.set('key', 'text')
    with pytest.raises(TypeError):
        store.incr('key')
    assert store.get('key') == 'text'
    store.set('huge', 2 ** 63 - 1)
    assert store.incr('huge') == 2 ** 63


@pytest.mark.parametrize('key', ['', 'x' * 10_000, 'é\N{SNOWMAN}', 'with space\n', 'quickcache.f/1', '/', 'a/b/c', '\0'], ids=repr)
def test_any_text_is_a_key(store, key):
    store.set(key, 1)
    assert store.get(key) == 1 and store.get(key + 'x') is None
    assert store.delete(key) is True


def test_a_subclass_of_str_is_the_key_that_its_text_is(store):
    class Text(str):
        pass
    store.set(Text('key'), 1)
    assert store.get('key') == store.get(Text('key')) == 1


def test_a_value_that_cannot_be_encoded_is_a_typeerror_and_leaves_the_key_alone_or_empty(store):
    store.set('key', 'old')
    with pytest.raises(TypeError, match='cannot be stored outside the process'):
        store.set('key', lambda: None)
    assert store.get('key') in ('old', None)
    assert store.get('key') != 'wrong'
    with pytest.raises(TypeError, match='cannot be stored outside the process'):
        store.add('other', lambda: None)
    assert 'other' not in store


def test_a_value_that_is_too_large_is_counted_logged_once_and_leaves_no_older_one(folder, caplog):
    import random
    store = Store(folder, max_bytes=1 << 20)
    store.set('key', 'old')
    for _ in range(2):
        store.set('key', random.Random(1).randbytes(500_000))
    assert store.get('key') is None
    assert store.stats()['unstored'] == 2
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and 'a value was not stored' in warnings[0].getMessage()


def test_stats(store, folder):
    stats = store.stats()
    assert stats == {'path': folder, 'open': True, 'max_bytes': 4 << 20, 'entries': 0, 'failures': 0, 'unstored': 0, 'rejected': 0}
    for key in range(10):
        store.set(str(key), key)
    assert store.stats()['entries'] == 10


def test_it_never_grows_beyond_its_bytes(folder):
    store = Store(folder, max_bytes=1 << 20)
    for key in range(3000):
        store.set(str(key), b'\xa5\x5a' * (key % 1000))
    assert (folder / 'values-1').stat().st_size <= 1 << 20
    assert store.get('2999') == b'\xa5\x5a' * 999
    assert sum(str(key) in store for key in range(3000)) > 500


# ---- over processes ----

PROGRAM = """
    import threading
    from quickcache import Store
    store = Store(FOLDER, timeout=1000, max_bytes=4 << 20)

    def add_up(times):
        gate('begin')
        for _ in range(times):
            store.incr('sum')

    def races(keys):
        gate('begin')
        return [key for key in range(keys) if store.add(f'key {key}', ARGUMENTS)]

    class OneAfterAWhile:
        began = False

        def __radd__(self, number):
            # The first time only: it is added again to what others have made of it.
            if not self.began:
                self.began = True
                gate('adds')
            return number + 1
"""


def at_once(processes, text):
    """What each gives for it, begun together."""
    running = [process.begin(text) for process in processes]
    for process in processes:
        process.reached('begin')
    for process in processes:
        process.open('begin')
    return [each.result(LONG) for each in running]


def test_incr_of_four_processes_loses_nothing(site):
    processes = [site.start(PROGRAM) for _ in range(4)]
    processes[0].do("store.set('sum', 0)")
    at_once(processes, 'add_up(20_000)')
    assert processes[0].do("store.get('sum')") == 80_000


def test_a_process_that_is_overtaken_in_the_midst_of_incr_adds_to_what_is_there_then(site):
    slow, quick = site.start(PROGRAM), site.start(PROGRAM)
    quick.do("store.set('sum', 0)")
    adding = slow.begin("store.incr('sum', OneAfterAWhile())")
    slow.reached('adds')
    # Each waits for as long as one waits for a process that may be stopped, and goes on.
    assert quick.do("[store.incr('sum') for _ in range(3)]") == [1, 2, 3]
    slow.open('adds')
    assert adding.result(LONG) == 4
    assert quick.do("store.get('sum')") == 4


def test_of_eight_processes_that_add_one_wins(site):
    processes = [site.start(PROGRAM, str(number)) for number in range(8)]
    # Few keys: of many some would have one slot, and to store one of those is to lose the other.
    won = at_once(processes, 'races(20)')
    assert sorted(key for keys in won for key in keys) == list(range(20))
    for number, keys in enumerate(won):
        assert all(processes[0].do(f"store.get('key {key}')") == [str(number)] for key in keys[:5])


def test_what_is_there_is_found_while_another_process_changes_it(site):
    """Between its old value and its new one there is no moment without."""
    one, two = site.start(PROGRAM), site.start(PROGRAM)
    one.do("store.set('sum', 0)")
    changing = one.begin("add_up(20_000)")
    one.reached('begin')
    one.open('begin')
    for _ in range(20):
        assert two.do("all(store.get('sum') is not None and 'sum' in store for _ in range(1000))")
    changing.result(LONG)
    assert two.do("store.get('sum')") == 20_000


def test_a_process_that_is_killed_or_stopped_in_the_midst_of_changes_holds_nobody_up(site):
    processes = [site.start(PROGRAM) for _ in range(4)]
    processes[0].do("store.set('sum', 0)")
    for process, end in ((processes[1], Process.kill), (processes[2], Process.stop), (processes[3], Process.kill)):
        process.begin('add_up(10_000_000)')
        process.reached('begin')
        process.open('begin')
        processes[0].do("[store.set('sum', n) for n in range(1000)]")
        end(process)
        processes[0].do("store.set('sum', 5)")
        assert processes[0].do("store.incr('sum')") == 6 and processes[0].do("store.add('sum', 1)") is False


@pytest.mark.parametrize('change, seen', [("store.set('key', 2)", 2), ("store.delete('key')", None), ('store.clear()', None),
                                          ("store.touch('key', 0)", None), ("store.incr('key')", 2)])
def test_what_one_process_does_the_others_see(site, change, seen):
    one, two = site.start(PROGRAM), site.start(PROGRAM)
    one.do("store.set('key', 1)")
    assert two.do("store.get('key')") == 1
    two.do(change)
    assert one.do("store.get('key')") == two.do("store.get('key')") == seen


# ---- as a tier ----

TIERS = {
    'store': lambda store, user: store,
    '[store]': lambda store, user: TieredCache([store]),
    '[memory, store]': lambda store, user: TieredCache([Memory(), store]),
    '[memory, store, own]': lambda store, user: TieredCache([Memory(), store, user]),
    '[store, own]': lambda store, user: TieredCache([store, user]),
    'presets': lambda store, user: CacheWithPresets(store, 100),
    '[memory, presets]': lambda store, user: TieredCache([Memory(), CacheWithPresets(store, 100)]),
    '[own, store]': lambda store, user: TieredCache([user, store]),
    'presets with a prefix': lambda store, user: CacheWithPresets(store, 100, lambda: 'prefix:'),
    '[memory, memory, store]': lambda store, user: TieredCache([Memory(), Memory(), store]),
}
every_stack = pytest.mark.parametrize('make', TIERS.values(), ids=TIERS)


@every_stack
def test_wherever_a_store_stands_functions_hit_clear_set_and_refresh(store, make):
    source = Source()

    @get_quickcache(cache=make(store, UserCache()), skip_arg='force')(['key'])
    def f(key, force=False):
        return [key, source.read()]
    assert f(1) == f(1) == [1, 1] and f(2) == [2, 1] and source.executions == 2
    source.value = 2
    assert f(1, force=True) == f(1) == [1, 2]
    source.value = 3
    assert f.refresh(1) == f(1) == f.get_cached_value(1) == [1, 3]
    f.set_cached_value(1).to('set')
    assert f(1) == 'set'
    f.clear(1)
    assert f.get_cached_value(1) is ... and f(2) == [2, 1]
    assert f(1) == f(1) == [1, 3]


@every_stack
def test_wherever_a_store_stands_coroutine_functions_hit_and_clear(store, make):
    source = Source()

    @get_quickcache(cache=make(store, UserCache()))(['key'])
    async def f(key):
        return [key, source.read()]

    async def main():
        assert await f(1) == await f(1) == [1, 1] and source.executions == 1
        source.value = 2
        assert await f.refresh(1) == await f(1) == [1, 2]
        f.clear(1)
        source.value = 3
        assert await f(1) == await f(1) == [1, 3]
    asyncio.run(main())


@pytest.mark.parametrize('make', [TIERS[name] for name in TIERS if name not in ('[own, store]', '[memory, memory, store]')],
                         ids=[name for name in TIERS if name not in ('[own, store]', '[memory, memory, store]')])
def test_two_functions_of_one_text_share_what_the_store_has(store, make):
    source, own = Source(), UserCache()

    def decorated():
        @get_quickcache(cache=make(store, own))(['key'])
        def f(key):
            return [key, source.read()]
        return f
    one, two = decorated(), decorated()
    assert one(1) == two(1) == [1, 1] and source.executions == 1
    source.value = 2
    one.clear(1)
    assert two(1) == one(1) == [1, 2]


def test_an_own_cache_behind_a_store_is_asked_last_and_backfills_it(store, folder):
    source, own = Source(), UserCache()

    def decorated(*tiers):
        @get_quickcache(cache=TieredCache(list(tiers)))(['key'])
        def f(key):
            return [key, source.read()]
        return f
    f = decorated(Memory(), store, own)
    f(1)
    assert list(own.store) == [f.get_cache_key(1)]
    store.clear()
    again = decorated(Memory(), store, own)
    assert again(1) == [1, 1] and again.stats().outer_hits == 1 and source.executions == 1
    assert store.get(f.get_cache_key(1)) == [1, 1], 'backfilled'
    own.store.clear()
    third = decorated(Memory(), store, own)
    assert third(1) == [1, 1] and third.stats().store_hits == 1
    f.clear(1)
    assert not own.store and store.get(f.get_cache_key(1)) is None


def test_a_preset_timeout_is_that_of_the_store(store):
    f = get_quickcache(cache=TieredCache([Memory(), CacheWithPresets(store, 7)]))(['key'])(lambda key: [key])
    f(1)
    assert 6 < store.time_left(f.get_cache_key(1)) <= 7
    assert f.explain(1).time_left <= 300


def test_clear_all_over_a_store_alone_and_over_an_own_cache(store):
    f = get_quickcache(cache=store)(['key'])(lambda key: [key])
    f(1), f.clear_all()
    assert f.get_cached_value(1) is ...
    g = get_quickcache(cache=TieredCache([Memory(), store, UserCache()]))(['key'])(lambda key: [key])
    with pytest.raises(TypeError, match='the tier UserCache cannot clear all keys'):
        g.clear_all()

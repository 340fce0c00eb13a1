"""The switches of `quickcache.testing`, `stats`, `explain` and text keys, where there is a store."""
import asyncio
import contextlib

import pytest

from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache, testing

from .tools import Gate, Source, django_memory, start


def django_store(folder, timeout=300, **options):
    backends = pytest.importorskip('quickcache.django_backends')
    return backends.StoreCache(str(folder), {'TIMEOUT': timeout, 'OPTIONS': options})


CACHES = {
    'memory+store': lambda folder: TieredCache([Memory(timeout=5), Store(folder, timeout=10)]),
    'store': lambda folder: Store(folder, timeout=10),
    'tiered store': lambda folder: TieredCache([Store(folder, timeout=10)]),
    'django memory+store': lambda folder: TieredCache([django_memory(timeout=5), django_store(folder, timeout=10)]),
}
every_cache = pytest.mark.parametrize('make_cache', CACHES.values(), ids=CACHES)


def seed(cache, source, **options):
    """One function of one text, whatever its cache."""
    @get_quickcache(cache=cache, **options)(['key'])
    def f(key):
        return [key, source.read()]
    return f


def of_v1(folder, source, **options):
    @get_local_quickcache(5, 10, folder)(['key'], name='testing', version=1, **options)
    def f(key):
        return [key, source.read()]
    return f


# ---- fake_clock ----

@every_cache
def test_a_value_expires_when_the_fake_clock_says_so(folder, make_cache):
    source = Source()
    f = seed(make_cache(folder), source)
    with testing.fake_clock() as clock:
        assert f(1) == f(1) == [1, 1]
        source.value = 2
        clock.advance(9.999)
        assert f(1) == [1, 1] and source.executions == 1
        clock.advance(0.001)
        assert f.get_cached_value(1) is ...
        assert f(1) == [1, 2] and source.executions == 2


def test_p6_a_backfill_of_the_memory_tier_lives_no_longer_than_its_value(folder):
    source = Source()
    one, two = [seed(TieredCache([Memory(timeout=100), Store(folder, timeout=10)]), source) for _ in range(2)]
    with testing.fake_clock() as clock:
        one(1)
        clock.advance(9)
        assert two(1) == [1, 1] and two.stats().store_hits == 1
        assert two.explain(1).time_left == 1
        clock.advance(1)
        source.value = 2
        assert two(1) == [1, 2]


def test_p6_the_age_counts_from_the_start_of_the_execution(folder):
    source = Source()
    f = seed(TieredCache([Memory(timeout=5), Store(folder, timeout=10)]), source)
    other = seed(Store(folder, timeout=10), source)
    with testing.fake_clock() as clock:
        source.gate = lambda: clock.advance(4)
        f(1)
        source.gate = lambda: None
        assert (other.explain(1).age, other.explain(1).time_left) == (4, 6)


def test_p6_what_was_stored_by_a_fake_clock_that_has_gone_ahead_is_gone_afterwards(folder):
    source = Source()
    f, other = [seed(TieredCache([Memory(), Store(folder)]), source) for _ in range(2)]
    store = Store(folder)
    with testing.fake_clock() as clock:
        clock.advance(1000)
        f(1)
        store.set('key', 1)
        assert other(1) == [1, 1] and store.get('key') == 1
    assert f.get_cached_value(1) is other.get_cached_value(1) is ...
    assert store.get('key') is None


def test_an_execution_that_outlives_a_fake_clock_that_has_gone_ahead_is_stored_nowhere(folder):
    source = Source()
    f, other = [seed(TieredCache([Memory(), Store(folder)]), source) for _ in range(2)]
    source.gate = Gate()
    with testing.fake_clock() as clock:
        clock.advance(1000)
        slow = start(f, 1)
        source.gate.reached()
    source.gate.open()
    assert slow.result() == [1, 1]
    assert f.get_cached_value(1) is other.get_cached_value(1) is ...


def test_what_was_stored_stays_when_the_fake_clock_has_not_gone_ahead(folder):
    source = Source()
    f, other = [seed(TieredCache([Memory(), Store(folder)]), source) for _ in range(2)]
    f(1)
    with testing.fake_clock():
        f(2)
    assert other(1) == [1, 1] and other(2) == [2, 1] and source.executions == 2


# ---- isolated ----

@every_cache
def test_isolated_functions_begin_with_an_empty_store_and_leave_nothing_in_it(folder, make_cache):
    source = Source()
    f, other = seed(make_cache(folder), source), seed(make_cache(folder), source)
    assert f(1) == [1, 1]
    with testing.isolated():
        assert f.get_cached_value(1) is ... and f.explain(1).tier is None
        source.value = 2
        assert f(1) == f(1) == [1, 2] and f(2) == [2, 2]
        f.clear(1)
        source.value = 3
        assert f(1) == [1, 3]
        f.clear_all()
        assert f.get_cached_value(1) is f.get_cached_value(2) is ...
        f(1), f(3)
    assert f(1) == other(1) == [1, 1], 'what was cached before'
    assert f.get_cached_value(2) is other.get_cached_value(2) is other.get_cached_value(3) is ...


def test_isolated_functions_share_a_store_where_they_share_theirs(folder, tmp_path):
    store, apart = Store(folder), Store(tmp_path / 'apart')
    source = Source()
    one, two = seed(TieredCache([Memory(), store]), source), seed(TieredCache([Memory(), store]), source)
    three = seed(TieredCache([Memory(), apart]), source)
    with testing.isolated():
        one(1), two(1)
        assert source.executions == 1 and two.stats().store_hits == 1
        one.clear(1)
        assert two.get_cached_value(1) is ...
        three(1)
        assert source.executions == 2


def test_isolated_blocks_nest(folder):
    source = Source()
    f = of_v1(folder, source)
    with testing.isolated():
        assert f(1) == [1, 1]
        source.value = 2
        with testing.isolated():
            assert f.get_cached_value(1) is ...
            assert f(1) == f(1) == [1, 2]
        assert f(1) == [1, 1]
    assert f.get_cached_value(1) is ...


def test_isolation_and_a_fake_clock_empty_no_store(folder):
    source = Source()
    f, store = of_v1(folder, source), Store(folder)
    f(1)
    store.set('key', 1)
    with testing.isolated(), testing.fake_clock() as clock:
        clock.advance(1000)
        source.value = 2
        assert f(1) == f(1) == [1, 2]
        clock.advance(10)
        source.value = 3
        assert f(1) == [1, 3]
    assert f(1) == [1, 1] and store.get('key') == 1


def test_a_store_itself_is_left_alone_by_isolation(folder):
    source = Source()
    f, store = seed(TieredCache([Memory(), Store(folder)]), source), Store(folder)
    f(1)
    with testing.isolated():
        assert store.get(f.get_cache_key(1)) == [1, 1]
        f.set_cached_value(1).to('isolated')
        assert store.get(f.get_cache_key(1)) == [1, 1]


# ---- disabled ----

@every_cache
def test_disabled_functions_run_each_time_store_nothing_and_clear(folder, make_cache):
    source = Source()
    f, other = seed(make_cache(folder), source), seed(make_cache(folder), source)
    f(1)
    with testing.disabled():
        source.value = 2
        assert f(1) == f(1) == [1, 2] and f(2) == [2, 2]
        assert f.get_cached_value(1) is ...
        f.set_cached_value(1).to('set')
        assert f.refresh(1) == [1, 2]
    assert f(1) == other(1) == [1, 1] and other.get_cached_value(2) is ...
    with testing.disabled():
        f.clear(1)
    assert other.get_cached_value(1) is ... and f(1) == [1, 2]


@pytest.mark.parametrize('switch', [testing.isolated, testing.disabled, testing.fake_clock])
def test_p2_clears_of_others_are_heard_after_a_block_as_before_it(folder, switch):
    source = Source()
    f, other = [seed(TieredCache([Memory(), Store(folder)]), source) for _ in range(2)]
    assert f(1) == other(1) == f(1) == [1, 1]
    with contextlib.suppress(KeyError), switch():
        f(1)
        raise KeyError
    source.value = 2
    assert f(1) == [1, 1]
    other.clear(1)
    assert f(1) == [1, 2]


# ---- stats and explain ----

def test_explain_tells_of_the_store_what_it_tells_of_the_memory_tier(folder):
    source = Source()
    one, two = of_v1(folder, source), of_v1(folder, source)
    with testing.fake_clock() as clock:
        assert (two.explain(1).tier, two.explain(1).age, two.explain(1).time_left, two.explain(1).last_miss) == (None,) * 4
        one(1)
        clock.advance(4)
        told = two.explain(1)
        assert (told.tier, told.age, told.time_left, told.last_miss) == ('store', 4, 6, None)
        assert told.bytes == 3, 'of the value as MessagePack'
        assert told.key == two.get_cache_key(1) and told.parts
        told = one.explain(1)
        assert (told.tier, told.age, told.time_left, told.last_miss) == ('memory', 4, 1, 'new')
        clock.advance(6)
        assert (two.explain(1).tier, two.explain(1).age) == (None, None)


def test_explain_says_never_of_a_value_without_a_timeout(folder):
    f = seed(Store(folder, timeout=None), Source())
    f(1)
    assert (f.explain(1).tier, f.explain(1).time_left) == ('store', None)


@pytest.mark.parametrize('asynchronous', [False, True])
def test_explain_says_cleared_when_another_process_has_cleared(site, asynchronous):
    f = 'h' if asynchronous else 'g'
    one, two = site.two()
    one.do(f'{f}(1)')
    assert one.do(f'{f}.explain(1)').last_miss == 'new'
    two.do(f'{f}.clear(1)')
    assert one.do(f'{f}.explain(1)').tier is None
    one.do(f'{f}(1)')
    assert one.do(f'{f}.explain(1)').last_miss == 'cleared'
    two.do(f'{f}.clear_all()')
    one.do(f'{f}(1)')
    assert one.do(f'{f}.explain(1)').last_miss == 'cleared'
    assert one.do(f'{f}.stats()').executions == 3


def test_stats_count_each_call_once(folder):
    source = Source()
    one, two = of_v1(folder, source), of_v1(folder, source)
    one(1), one(1), two(1), two(1), two(2), two(1)
    stats = two.stats()
    assert (stats.store_hits, stats.memory_hits, stats.misses, stats.executions, stats.fills, stats.outer_hits) == (1, 2, 1, 1, 2, 0)
    assert stats.hits == 3 and stats.hit_ratio == 0.75
    stats = one.stats()
    assert (stats.store_hits, stats.memory_hits, stats.misses) == (0, 1, 1)
    assert (stats.pending_clears, stats.unstored, stats.rejected) == (0, 0, 0)


def test_stats_of_a_coroutine_function_count_each_call_once(folder):
    async def f(key):
        return key
    one, two = [get_local_quickcache(path=folder)(['key'], name='async stats', version=1)(f) for _ in range(2)]

    async def main():
        await one(1)
        # Another thread stores it.
        while (await two.explain(1)).tier is None:
            await asyncio.sleep(0.001)
        await two(1), await two(1), await two(2)
        return await two.stats()
    stats = asyncio.run(main())
    assert (stats.store_hits, stats.memory_hits, stats.misses, stats.executions, stats.outer_hits) == (1, 1, 1, 1, 0)


# ---- text keys ----

def test_a_store_finds_a_functions_entry_by_its_text_key_and_replaces_and_deletes_it(folder):
    source, store = Source(), Store(folder)
    for f in (seed(TieredCache([Memory(), store]), source), of_v1(folder, source)):
        key = f.get_cache_key(1)
        assert store.get(key) is None and key not in store
        f(1)
        assert store.get(key) == [1, 1] and key in store and 0 < store.time_left(key) <= 300
        store.set(key, 'set')
        assert f(1) == f.get_cached_value(1) == 'set', 'its memory tier has heard of it'
        assert f.explain(1).tier == 'memory'
        assert store.delete(key) is True and store.delete(key) is False
        assert f.get_cached_value(1) is ... and f(1) == [1, 1]
        f.clear(1)
        assert store.get(key) is None
        f(1), f.clear_all()
        assert store.get(key) is None


def test_what_is_set_by_text_first_is_seen_under_seed(folder):
    source, store = Source(), Store(folder)
    f = seed(TieredCache([Memory(), store]), source)
    store.set(f.get_cache_key(1), 'set')
    assert f(1) == 'set' and source.executions == 0
    f.clear_all()
    assert f(1) == [1, 1] and store.get(f.get_cache_key(1)) == [1, 1]


def test_the_timeout_of_an_entry_by_text_is_kept_by_the_function(folder):
    store = Store(folder)
    f = seed(TieredCache([Memory(), store]), Source())
    with testing.fake_clock() as clock:
        f(1)
        assert store.touch(f.get_cache_key(1), 3) is True
        assert f(1) == [1, 1] and f.explain(1).time_left == 3
        clock.advance(3)
        assert f.get_cached_value(1) is ...

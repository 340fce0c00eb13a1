"""The switches of `quickcache.testing`: each does what it says inside its block, and leaves nothing behind."""
import asyncio
import logging
from datetime import timedelta

import pytest

from quickcache import Memory, QuickCacheHelper, TieredCache, testing
from quickcache.cache_helpers import CacheWithPresets

from .tools import CACHES, DummyCache, Gate, Source, UserCache, cached, django_memory, every_cache, some_caches, start

FIVE_MINUTES = some_caches('memory', 'memory+user', 'memory+memory', 'django memory+locmem')


# ---- fake_clock ----

@pytest.mark.parametrize('make_cache', [
    lambda: Memory(timeout=10),
    lambda: Memory(timeout=10, copy=True),
    lambda: TieredCache([Memory(timeout=10)]),
    lambda: TieredCache([Memory(timeout=5), Memory(timeout=10)]),
    lambda: TieredCache([Memory(timeout=5), CacheWithPresets(Memory(), 10)]),
    lambda: CacheWithPresets(django_memory(), 10),
    lambda: TieredCache([Memory(timeout=3), CacheWithPresets(django_memory(), 10)]),
], ids=['memory', 'copies', 'tiered', 'two tiers', 'preset', 'django', 'behind'])
def test_a_value_expires_when_the_fake_clock_says_so(make_cache):
    source = Source()
    f = source.cached(make_cache())
    with testing.fake_clock() as clock:
        assert f(1) == f(1) == 1
        source.value = 2
        clock.advance(9.999)
        assert f(1) == 1
        clock.advance(timedelta(milliseconds=1))
        assert f.get_cached_value(1) is Ellipsis
        assert f(1) == 2
        assert source.executions == 2


def test_a_value_expires_for_a_coroutine_function_when_the_fake_clock_says_so():
    @cached(Memory(timeout=10))
    async def f(key):
        return next(values)
    values = iter(range(9))

    async def main(clock):
        assert (await f(1), await f(1)) == (0, 0)
        clock.advance(10)
        assert (await f(1), (await f.stats()).misses) == (1, 2)
    with testing.fake_clock() as clock:
        asyncio.run(main(clock))


def test_the_fake_clock_stands_still():
    f = Source().cached(Memory(timeout=10))
    with testing.fake_clock() as clock:
        f(1)
        clock.advance(4)
        told = f.explain(1)
        assert (told.age, told.time_left) == (4, 6)


def test_a_memory_as_an_ordinary_cache_goes_by_the_fake_clock():
    memory, django = Memory(), django_memory()
    with testing.fake_clock() as clock:
        memory.set('key', 1, timeout=10)
        django.set('key', 1, timeout=10)
        clock.advance(9)
        assert memory.time_left('key') == 1
        assert memory.get('key') == django.get('key') == 1
        clock.advance(1)
        assert memory.get('key') is None and django.get('key') is None
        assert 'key' not in memory and memory.sweep() == 1


def test_what_was_stored_before_ages_by_the_fake_clock():
    source = Source()
    f = source.cached(Memory(timeout=100))
    f(1)
    with testing.fake_clock() as clock:
        assert f(1) == 1 and source.executions == 1
        clock.advance(100)
        assert f.get_cached_value(1) is Ellipsis


@pytest.mark.parametrize('stack', [lambda memory: memory, lambda memory: TieredCache([UserCache(), memory])], ids=['first', 'behind'])
def test_nothing_stored_ahead_of_the_real_time_outlives_the_fake_clock(stack):
    memory = Memory(timeout=10)
    source = Source()
    f = source.cached(stack(memory))
    with testing.fake_clock() as clock:
        clock.advance(1000)
        f(1)
        memory.set('key', 1)
    assert memory.get('key') is None and len(memory) == 0 and memory.bytes == 0


@pytest.mark.parametrize('stack', [lambda memory: memory, lambda memory: TieredCache([DummyCache(), memory])], ids=['first', 'behind'])
def test_an_execution_that_outlives_the_fake_clock_is_not_stored(stack):
    source = Source()
    f = source.cached(stack(Memory(timeout=10)))
    source.gate = Gate()
    with testing.fake_clock() as clock:
        clock.advance(1000)
        slow = start(f, 1)
        source.gate.reached()
    source.gate.open()
    assert slow.result() == 1
    assert f.get_cached_value(1) is Ellipsis


def test_what_was_stored_stays_when_the_fake_clock_has_not_gone_ahead():
    source = Source()
    f = source.cached(Memory(timeout=100))
    f(1)
    with testing.fake_clock():
        f(2)
    assert (f(1), f(2), source.executions) == (1, 1, 2)


def test_a_second_fake_clock_is_refused():
    with testing.fake_clock() as clock:
        with pytest.raises(RuntimeError, match='fake_clock: there is one already'):
            with testing.fake_clock():
                pass
        clock.advance(1)
    with pytest.raises(RuntimeError, match='has ended'):
        clock.advance(1)


@pytest.mark.parametrize('seconds', [-1, True, '1', None, float('nan'), float('inf')])
def test_a_bad_advance_is_one_error(seconds):
    with testing.fake_clock() as clock:
        with pytest.raises(ValueError, match='advance: seconds must be'):
            clock.advance(seconds)


# ---- disabled ----

@every_cache
def test_disabled_functions_run_each_time_and_store_nothing(make_cache):
    source = Source()
    f = source.cached(make_cache(), skip_arg='force')
    assert f(1) == 1
    with testing.disabled():
        source.value = 2
        assert (f(1), f(1), f(2)) == (2, 2, 2)
        assert f.get_cached_value(1) is Ellipsis
        f.set_cached_value(1).to(5)
        assert f.refresh(1) == f(1, force=True) == 2
        source.value = 3
        assert f(1) == 3
    assert f(1) == 1, 'what was cached before'
    assert f.get_cached_value(2) is Ellipsis


@every_cache
def test_a_clear_while_disabled_clears(make_cache):
    source = Source()
    f = source.cached(make_cache())
    f(1)
    with testing.disabled():
        f.clear(1)
    source.value = 2
    assert f(1) == 2


def test_disabled_coroutine_functions_run_each_time():
    source = Source()

    async def nothing():
        pass
    source.gate = nothing
    f = source.cached_async(Memory())

    async def main():
        assert await f(1) == 1
        source.value = 2
        with testing.disabled():
            assert await f(1) == await f.refresh(1) == 2
            assert await f.get_cached_value(1) is Ellipsis
        assert await f(1) == 1
    asyncio.run(main())


# ---- isolated ----

@every_cache
def test_isolated_functions_begin_empty_and_leave_nothing(make_cache):
    source = Source()
    f = source.cached(make_cache())
    assert f(1) == 1
    with testing.isolated():
        assert f.get_cached_value(1) is Ellipsis
        source.value = 2
        assert f(1) == f(1) == 2 and f(2) == 2
        assert source.executions == 3
        f.clear(1)
        source.value = 3
        assert f(1) == 3
    assert (f(1), source.executions) == (1, 4), 'what was cached before'
    assert f.get_cached_value(2) is Ellipsis


@FIVE_MINUTES
def test_isolated_caches_have_the_timeouts_of_those_they_stand_for(make_cache):
    source = Source()
    f = source.cached(make_cache())
    with testing.isolated(), testing.fake_clock() as clock:
        f(1)
        clock.advance(299)
        assert f(1) == 1 and source.executions == 1
        left = f.explain(1).time_left
        assert left is None or left == 1


def test_isolated_functions_share_a_cache_where_they_share_theirs():
    memory = Memory()
    one, other, apart = Source().cached(memory), Source(2).cached(TieredCache([memory])), Source(3).cached(Memory())
    with testing.isolated():
        assert (one(1), other(1), apart(1)) == (1, 1, 3)
    assert len(memory) == 0


def test_a_users_cache_is_not_touched_by_isolated_functions_and_named_as_ever():
    user = UserCache()
    f = Source().cached(CacheWithPresets(user, 10, lambda: 'prefix:'))
    g = Source().cached(TieredCache([Memory(), user]))
    user.get = user.set = user.delete = None
    with testing.isolated(), testing.fake_clock() as clock:
        assert f(1) == f(1) == 1
        assert f.get_cached_value(1) == 1
        clock.advance(10)
        assert f.get_cached_value(1) is Ellipsis
        g(2)
        clock.advance(300)
        assert g.explain(2).tier == 'UserCache'
        g.clear(2)
        assert g.explain(2).tier is None
    assert not user.store


def test_values_of_an_isolated_django_backend_are_copies():
    source = Source([])
    f = source.cached(CACHES['django locmem']())
    with testing.isolated():
        f(1).append('changed by a caller')
        assert f(1) == []


def test_isolated_blocks_nest():
    source = Source()
    f = source.cached(Memory())
    with testing.isolated():
        assert f(1) == 1
        source.value = 2
        with testing.isolated():
            assert f(1) == f(1) == 2
        assert f(1) == 1
    assert f.get_cached_value(1) is Ellipsis


def test_isolated_holds_for_a_function_that_is_decorated_inside_and_for_other_threads():
    memory = Memory()
    with testing.isolated():
        f = Source().cached(memory)
        assert start(f, 1).result() == 1
        assert f.get_cached_value(1) == 1
    assert f.get_cached_value(1) is Ellipsis and len(memory) == 0


def test_isolated_holds_for_helpers_that_are_not_exactly_ours():
    class Helper(QuickCacheHelper):
        def skip(self, *args, **kwargs):
            return False
    source = Source()
    f = source.cached(Memory(), helper_class=Helper)
    assert f(1) == 1
    source.value = 2
    with testing.isolated():
        assert f(1) == f(1) == 2
    with testing.disabled():
        source.value = 3
        assert f(1) == 3 and f.get_cached_value(1) is Ellipsis
    assert f(1) == 1


def test_an_execution_that_outlives_isolation_stores_where_it_began():
    source = Source()
    f = source.cached(Memory())
    source.gate = Gate()
    with testing.isolated():
        slow = start(f, 1)
        source.gate.reached()
    source.value = 2
    assert f(1) == 2, 'joined a flight of the isolated block'
    source.gate.open()
    assert slow.result() == 1
    assert f(1) == 2


@pytest.mark.parametrize('switch', [testing.isolated, testing.disabled, testing.fake_clock])
def test_a_block_that_raises_ends(switch):
    source = Source()
    f = source.cached(Memory())
    f(1)
    with pytest.raises(KeyError):
        with switch():
            raise KeyError
    assert f(1) == 1 and source.executions == 1


@pytest.mark.parametrize('switch', [testing.isolated, testing.disabled, testing.fake_clock])
def test_the_hit_path_is_taken_again_afterwards(switch, caplog):
    f = Source().cached(Memory())
    f(1), f(1)
    caplog.set_level(logging.DEBUG, 'quickcache')
    with switch():
        f(1)
        caplog.clear()
        f(1)
        assert switch is testing.disabled or caplog.records, 'the slow path logs'
    f(1)
    caplog.clear()
    f(1)
    assert not caplog.records

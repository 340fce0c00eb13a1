"""P6: no value older than its timeout, counted from the start of its execution, is returned from a tier.

Timeouts are some ten milliseconds here, and waits are for the monotonic clock: an age below the timeout is never asserted.
"""
import asyncio
import logging
import time

import pytest

from quickcache import Memory, TieredCache

from .tools import Source, UserCache, cached, django_memory

SHORT = 0.05


def older_than(began, seconds):
    """Waits until what began then is older than that."""
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(left)
    # The engine counts in whole milliseconds.
    time.sleep(0.002)


@pytest.mark.parametrize('make_cache', [
    lambda: Memory(timeout=SHORT),
    lambda: Memory(timeout=SHORT, copy=True),
    lambda: TieredCache([Memory(timeout=SHORT)]),
    lambda: TieredCache([Memory(timeout=SHORT), Memory(timeout=SHORT)]),
], ids=['memory', 'copies', 'tiered', 'two tiers'])
def test_a_value_older_than_its_timeout_is_not_returned(make_cache):
    source = Source()
    f = source.cached(make_cache())
    assert f(1) == 1
    began = time.monotonic()
    source.value = 2
    older_than(began, SHORT)
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 2


def test_age_is_counted_from_the_start_of_the_execution():
    source = Source()
    f = source.cached(Memory(timeout=10 * SHORT))
    source.gate = lambda: time.sleep(6 * SHORT)
    f(1)
    left = f.explain(1).time_left
    assert left is None or left <= 4 * SHORT


def test_age_of_an_asynchronous_execution_is_counted_from_its_start():
    source = Source()
    f = source.cached_async(Memory(timeout=10 * SHORT))
    source.gate = lambda: asyncio.sleep(6 * SHORT)

    async def main():
        await f(1)
        return (await f.explain(1)).time_left
    left = asyncio.run(main())
    assert left is None or left <= 4 * SHORT


@pytest.mark.parametrize('how', ['refresh', 'skip_arg'])
def test_age_of_a_refreshed_value_is_counted_from_the_start_of_its_execution(how):
    source = Source()
    f = source.cached(Memory(timeout=10 * SHORT), skip_arg='force')
    source.gate = lambda: time.sleep(6 * SHORT)
    f.refresh(1) if how == 'refresh' else f(1, force=True)
    left = f.explain(1).time_left
    assert left is None or left <= 4 * SHORT


def test_a_function_slower_than_its_timeout_is_not_stored_and_one_warning_is_given(caplog):
    @cached(Memory(timeout=SHORT))
    def slower_than_its_timeout(key):
        time.sleep(SHORT + 0.01)
        return key
    with caplog.at_level(logging.WARNING, 'quickcache'):
        for key in (1, 2):
            assert slower_than_its_timeout(key) == key
            assert slower_than_its_timeout.get_cached_value(key) is Ellipsis
    said = [r.getMessage() for r in caplog.records if 'slower_than_its_timeout' in r.getMessage()]
    assert len(said) == 1 and 'timeout' in said[0]
    assert slower_than_its_timeout.stats().refused_fills == 2


def test_a_coroutine_function_slower_than_its_timeout_is_not_stored_and_one_warning_is_given(caplog):
    @cached(Memory(timeout=SHORT))
    async def slow_coroutine(key):
        await asyncio.sleep(SHORT + 0.01)
        return key

    async def main():
        for key in (1, 2):
            assert await slow_coroutine(key) == key
            assert await slow_coroutine.get_cached_value(key) is Ellipsis
    with caplog.at_level(logging.WARNING, 'quickcache'):
        asyncio.run(main())
    assert len([r for r in caplog.records if 'slow_coroutine' in r.getMessage()]) == 1


def test_a_refresh_slower_than_its_timeout_is_not_stored_and_one_warning_is_given(caplog):
    @cached(Memory(timeout=SHORT))
    def slow_to_refresh(key):
        time.sleep(SHORT + 0.01)
        return key
    with caplog.at_level(logging.WARNING, 'quickcache'):
        for key in (1, 2):
            assert slow_to_refresh.refresh(key) == key
            assert slow_to_refresh.get_cached_value(key) is Ellipsis
    assert len([r for r in caplog.records if 'slow_to_refresh' in r.getMessage()]) == 1
    assert slow_to_refresh.stats().fills == 0


def test_a_slower_tier_of_ours_counts_age_from_the_start_of_the_execution_too():
    source = Source()
    outer = Memory(timeout=10 * SHORT)
    f = source.cached(TieredCache([Memory(timeout=1), outer]))
    source.gate = lambda: time.sleep(6 * SHORT)
    f(1)
    left = outer.time_left(f.get_cache_key(1))
    assert left == 0 or left <= 4 * SHORT


def with_presets(cache, timeout, prefix_function=None):
    from quickcache.cache_helpers import CacheWithPresets
    return CacheWithPresets(cache, timeout, prefix_function)


OUTER = {
    'django memory': lambda: (lambda django: (django, django))(django_memory(timeout=1)),
    'preset django memory': lambda: (lambda django: (with_presets(django, 1), django))(django_memory()),
    'preset memory': lambda: (lambda memory: (with_presets(memory, 1), memory))(Memory()),
}


@pytest.mark.parametrize('make_outer', OUTER.values(), ids=OUTER)
@pytest.mark.parametrize('make_inner', [Memory, UserCache], ids=['memory', 'user'])
@pytest.mark.parametrize('how', ['fill', 'refresh'])
def test_a_backend_of_ours_behind_another_tier_counts_age_from_the_start_of_the_execution(make_inner, make_outer, how):
    source = Source()
    outer, behind = make_outer()
    f = source.cached(TieredCache([make_inner(), outer]))
    source.gate = lambda: time.sleep(6 * SHORT)
    f.refresh(1) if how == 'refresh' else f(1)
    assert time_left(behind, f.get_cache_key(1)) <= 1 - 6 * SHORT
    source.gate = lambda: time.sleep(1)
    f.clear(2)
    f.refresh(2) if how == 'refresh' else f(2)
    assert time_left(behind, f.get_cache_key(2)) == 0, 'slower than its timeout'


def time_left(cache, key):
    return getattr(cache, '_memory', cache).time_left(cache.make_key(key) if hasattr(cache, 'make_key') else key)


def test_a_preset_of_ours_with_a_prefix_function_counts_age_from_the_start_of_the_execution():
    source = Source()
    memory = Memory()
    f = source.cached(TieredCache([with_presets(memory, 10 * SHORT, lambda: 'mine:')]))
    source.gate = lambda: time.sleep(6 * SHORT)
    f(1)
    assert memory.time_left('mine:' + f.get_cache_key(1)) <= 4 * SHORT


@pytest.mark.parametrize('make_outer', OUTER.values(), ids=OUTER)
def test_a_backfill_lives_no_longer_than_what_a_backend_of_ours_has_left(make_outer):
    outer, _ = make_outer()
    inner = Memory(timeout=100)
    f = Source().cached(TieredCache([inner, outer]))
    f(1)
    inner.clear()
    assert f.get_cached_value(1) == 1
    assert inner.time_left(f.get_cache_key(1)) <= 1


def test_a_django_memory_without_presets_has_its_own_timeout():
    f = Source().cached(django_memory())
    f(1)
    assert 290 < f.explain(1).time_left <= 300
    forever = Source().cached(django_memory(timeout=None))
    forever(1)
    assert forever.explain(1).time_left is None


def test_a_backfill_lives_no_longer_than_what_it_was_copied_from():
    source = Source()
    inner, outer = Memory(timeout=100), Memory(timeout=10)
    f = source.cached(TieredCache([inner, outer]))
    f(1)
    inner.delete(f.get_cache_key(1))
    assert f(1) == 1 and source.executions == 1
    assert inner.time_left(f.get_cache_key(1)) <= 10


def test_the_timeout_of_a_preset_counts():
    from quickcache.cache_helpers import CacheWithPresets
    source = Source()
    f = source.cached(TieredCache([CacheWithPresets(Memory(timeout=100), SHORT)]))
    f(1)
    began = time.monotonic()
    older_than(began, SHORT)
    assert f.get_cached_value(1) is Ellipsis


def test_a_value_set_by_text_keeps_its_own_timeout_when_the_function_finds_it():
    memory = Memory(timeout=100)
    f = Source().cached(memory)
    memory.set(f.get_cache_key(1), 'set', timeout=SHORT)
    f.get_cached_value(1)
    began = time.monotonic()
    older_than(began, SHORT)
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 1


def test_an_ordinary_entry_older_than_its_timeout_is_not_returned():
    for cache in (Memory(), django_memory()):
        cache.set('key', 'value', SHORT)
        began = time.monotonic()
        older_than(began, SHORT)
        assert cache.get('key') is None


def test_no_timeout_is_no_expiry():
    f = Source().cached(Memory(timeout=None))
    f(1)
    assert f.explain(1).time_left is None
    assert f.get_cached_value(1) == 1

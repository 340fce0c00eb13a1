"""`Redis` as an ordinary cache."""
import datetime
import os
import signal
import time

import pytest

from quickcache import Memory, TieredCache, get_quickcache, testing
from quickcache.cache_helpers import CacheWithPresets

from .tools import LONG, Source, UserCache, start


@pytest.fixture
def redis(machines):
    return machines.redis()


def test_what_was_set_is_got_until_it_is_deleted(redis):
    assert redis.get('key') is None and redis.get('key', 5) == 5 and 'key' not in redis
    redis.set('key', {'a': [1, 2]})
    assert redis.get('key') == {'a': [1, 2]} and 'key' in redis
    assert redis.delete('key') is True and redis.delete('key') is False
    assert redis.get('key', 5) == 5


def test_what_one_machine_does_others_see(machines):
    one, two = machines.redis('one'), machines.redis('two')
    one.set('key', 1)
    assert two.get('key') == 1
    assert two.incr('key') == 2 and one.get('key') == 2
    two.delete('key')
    assert one.get('key') is None


def test_none_is_a_value(redis):
    redis.set('key', None)
    assert redis.get('key', 5) is None and 'key' in redis


def test_add_stores_only_what_is_not_there(redis):
    assert redis.add('key', 1) is True and redis.add('key', 2) is False
    assert redis.get('key') == 1
    assert redis.add('other', 1, 0) is True and redis.get('other') is None


def test_of_many_that_add_one_wins(machines):
    tiers = [machines.redis(f'machine {n}') for n in range(4)]
    for key in range(20):
        added = [start(tier.add, str(key), n) for n, tier in enumerate(tiers)]
        won = [n for n, each in enumerate(added) if each.result()]
        assert len(won) == 1 and tiers[0].get(str(key)) == won[0]


def test_incr_of_many_loses_nothing(machines):
    tiers = [machines.redis(f'machine {n}') for n in range(4)]
    tiers[0].set('sum', 0)
    adding = [start(lambda tier=tier: [tier.incr('sum', 2) for _ in range(100)]) for tier in tiers]
    for each in adding:
        each.result()
    assert tiers[0].get('sum') == 800


def test_incr_keeps_the_time(redis):
    with pytest.raises(ValueError, match="'key' not found"):
        redis.incr('key')
    redis.set('key', 1, 100)
    assert redis.incr('key', 5) == 6 and redis.incr('key', -2) == 4
    assert 100 - LONG < redis.time_left('key') <= 100
    redis.set('ever', 1, None)
    redis.incr('ever')
    assert redis.time_left('ever') is None


def test_touch_gives_another_timeout(redis):
    assert redis.touch('key') is False
    redis.set('key', 1, 100)
    assert redis.touch('key', 200) is True and 100 < redis.time_left('key') <= 200
    assert redis.touch('key', None) is True and redis.time_left('key') is None and redis.get('key') == 1
    assert redis.touch('key', 0) is True and redis.get('key') is None


def test_timeouts(machines):
    redis = machines.redis(timeout=100)
    redis.set('key', 1)
    assert 100 - LONG < redis.time_left('key') <= 100 and redis.timeout == 100
    redis.set('key', 2, 0.05)
    assert redis.get('key') == 2
    time.sleep(0.06)
    assert redis.get('key') is None and redis.time_left('key') == 0
    redis.set('key', 3)
    redis.set('key', 4, 0)
    assert redis.get('key') is None
    redis.set('key', 5, datetime.timedelta(seconds=50))
    assert redis.time_left('key') <= 50
    with pytest.raises(TypeError, match='Redis: timeout'):
        redis.set('key', 1, 'long')


def test_timeouts_go_by_the_fake_clock(redis):
    with testing.fake_clock() as clock:
        redis.set('key', 1, 10)
        assert redis.get('key') == 1
        clock.advance(9)
        assert redis.get('key') == 1
        clock.advance(2)
        assert redis.get('key') is None


def test_clear_removes_everything_of_the_namespace_and_nothing_else(machines, redis):
    import uuid
    other = machines.redis(namespace='test-' + uuid.uuid4().hex)
    source = Source()
    f = get_quickcache(cache=TieredCache([Memory(), machines.redis('two')]))(['key'])(lambda key: source.read())
    redis.set('key', 1), other.set('key', 2), f(1)
    redis.clear()
    assert redis.get('key') is None and other.get('key') == 2
    time.sleep(0.25)
    f(1)
    assert source.executions == 2


def test_what_a_function_of_scheme_seed_has_stored_is_there_by_its_text_key(machines, redis):
    source = Source()
    bare = get_quickcache(cache=machines.redis('two'))

    @bare(['key'])
    def f(key):
        return source.read()
    f(1)
    key = f.get_cache_key(1)
    assert redis.get(key) == 1
    redis.set(key, 2)
    assert f(1) == 2
    redis.delete(key)
    source.value = 3
    assert f(1) == 3 and source.executions == 2


def test_a_value_without_a_form_is_a_typeerror_and_leaves_no_older_one(redis):
    redis.set('key', 1)
    with pytest.raises(TypeError, match='object'):
        redis.set('key', object())
    assert redis.get('key') is None and redis.stats()['unstored'] == 1


def test_any_text_is_a_key_and_nothing_else(redis):
    for key in ('', ' ', 'é\N{SNOWMAN}', 'a' * 10_000, '\0'):
        redis.set(key, len(key))
        assert redis.get(key) == len(key)
    with pytest.raises(TypeError, match='Redis'):
        redis.get(5)


def test_an_outage_is_a_miss_and_a_delete_is_made_up_for(own_machines, own_server):
    redis = own_machines.redis(budget=0.2)
    redis.set('key', 1)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        assert redis.get('key', 5) == 5 and redis.delete('key') is False and redis.add('key', 2) is False
        redis.set('other', 3)
        redis.clear
        with pytest.raises(ValueError, match='not found'):
            redis.incr('key')
        assert redis.stats()['reachable'] is False and redis.stats()['failures'] > 0
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    end = time.monotonic() + LONG
    while not redis.stats()['reachable']:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert redis.get('key') is None and redis.get('other') is None


TIERS = {
    'redis': lambda redis, user: redis,
    '[redis, own]': lambda redis, user: TieredCache([redis, user]),
    '[memory, redis, own]': lambda redis, user: TieredCache([Memory(), redis, user]),
    '[own, redis]': lambda redis, user: TieredCache([user, redis]),
    'presets': lambda redis, user: CacheWithPresets(redis, 100),
    '[memory, presets]': lambda redis, user: TieredCache([Memory(), CacheWithPresets(redis, 100)]),
    'presets with a prefix': lambda redis, user: CacheWithPresets(redis, 100, lambda: 'prefix:'),
    '[memory, memory, redis]': lambda redis, user: TieredCache([Memory(), Memory(), redis]),
    '[redis, memory]': lambda redis, user: TieredCache([redis, Memory()]),
    '[redis, redis]': lambda redis, user: TieredCache([redis, redis]),
}


@pytest.mark.parametrize('make', TIERS.values(), ids=TIERS)
def test_wherever_it_stands_functions_hit_clear_set_and_refresh(redis, make):
    source = Source(1)
    f = get_quickcache(cache=make(redis, UserCache()), skip_arg='force')(['key'])(lambda key, force=False: source.read())
    assert (f(1), f(1)) == (1, 1) and source.executions == 1
    source.value = 2
    f.clear(1)
    assert (f(1), f(1), f.get_cached_value(1)) == (2, 2, 2)
    source.value = 3
    assert (f(1, force=True), f(1)) == (3, 3)
    f.set_cached_value(1).to(4)
    assert f(1) == 4
    source.value = 5
    assert (f.refresh(1), f(1)) == (5, 5)


def test_isolated_functions_begin_with_an_empty_cache(machines):
    source = Source()
    f = get_quickcache(cache=machines.stack('memory redis'))(['key'])(lambda key: source.read())
    f(1)
    with testing.isolated():
        f(1)
        assert source.executions == 2
        f.clear(1)
        f(1)
        assert source.executions == 3
    f(1)
    assert source.executions == 3

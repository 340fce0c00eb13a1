"""P1: a call that starts after `clear()` returned never gets a value computed before it. One race a test, decided by gates."""
import asyncio
import threading

import pytest

from quickcache import Memory, Store, TieredCache

from .tools import (
    Event,
    Gate,
    LONG,
    Source,
    UserCache,
    Waits,
    WatchedLock,
    django_memory,
    every_cache,
    in_child,
    some_caches,
    start,
)


@every_cache
def test_clear_beats_a_running_flight(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    f.clear(1)
    assert f(1) == 2, 'joined the flight that began before the clear'
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 2, 'the older flight stored its value'
    assert source.executions == 2


@every_cache
def test_a_flight_that_was_cleared_stores_nothing(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    f.clear(1)
    source.gate.open()
    assert leader.result() == 1
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 2


@every_cache
def test_a_clear_of_one_key_leaves_the_others(make_cache):
    source = Source()
    f = source.cached(make_cache())
    assert (f(1), f(2)) == (1, 1)
    source.value = 2
    f.clear(1)
    assert (f(1), f(2)) == (2, 1)


@some_caches('memory', 'memory+memory')
def test_those_who_began_before_the_clear_get_the_flight_they_waited_for(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    with Waits() as waits:
        leader = start(f, 1)
        source.gate.reached()
        follower = start(f, 1)
        waits.reach(1)
        source.value = 2
        f.clear(1)
        assert f(1) == 2
        source.gate.open()
    assert (leader.result(), follower.result()) == (1, 1)
    assert f(1) == 2


@every_cache
def test_set_cached_value_stands_against_an_older_flight(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    f.set_cached_value(1).to(5)
    assert f(1) == 5
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 5 and f.get_cached_value(1) == 5


@every_cache
def test_refresh_stands_against_an_older_flight(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    assert f.refresh(1) == 2
    assert f(1) == 2
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 2


@every_cache
def test_skip_arg_stands_against_an_older_flight(make_cache):
    source = Source()
    f = source.cached(make_cache(), skip_arg='force')
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    assert f(1, force=True) == 2
    assert f(1) == 2
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 2


@every_cache
@pytest.mark.parametrize('how', ['refresh', 'skip_arg'])
def test_a_clear_stands_against_an_older_store_that_is_no_fill(make_cache, how):
    source = Source()
    f = source.cached(make_cache(), skip_arg='force')
    source.gate = Gate()
    store = start(f.refresh, 1) if how == 'refresh' else start(f, 1, force=True)
    source.gate.reached()
    source.value = 2
    f.clear(1)
    source.gate.open()
    assert store.result() == 1
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 2


@every_cache
def test_an_older_refresh_does_not_replace_a_newer_one(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    older = start(f.refresh, 1)
    source.gate.reached()
    source.value = 2
    assert f.refresh(1) == 2
    source.gate.open()
    assert older.result() == 1
    assert f(1) == 2


def test_an_unpicklable_refresh_leaves_no_older_value():
    source = Source()
    f = source.cached(Memory(copy=True))
    assert f(1) == 1
    source.value = [lambda: None]
    assert f.refresh(1) is source.value
    assert f.get_cached_value(1) is Ellipsis


# ---- a store that has begun, in a cache that knows nothing of clears ----

PAUSED = {
    'user': lambda slow: slow,
    'memory+user': lambda slow: TieredCache([Memory(), slow]),
    'user+user': lambda slow: TieredCache([UserCache(), slow]),
    'slow first': lambda slow: TieredCache([slow, UserCache()]),
    'django memory+user': lambda slow: TieredCache([django_memory(), slow]),
}
paused = pytest.mark.parametrize('stack', PAUSED.values(), ids=PAUSED)


def _stores(f, how):
    if how == 'fill':
        return start(f, 1)
    if how == 'refresh':
        return start(f.refresh, 1)
    return start(f.set_cached_value(1).to, 1)


@paused
@pytest.mark.parametrize('how', ['fill', 'refresh', 'set_cached_value'])
def test_a_clear_waits_for_a_store_that_has_begun_and_removes_it(stack, how):
    slow = UserCache()
    slow.before_set = Gate()
    source = Source()
    f = source.cached(stack(slow))
    with Waits() as waits:
        storing = _stores(f, how)
        slow.before_set.reached()
        source.value = 2
        clear = start(f.clear, 1)
        waits.reach(1)
        assert clear.running()
        slow.before_set.open()
        clear.result()
    assert not slow.store, 'an old value was stored after the clear'
    assert storing.result() in (1, None)
    assert not slow.store
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 2


@paused
def test_no_store_begins_while_a_clear_deletes(stack):
    slow = UserCache()
    source = Source()
    f = source.cached(stack(slow))
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    slow.before_delete = Gate()
    clear = start(f.clear, 1)
    slow.before_delete.reached()
    source.gate.open()
    assert leader.result() == 1
    slow.before_delete.open()
    clear.result()
    assert not slow.store
    assert f(1) == 2


def test_a_clear_waits_for_a_backfill_that_has_begun():
    fast, slow = UserCache(), UserCache()
    source = Source()
    f = source.cached(TieredCache([fast, slow]))
    assert f(1) == 1
    fast.store.clear()
    fast.before_set = Gate()
    with Waits() as waits:
        reader = start(f, 1)
        fast.before_set.reached()
        source.value = 2
        clear = start(f.clear, 1)
        waits.reach(1)
        assert clear.running()
        fast.before_set.open()
        clear.result()
    assert reader.result() == 1
    assert not fast.store and not slow.store
    assert f(1) == 2


@pytest.mark.parametrize('make_fast', [Memory, UserCache, django_memory], ids=['memory', 'user', 'django memory'])
@pytest.mark.parametrize('how', ['call', 'get_cached_value'])
def test_a_value_read_from_a_slow_tier_before_a_clear_is_not_backfilled_after_it(make_fast, how):
    fast, slow = make_fast(), UserCache()
    source = Source()
    f = source.cached(TieredCache([fast, slow]))
    assert f(1) == 1
    fast.delete(f.get_cache_key(1))
    slow.after_get = Gate()
    reader = start(f if how == 'call' else f.get_cached_value, 1)
    slow.after_get.reached()
    source.value = 2
    f.clear(1)
    slow.after_get.open()
    assert reader.result() == 1
    assert f.get_cached_value(1) is Ellipsis
    assert f(1) == 2


def test_a_clear_that_a_store_wakes_is_not_overtaken_by_its_memory_tier(monkeypatch):
    """The end of a store wakes the clear that waits for it: nothing of that store may be written after that."""
    slow = UserCache()
    slow.before_set = Gate()
    f = Source().cached(TieredCache([Memory(), slow]))
    cleared = Event()
    waits = Event()

    class SlowToRelease(WatchedLock):
        def begins_to_wait(self):
            waits.set()

        def release(self):
            super().release()
            if waits.is_set() and threading.current_thread() is storing.thread:
                cleared.wait(LONG)

    storing = start(f.set_cached_value(1).to, 'old')
    slow.before_set.reached()
    monkeypatch.setattr(threading, 'Lock', SlowToRelease)
    clear = start(f.clear, 1)
    assert waits.wait(LONG)
    slow.before_set.open()
    clear.result()
    cleared.set()
    storing.result()
    assert f.get_cached_value(1) is Ellipsis


def test_the_outermost_tier_is_cleared_first():
    order = []
    fast, slow = UserCache(), UserCache()
    fast.before_delete = lambda: order.append('fast')
    slow.before_delete = lambda: order.append('slow')
    f = Source().cached(TieredCache([fast, slow]))
    f(1)
    f.clear(1)
    assert order == ['slow', 'fast']


def test_a_clear_whose_tier_fails_clears_the_others_and_says_so():
    slow = UserCache()
    source = Source()
    f = source.cached(TieredCache([Memory(), slow]))
    f(1)
    source.value = 2
    slow.before_delete = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        f.clear(1)
    slow.store.clear()
    assert f(1) == 2


# ---- a clear from inside a store: it waits for none, what that store sets is removed and not believed meanwhile ----

def once(function):
    """The first call does something, the others nothing."""
    times = iter([True])
    return lambda: next(times, False) and function()


@paused
@pytest.mark.parametrize('how', ['fill', 'refresh', 'set_cached_value'])
def test_a_clear_from_inside_a_store_of_its_key_waits_for_no_store_and_removes_it(stack, how):
    slow = UserCache()
    source = Source()
    f = source.cached(stack(slow))
    slow.before_set = once(lambda: f.clear(1))
    assert _stores(f, how).result() in (1, None)
    assert not slow.store
    assert f.get_cached_value(1) is Ellipsis
    source.value = 2
    assert f(1) == f(1) == 2 and slow.store, 'the key can be stored again'


@paused
def test_a_value_that_was_cleared_from_inside_its_store_is_not_believed_meanwhile(stack):
    slow = UserCache()
    source = Source()
    f = source.cached(stack(slow))
    has_set = Gate()

    class Slow(UserCache):
        def set(self, key, value):
            super().set(key, value)
            has_set()
    slow.__class__ = Slow

    def meddle():
        source.value = 2
        f.clear(1)
        assert f.get_cached_value(1) is Ellipsis
        assert f(1) == 2
    slow.before_set = once(meddle)
    storing = start(f, 1)
    has_set.reached()
    assert list(slow.store.values()) == [1]
    assert f.get_cached_value(1) is Ellipsis, 'cleared, and not yet removed'
    assert f(1) == 2
    with Waits() as waits:
        clear = start(f.clear, 1)
        waits.reach(1)
        assert clear.running(), 'a clear from outside waits'
        has_set.open()
        clear.result()
    assert storing.result() == 1
    assert not slow.store
    assert f(1) == f(1) == 2


def test_a_clear_from_inside_a_backfill_of_its_key_removes_what_that_set():
    fast, slow = UserCache(), UserCache()
    source = Source()
    f = source.cached(TieredCache([fast, slow]))
    f(1)
    fast.store.clear()
    source.value = 2
    fast.before_set = once(lambda: f.clear(1))
    assert start(f, 1).result() == 1
    assert not fast.store and not slow.store
    assert f(1) == 2


def test_an_interrupted_store_that_was_cleared_from_inside_removes_what_it_set():
    slow = UserCache()
    f = Source().cached(slow)

    class Breaks(UserCache):
        def set(self, key, value):
            f.clear(1)
            super().set(key, value)
            raise KeyboardInterrupt
    slow.__class__ = Breaks
    assert isinstance(start(f, 1).exception(), KeyboardInterrupt)
    assert not slow.store


@paused
def test_what_is_set_from_inside_a_store_of_its_key_leaves_no_older_value(stack):
    slow = UserCache()
    source = Source()
    f = source.cached(stack(slow))
    f(1)
    slow.store.clear()
    f.clear(1)
    slow.before_set = once(lambda: f.set_cached_value(1).to('newer'))
    assert start(f, 1).result() == 1
    assert f.get_cached_value(1) is Ellipsis and not slow.store
    source.value = 2
    assert f(1) == f(1) == 2


def test_two_stores_that_clear_each_others_key_do_not_wait_for_each_other():
    slow = UserCache()
    source = Source()
    f = source.cached(slow)
    both = threading.Barrier(2)
    meddlers = {}

    def meddle():
        other = meddlers.pop(threading.current_thread(), None)
        if other:
            both.wait(LONG)
            f.clear(other)
            both.wait(LONG)
    slow.before_set = meddle
    go = Event()

    def call(own, other):
        meddlers[threading.current_thread()] = other
        go.wait(LONG)
        return f(own)
    calls = start(call, 1, 2), start(call, 2, 1)
    go.set()
    assert [c.result() for c in calls] == [1, 1]
    assert not slow.store


def test_a_store_of_a_coroutine_function_that_clears_its_key_waits_for_no_store():
    slow = UserCache()
    source = Source()

    async def nothing():
        pass
    source.gate = nothing
    f = source.cached_async(slow)
    slow.before_set = once(lambda: f.clear(1))
    assert start(asyncio.run, f(1)).result() == 1
    assert not slow.store and source.executions == 1
    assert asyncio.run(f(1)) == 1 and slow.store


# ---- clear_all, and clears by text key ----

@some_caches('memory', 'memory+memory')
def test_clear_all_beats_a_running_flight(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    f.clear_all()
    assert f(1) == 2
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 2


class _PausedPickle:
    """A value whose second pickling stops at a gate: the first is for the memory tier in front."""

    def __init__(self, gate):
        self.gate = gate

    def __reduce__(self):
        if self.gate is not None and next(self.gate.turns, None):
            self.gate()
        return (str, ('old',))


def test_clear_all_stands_against_a_store_that_has_begun():
    source = Source()
    f = source.cached(TieredCache([Memory(), Memory(copy=True)]))
    gate = Gate()
    gate.turns = iter([False, True])
    source.value = _PausedPickle(gate)
    leader = start(f, 1)
    gate.reached()
    source.value = 'new'
    clear = start(f.clear_all)
    gate.open()
    clear.result()
    leader.result()
    assert f(1) == 'new'


class _ClosesGate:
    """Dies slowly: whoever frees it lets the others go on meanwhile."""

    def __init__(self, on_death):
        self.on_death = on_death

    def __del__(self):
        self.on_death()


def test_clear_all_is_not_overtaken_while_it_frees_what_it_cleared():
    source = Source()
    inner, outer = Memory(), Memory()
    f = source.cached(TieredCache([inner, outer]))
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()

    def leader_ends():
        source.gate.open()
        leader.result()
    outer.set(f.get_cache_key(2), _ClosesGate(leader_ends))
    source.value = 2
    f.clear_all()
    assert leader.result() == 1
    assert f(1) == 2


def _memory():
    memory = Memory()
    return memory, memory


def _django():
    backend = django_memory()
    return backend, backend


def _django_tiered():
    backend = django_memory()
    return TieredCache([backend]), backend


by_text = pytest.mark.parametrize('make', [_memory, _django, _django_tiered], ids=['memory', 'django memory', 'django tiered'])


@by_text
def test_a_delete_by_text_beats_a_running_flight(make):
    cache, ordinary = make()
    source = Source()
    f = source.cached(cache)
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    ordinary.delete(f.get_cache_key(1))
    assert f(1) == 2
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 2


@by_text
def test_a_set_by_text_stands_against_an_older_flight(make):
    cache, ordinary = make()
    source = Source()
    f = source.cached(cache)
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    ordinary.set(f.get_cache_key(1), 5)
    assert f(1) == 5
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 5


@by_text
def test_clearing_the_whole_cache_beats_a_running_flight(make):
    cache, ordinary = make()
    source = Source()
    f = source.cached(cache)
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2
    ordinary.clear()
    assert f(1) == 2
    source.gate.open()
    assert leader.result() == 1
    assert f(1) == 2


@pytest.mark.parametrize('tiers', ['memory', 'store', 'both'])
def test_settle_keeps_what_is_computed_too_soon_from_being_stored(tmp_path, tiers):
    store = Store(tmp_path / 'store')
    source = Source()
    cache = {'memory': Memory(), 'store': store, 'both': TieredCache([Memory(), store])}[tiers]
    f = source.cached(cache, skip_arg='force')
    f(1)
    threads = set(threading.enumerate())
    assert f.clear_with(settle=3600)(1) == 'applied'
    timer, = set(threading.enumerate()) - threads
    source.value = 2
    assert f(1) == 2
    source.value = 3
    assert f(1) == f.refresh(1) == f(1, force=True) == 3
    f.set_cached_value(1).to(4)
    assert f.get_cached_value(1) is Ellipsis and store.get(f.get_cache_key(1)) is None
    assert source.executions == 5
    # An hour later.
    timer.cancel()
    timer.function()
    assert f(1) == f(1) == 3
    assert source.executions == 6


# ---- after fork ----

@every_cache
def test_f_holds_in_the_child_of_a_fork(make_cache):
    source = Source()
    f = source.cached(make_cache())
    assert f(2) == 1
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    source.value = 2

    def check():
        f.clear(2)
        assert (f(1), f(2)) == (2, 2)
        source.value = 3
        f.clear(1)
        assert f(1) == 3
    in_child(check)
    source.gate.open()
    assert leader.result() == 1
    assert (f(1), f(2)) == (1, 1)


def test_a_fork_in_the_middle_of_a_clear_leaves_the_child_able_to_store():
    slow = UserCache()
    source = Source()
    f = source.cached(slow)
    f(1)
    slow.before_delete = Gate()
    clear = start(f.clear, 1)
    slow.before_delete.reached()

    def check():
        slow.store.clear()
        before = source.executions
        f(1), f(1)
        assert source.executions == before + 1
    in_child(check)
    slow.before_delete.open()
    clear.result()



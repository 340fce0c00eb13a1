"""P7: concurrent calls on a cold key cost one execution; a clear in between adds at most one."""
import asyncio
import time

import pytest

from quickcache import Memory, TieredCache

from .tools import DummyCache, Gate, Source, UserCache, Waits, cached, every_cache, some_caches, start

K = 8


@every_cache
def test_threads_on_a_cold_key_cost_one_execution(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    with Waits() as waits:
        calls = [start(f, 1)]
        source.gate.reached()
        calls += [start(f, 1) for _ in range(K)]
        waits.reach(K)
        source.gate.open()
        assert [call.result() for call in calls] == [1] * (K + 1)
    assert source.executions == 1


@every_cache
def test_threads_that_meet_at_will_cost_one_execution_a_key(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = lambda: time.sleep(0)
    for key in range(20):
        calls = [start(f, key) for _ in range(4)]
        assert [call.result() for call in calls] == [1] * 4
    assert source.executions == 20


@some_caches('memory', 'user', 'memory+user')
def test_tasks_on_a_cold_key_cost_one_execution(make_cache):
    source = Source()
    f = source.cached_async(make_cache())
    source.gate = lambda: asyncio.sleep(0.001)

    async def main():
        return await asyncio.gather(*[f(1) for _ in range(K)])
    assert asyncio.run(main()) == [1] * K
    assert source.executions == 1


@some_caches('memory', 'user', 'memory+user')
def test_tasks_of_two_loops_on_a_cold_key_cost_one_execution(make_cache):
    source = Source()
    f = source.cached_async(make_cache())
    gate = Gate(times=100)
    begun = []

    async def pass_gate():
        gate.entered.set()
        while not gate._open.is_set():
            await asyncio.sleep(0.001)
    source.gate = pass_gate

    async def call():
        begun.append(1)
        return await asyncio.gather(*[f(1) for _ in range(K)])
    first = start(asyncio.run, call())
    gate.reached()
    second = start(asyncio.run, call())
    while len(begun) < 2:
        time.sleep(0.001)
    gate.open()
    assert first.result() + second.result() == [1] * (2 * K)
    assert source.executions == 1


@every_cache
def test_a_clear_in_between_adds_at_most_one_execution(make_cache):
    source = Source()
    f = source.cached(make_cache())
    gate = source.gate = Gate(times=2)
    with Waits() as waits:
        before = [start(f, 1)]
        gate.reached()
        before += [start(f, 1) for _ in range(K)]
        waits.reach(K)
        gate.entered.clear()
        source.value = 2
        f.clear(1)
        after = [start(f, 1)]
        gate.reached()
        after += [start(f, 1) for _ in range(K)]
        waits.reach(K)
        gate.open()
        values = [call.result() for call in before]
        assert set(values) <= {1, 2} and values[0] == 1
        assert [call.result() for call in after] == [2] * (K + 1)
    assert source.executions == 2


class Boom(Exception):
    pass


def boom():
    raise Boom('no')


@every_cache
def test_an_exception_reaches_every_waiter_and_is_not_cached(make_cache):
    source = Source()
    f = source.cached(make_cache())
    gate = Gate()

    def raising():
        gate()
        boom()
    source.gate = raising
    with Waits() as waits:
        calls = [start(f, 1)]
        gate.reached()
        calls += [start(f, 1) for _ in range(K)]
        waits.reach(K)
        gate.open()
        for call in calls:
            with pytest.raises(Boom, match='no'):
                call.result()
    assert source.executions == 1
    source.gate = lambda: None
    assert f(1) == 1, 'the exception was cached'
    assert source.executions == 2


@some_caches('memory', 'user', 'memory+user')
def test_an_exception_reaches_every_task_that_waits(make_cache):
    source = Source()
    f = source.cached_async(make_cache())

    async def raising():
        await asyncio.sleep(0)
        boom()
    source.gate = raising

    async def main():
        results = await asyncio.gather(*[f(1) for _ in range(K)], return_exceptions=True)
        assert [type(r) for r in results] == [Boom] * K
        assert source.executions == 1

        async def passing():
            pass
        source.gate = passing
        assert await f(1) == 1
    asyncio.run(main())


class Keeps(UserCache):
    """Raises where it stores."""

    def set(self, key, value):
        raise Boom('full')


@pytest.mark.parametrize('stack', [lambda c: c, lambda c: TieredCache([Memory(), c])], ids=['alone', 'behind memory'])
def test_an_error_of_the_users_cache_reaches_the_caller_and_ends_the_flight(stack):
    source = Source()
    f = source.cached(stack(Keeps()))
    for _ in range(2):
        with pytest.raises(Boom, match='full'):
            start(f, 1).result()
    assert source.executions == 2


def test_a_cache_that_keeps_nothing_does_not_serialise_its_callers_for_ever():
    """A caller waits for two executions at most, then runs the function beside the others."""
    source = Source()
    f = source.cached(DummyCache())
    gate = source.gate = Gate(times=1)
    with Waits() as waits:
        calls = [start(f, 1)]
        gate.reached()
        calls += [start(f, 1) for _ in range(K)]
        waits.reach(K)
        # One of the followers leads the next flight, the rest wait once more; then all run at once.
        second = source.gate = Gate(times=1)
        gate.open()
        second.reached()
        waits.reach(K - 1)
        third = source.gate = Gate(times=K - 1)
        second.open()
        while source.executions < K + 1:
            time.sleep(0.001)
        third.open()
        assert [call.result() for call in calls] == [1] * (K + 1)
    assert source.executions == K + 1


def test_a_cache_that_keeps_nothing_does_not_serialise_tasks_for_ever():
    source = Source()
    f = source.cached_async(DummyCache())
    running, most = 0, 0

    async def count():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
    source.gate = count

    async def main():
        assert await asyncio.gather(*[f(1) for _ in range(K)]) == [1] * K
    asyncio.run(main())
    assert most > 1, 'the calls ran one after the other'


def test_a_value_that_cannot_be_copied_is_given_to_each_caller():
    memory = Memory(copy=True)

    @cached(memory)
    def uncopyable(key):
        return lambda: key
    calls = [start(uncopyable, 1) for _ in range(4)]
    assert [call.result()() for call in calls] == [1] * 4
    assert len(memory) == 0


def test_different_keys_do_not_wait_for_each_other():
    source = Source()
    f = source.cached(Memory())
    source.gate = Gate()
    leader = start(f, 1)
    source.gate.reached()
    assert f(2) == 1
    source.gate.open()
    leader.result()


def test_two_functions_of_one_text_over_one_memory_share_a_flight():
    """They share their entries, so they share the execution too."""
    source = Source()
    memory = Memory()
    f, g = source.cached(memory), source.cached(memory)
    source.gate = Gate()
    with Waits() as waits:
        leader = start(f, 1)
        source.gate.reached()
        follower = start(g, 1)
        waits.reach(1)
        source.gate.open()
    assert (leader.result(), follower.result()) == (1, 1)
    assert source.executions == 1

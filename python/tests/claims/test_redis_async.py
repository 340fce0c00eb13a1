"""asyncio over a Redis: the same claims, and a loop that never waits for the network."""
import asyncio
import contextlib
import gc
import os
import signal
import time

import pytest

from quickcache import ClearPending, get_quickcache

from .test_redis import every_stack, until
from .test_stale import Ground
from .test_store_async import threads_asked
from .tools import LONG, Gate, Source, start


def coroutine(cache, source, **options):
    """The text of another function: keys of its own."""
    @get_quickcache(cache=cache, skip_arg='force', **options)(['key'])
    async def f(key, force=False):
        source.executions += 1
        value = source.value
        await asyncio.sleep(0)
        source.gate()
        if isinstance(value, Exception):
            raise value
        return value
    return f


def run(main):
    return asyncio.run(asyncio.wait_for(main(), LONG))


class Pulse:
    """How long a loop was kept from its tasks at most."""

    async def __aenter__(self):
        self.longest = 0
        self._task = asyncio.ensure_future(self._beat())
        await asyncio.sleep(0)
        return self

    async def _beat(self):
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now

    async def __aexit__(self, *_):
        await asyncio.sleep(0.002)
        self._task.cancel()


@every_stack
def test_what_one_machine_computed_another_hits(machines, tiers):
    source = Source()
    one, two = (coroutine(machines.stack(tiers, machine), source) for machine in ('one', 'two'))

    async def main():
        return await one(1), await two(1), await two(1)
    assert run(main) == (1, 1, 1)
    assert source.executions == 1

    async def stats():
        return await two.stats()
    assert run(stats).redis_hits >= 1


@every_stack
def test_each_companion(machines, tiers):
    source = Source(1)
    one, two = (coroutine(machines.stack(tiers, machine), source) for machine in ('one', 'two'))

    async def main():
        assert await one.get_cached_value(1) is Ellipsis
        assert (await one(1), await one.get_cached_value(1)) == (1, 1)
        source.value = 2
        await one.clear(1)
        assert await one(1) == 2
        source.value = 3
        assert (await one(1, force=True), await one(1)) == (3, 3)
        source.value = 4
        assert (await one.refresh(1), await one(1)) == (4, 4)
        await one.set_cached_value(1).to(5)
        assert await one(1) == 5
        source.value = 6
        await one.clear_all()
        assert await one(1) == 6
        assert (await one.explain(1)).tier == tiers.split()[0] or tiers.startswith('memory')
        source.value = 7
        assert await one.clear_with(wait=True)(1) == 'applied'
        assert (await two(1), await one(1)) == (7, 7)
    run(main)


def test_a_clear_begins_at_the_call(machines):
    source = Source(1)
    f = coroutine(machines.stack('redis'), source)

    async def main():
        await f(1)
        source.value = 2
        cleared = f.clear(1)
        await asyncio.sleep(0.1)
        assert await f(1) == 2
        await cleared
    run(main)


def test_p7_tasks_and_machines_run_the_function_once(machines):
    source = Source()
    one, two = (coroutine(machines.stack('memory redis', machine), source) for machine in ('one', 'two'))

    async def main():
        return await asyncio.gather(*(f(1) for f in (one, two) * 20))
    assert run(main) == [1] * 40
    assert source.executions == 1


def test_the_loop_goes_on_while_another_machine_has_the_lease(machines):
    source = Source()
    source.gate = gate = Gate()
    elsewhere = coroutine(machines.stack('redis', 'two'), source)
    running = start(lambda: run(lambda: elsewhere(1)))
    gate.reached()
    f = coroutine(machines.stack('redis'), source)

    async def main():
        waits = asyncio.ensure_future(f(1))
        async with Pulse() as pulse:
            await asyncio.sleep(0.3)
        assert not waits.done()
        gate.open()
        assert await waits == 1
        return pulse.longest
    assert run(main) < 0.2
    assert running.result() == 1 and source.executions == 1


def test_an_exception_gives_the_lease_back_at_once(machines):
    source = Source(ValueError('no'))
    one, two = (coroutine(machines.stack('redis', machine), source) for machine in ('one', 'two'))

    async def main():
        with pytest.raises(ValueError, match='no'):
            await one(1)
        source.value = 2
        began = time.monotonic()
        assert await two(1) == 2
        assert time.monotonic() - began < 1
    run(main)


def test_p11_a_task_that_is_cancelled_gives_the_lease_back(machines):
    source = Source()
    one, two = (coroutine(machines.stack('redis', machine), source) for machine in ('one', 'two'))
    hang = asyncio.Event

    @get_quickcache(cache=machines.stack('redis'))(['key'])
    async def slow(key):
        await hang().wait()

    async def main():
        for pause in (0, 0.001, 0.01, 0.1):
            task = asyncio.ensure_future(slow(1))
            await asyncio.sleep(pause)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        began = time.monotonic()
        task = asyncio.ensure_future(slow(1))
        await asyncio.sleep(1)
        task.cancel()
        assert (await slow.explain(1)).tier is None
        assert time.monotonic() - began < LONG
        assert (await one(1), await two(1)) == (1, 1)
    run(main)


def test_p8_an_outage_keeps_no_loop_waiting(own_machines, own_server):
    source = Source()
    f = coroutine(own_machines.stack('redis', budget=0.3), source)

    async def main():
        await f(1)
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            async with Pulse() as pulse:
                assert await asyncio.gather(f(1), f(2), f(3)) == [1, 1, 1]
                assert await f.clear_with()(1) == 'pending'
                with pytest.raises(ClearPending):
                    await f.clear_with(strict=True)(1)
            assert pulse.longest < 0.25
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
    run(main)


def test_without_a_loop_it_is_done_at_the_call(machines):
    source = Source(1)
    f = coroutine(machines.stack('redis'), source)
    assert run(lambda: f(1)) == 1
    source.value = 2
    f.clear(1)
    assert run(lambda: f(1)) == 2


# ---- how answers come to a loop ----

def open_files():
    return len(os.listdir('/proc/self/fd'))


@contextlib.contextmanager
def stopped(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_no_thread_waits_for_an_answer(machines):
    source = Source()
    f = coroutine(machines.stack('redis'), source)

    async def main():
        await f(0)  # opens the files of the machine, which takes time
        with threads_asked(asyncio.get_running_loop()) as asked:
            assert await asyncio.gather(*(f(key) for key in range(200))) == [1] * 200
            assert await asyncio.gather(*(f(key) for key in range(200))) == [1] * 200
        assert asked == []
    run(main)
    assert source.executions == 200


def test_a_loop_that_reads_from_no_files_has_threads_that_wait(machines):
    source = Source()
    f = coroutine(machines.stack('redis'), source)

    async def main():
        loop = asyncio.get_running_loop()

        def add_reader(fd, callback, *args):
            raise NotImplementedError
        loop.add_reader = add_reader
        with threads_asked(loop) as asked:
            assert (await f(1), await f(1)) == (1, 1)
        assert len(asked) >= 2
    run(main)
    assert source.executions == 1


def test_loops_come_and_go_and_leave_no_files_behind(machines):
    source = Source()
    f = coroutine(machines.stack('redis'), source)

    async def main():
        return await asyncio.gather(*(f(key) for key in range(20)))
    assert run(main) == [1] * 20
    gc.collect()
    before = open_files()
    for _ in range(50):
        assert run(main) == [1] * 20
    gc.collect()
    assert open_files() <= before + 4
    assert source.executions == 20


def test_p11_who_is_cancelled_while_it_asks_leaves_it_to_a_follower(own_machines, own_server):
    source = Source()
    f = coroutine(own_machines.stack('redis', budget=20), source)

    async def main():
        assert await f(0) == 1
        with stopped(own_server):
            leader, follower = asyncio.ensure_future(f(1)), asyncio.ensure_future(f(1))
            await asyncio.sleep(0.1)
            assert source.executions == 1
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
        # Whoever is out of patience runs the function, and stores nothing.
        assert [await follower, await f(1)] == [1, 1]
    run(main)
    assert source.executions == 2


def test_what_a_closed_loop_asked_keeps_nobody_waiting(own_machines, own_server):
    source = Source()
    f = coroutine(own_machines.stack('redis', budget=20), source)
    run(lambda: f(0))
    loop = asyncio.new_event_loop()
    with stopped(own_server):
        asks = loop.create_task(f(1))
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
    # Whoever is out of patience runs the function, and stores nothing.
    assert [run(lambda: f(1)), run(lambda: f(1))] == [1, 1]
    assert source.executions == 2
    assert not asks.done()
    asks._log_destroy_pending = False


@pytest.mark.parametrize('how', ['cancelled', 'left'])
def test_p11_a_claim_that_is_on_its_way_when_its_loop_is_closed_keeps_no_lease(own_machines, own_server, how):
    source = Source()
    f = coroutine(own_machines.stack('redis', budget=5), source)
    ask = Ground('redis', own_machines, None).ask
    run(lambda: f(0))

    def scripts():
        return int(ask('INFO', 'commandstats').split(b'cmdstat_evalsha:calls=')[1].split(b',')[0])

    def leases():
        keys = [key for key in ask('KEYS', own_machines.namespace + ':*') if ask('STRLEN', key) == 50]
        return [key for key in keys if ask('GETRANGE', key, 0, 0) == b'L']
    executed, loop = scripts(), asyncio.new_event_loop()
    ask('CLIENT', 'PAUSE', 60_000, 'WRITE')
    asks = loop.create_task(f(1))

    async def until_it_claims():
        while b'blocked_clients:1' not in ask('INFO', 'clients'):
            await asyncio.sleep(0.01)
    loop.run_until_complete(until_it_claims())
    if how == 'cancelled':
        asks.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(asks)
    else:
        asks._log_destroy_pending = False
    loop.close()
    ask('CLIENT', 'UNPAUSE')
    until(lambda: scripts() > executed, 'the claim never came')
    if how == 'left':
        # The next loop finds it.
        assert run(lambda: f(0)) == 1
    until(lambda: not leases(), 'the lease is kept for ever')
    assert run(lambda: f(1)) == 1


@pytest.mark.parametrize('deep', [1, 3])
def test_p11_a_function_that_calls_itself_does_not_wait_for_its_own_lease(machines, deep):
    cache, depth = machines.stack('redis'), [0]

    def goes_on():
        depth[0] += 1
        return depth[0] <= deep

    @get_quickcache(cache=cache)(['key'])
    def itself(key):
        return itself(key) if goes_on() else 1

    @get_quickcache(cache=cache)(['key'])
    def one(key):
        return another(key) if goes_on() else 1

    @get_quickcache(cache=cache)(['key'])
    def another(key):
        return one(key)

    @get_quickcache(cache=cache)(['key'])
    async def awaited(key):
        return await awaited(key) if goes_on() else 1
    for call in (itself, one, lambda key: run(lambda: awaited(key))):
        depth[0] = 0
        # Who has never run it waits for thirty seconds.
        assert start(call, 1).result() == 1

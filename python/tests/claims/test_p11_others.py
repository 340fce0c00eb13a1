"""P11: what happens to one caller affects no other; nothing waits for itself, nor for a thread that is not there."""
import asyncio
import concurrent.futures
import signal
import threading
import time
import warnings

import pytest

from quickcache import Memory, TieredCache

from .tools import LONG, Event, Gate, Source, UserCache, Waits, cached, every_cache, in_child, script, some_caches, start

three = some_caches('memory', 'user', 'memory+user')


class AsyncGate:
    """Where a coroutine function stops; counts those who were cancelled there."""

    def __init__(self):
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.cancelled = 0

    async def __call__(self):
        self.entered.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def run(main):
    return asyncio.run(asyncio.wait_for(main, LONG))


async def waiting(*tasks):
    """Lets tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


# ---- cancellation ----

@three
@pytest.mark.parametrize('who', [0, 1], ids=['the leader', 'a follower'])
def test_cancelling_one_awaiter_leaves_the_others(make_cache, who):
    async def main():
        source = Source()
        f = source.cached_async(make_cache())
        source.gate = AsyncGate()
        tasks = [asyncio.ensure_future(f(1)) for _ in range(3)]
        await waiting(*tasks)
        tasks[who].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[who]
        source.gate.opened.set()
        assert [await task for n, task in enumerate(tasks) if n != who] == [1, 1]
        assert source.executions == 1 and source.gate.cancelled == 0
        assert await f(1) == 1 and source.executions == 1
    run(main())


@three
def test_cancelling_all_cancels_the_execution_and_the_next_call_runs_anew(make_cache):
    async def main():
        source = Source()
        f = source.cached_async(make_cache())
        gate = source.gate = AsyncGate()
        tasks = [asyncio.ensure_future(f(1)) for _ in range(3)]
        await waiting(*tasks)
        for task in tasks:
            task.cancel()
        assert [type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)] == [asyncio.CancelledError] * 3
        source.gate.opened.set()
        source.gate = AsyncGate()
        source.gate.opened.set()
        source.value = 2
        assert await f(1) == 2
        assert gate.cancelled == 1 and source.executions == 2
    run(main())


@three
def test_who_calls_while_the_last_awaiter_is_being_cancelled_is_served(make_cache):
    async def main():
        source = Source()
        f = source.cached_async(make_cache())
        source.gate = AsyncGate()
        first = asyncio.ensure_future(f(1))
        await waiting(first)
        first.cancel()
        second = asyncio.ensure_future(f(1))
        source.gate.opened.set()
        assert await second == 1
        with pytest.raises(asyncio.CancelledError):
            await first
    run(main())


@three
def test_a_timeout_of_one_awaiter_leaves_the_others(make_cache):
    async def main():
        source = Source()
        f = source.cached_async(make_cache())
        source.gate = AsyncGate()
        patient = asyncio.ensure_future(f(1))
        await waiting(patient)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(f(1), 0.01)
        source.gate.opened.set()
        assert await patient == 1
    run(main())


def test_a_function_that_cancels_itself_cancels_nobody_else():
    """CancelledError out of the function is not shared: followers look again."""
    async def main():
        source = Source()
        f = source.cached_async(Memory())
        first = True

        async def gate():
            nonlocal first
            await asyncio.sleep(0)
            if first:
                first = False
                raise asyncio.CancelledError
        source.gate = gate
        results = await asyncio.gather(f(1), f(1), return_exceptions=True)
        assert 1 in results and source.executions == 2
    run(main())


# ---- interrupts ----

@pytest.fixture
def interrupt():
    """Raises KeyboardInterrupt in the main thread once, by a signal, when it waits."""
    raised = []

    def handle(*_):
        if not raised:
            raised.append(True)
            raise KeyboardInterrupt

    def when_it_waits(waits):
        waits.reach(1)
        # A signal that comes between Python's check and the wait itself is seen after the wait only: knock again.
        while not raised:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            time.sleep(0.005)
    before = signal.signal(signal.SIGUSR1, handle)
    yield lambda waits: start(when_it_waits, waits)
    raised.append(True)
    signal.signal(signal.SIGUSR1, before)


@some_caches('memory', 'user')
def test_an_interrupt_of_a_waiting_follower_leaves_the_others(make_cache, interrupt):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    with Waits() as waits:
        leader = start(f, 1)
        source.gate.reached()
        other = start(f, 1)
        waits.reach(1)
        interrupt(waits)
        with pytest.raises(KeyboardInterrupt):
            f(1)
        source.gate.open()
        assert (leader.result(), other.result()) == (1, 1)
    assert f(1) == 1 and source.executions == 1


@some_caches('memory', 'user')
@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_of_the_leader_is_its_own(make_cache, error):
    """Ctrl-C stops the thread that it hit; who waited for that thread runs the function instead."""
    source = Source()
    f = source.cached(make_cache())
    gate = Gate()

    def interrupted():
        if source.executions == 1:
            gate()
            raise error
    source.gate = interrupted
    with Waits() as waits:
        leader = start(f, 1)
        gate.reached()
        follower = start(f, 1)
        waits.reach(1)
        gate.open()
        assert isinstance(leader.exception(), error)
        assert follower.exception() is None, "it got the leader's interrupt"
    assert source.executions == 2


def test_an_interrupted_clear_ends(interrupt):
    """An interrupt while a clear waits for a store: it raises, and later calls are served and stored."""
    slow = UserCache()
    source = Source()
    f = source.cached(slow)
    slow.before_set = Gate()
    leader = start(f, 1)
    slow.before_set.reached()
    with Waits() as waits:
        interrupt(waits)
        with pytest.raises(KeyboardInterrupt):
            f.clear(1)
    slow.before_set.open()
    leader.result()
    f.clear(1)
    assert f(1) == 1 and f(1) == 1
    assert source.executions == 2


# ---- fork ----

@every_cache
def test_a_forked_child_does_not_wait_for_its_parents_flight(make_cache):
    source = Source()
    f = source.cached(make_cache())
    source.gate = Gate()
    with Waits() as waits:
        leader = start(f, 1)
        source.gate.reached()
        follower = start(f, 1)
        waits.reach(1)

        def check():
            assert f(1) == 1
            assert source.executions == 2
            assert f(1) == 1 and source.executions == 2, 'the child cannot store'
        in_child(check)
        source.gate.open()
    assert (leader.result(), follower.result()) == (1, 1)
    assert source.executions == 1


def test_a_forked_child_does_not_wait_for_its_parents_stores():
    slow = UserCache()
    slow.before_set = Gate()
    source = Source()
    f = source.cached(slow)
    leader = start(f, 1)
    slow.before_set.reached()

    def check():
        source.value = 2
        f.clear(1)
        assert f(1) == 2
        assert f.get_cached_value(1) == 2
    in_child(check)
    slow.before_set.open()
    leader.result()


def test_a_leader_that_forks_leads_on_in_both():
    import os
    source = Source()
    f = source.cached(Memory())
    pids = []
    source.gate = lambda: pids.append(os.fork())
    value = f(1)
    stored = f.get_cached_value(1)
    if pids[0] == 0:
        os._exit(0 if value == stored == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    assert value == stored == 1


def test_a_child_forked_in_a_running_loop_calls_a_coroutine_function_of_its_own():
    source = Source()
    f = source.cached_async(Memory())

    async def main():
        source.gate = AsyncGate()
        leader = asyncio.ensure_future(f(1))
        await waiting(leader)

        def check():
            async def passing():
                pass
            source.gate = passing
            asyncio.events._set_running_loop(None)
            assert asyncio.new_event_loop().run_until_complete(f(1)) == 1
            assert source.executions == 2
        in_child(check)
        source.gate.opened.set()
        assert await leader == 1
    run(main())


# ---- recursion ----

@every_cache
def test_a_function_that_calls_itself_with_its_own_key_ends(make_cache):
    depth = []

    @cached(make_cache())
    def f(key):
        depth.append(key)
        return f(key) + 1 if len(depth) < 3 else 0
    assert start(f, 1).result() == 2
    assert len(depth) == 3


@pytest.mark.parametrize('front, where', [([], 'get'), ([], 'set'), ([Memory(copy=True)], 'get'), ([Memory(copy=True)], 'set'),
                                          ([Memory(copy=True)], 'pickling')])
def test_a_call_of_its_key_from_inside_a_caches_own_code_does_not_wait_for_itself(front, where):
    slow = UserCache()
    source = Source()
    f = source.cached(TieredCache([*front, slow]))
    calls = []

    def once_inside():
        calls.append(1)
        if len(calls) == 1:
            assert f(1) == source.value

    class Pickled(str):
        def __reduce__(self):
            once_inside()
            return str, (str(self),)
    if where == 'get':
        slow.after_get = once_inside
    elif where == 'set':
        slow.before_set = once_inside
    else:
        source.value = Pickled('value')
    with Waits() as waits:
        assert start(f, 1).result() == source.value
    waits.none()
    assert calls


@every_cache
def test_two_functions_that_call_each_other_end(make_cache):
    cache = make_cache()
    depth = []

    @cached(cache)
    def f(key):
        depth.append('f')
        return g(key) if len(depth) < 4 else 'end'

    @cached(cache)
    def g(key):
        depth.append('g')
        return f(key)
    assert start(f, 1).result() == 'end'
    assert depth == ['f', 'g', 'f', 'g', 'f'][:len(depth)]


@three
def test_two_threads_in_a_cycle_of_functions_do_not_deadlock(make_cache):
    """One leads f and calls g, the other leads g and calls f."""
    cache = make_cache()
    meet = threading.Barrier(2)
    deep = threading.local()

    def first_time():
        if not getattr(deep, 'inside', False):
            deep.inside = True
            meet.wait(LONG)
            return True
        return False

    @cached(cache)
    def f(key):
        return 'f' + g(key) if first_time() else 'f'

    @cached(cache)
    def g(key):
        return 'g' + f(key) if first_time() else 'g'
    before = time.monotonic()
    one, other = start(f, 1), start(g, 1)
    assert one.result() in ('fg', 'fgf') and other.result() in ('gf', 'gfg')
    assert time.monotonic() - before < LONG / 2, 'only patience ended it'


def test_a_coroutine_function_that_calls_itself_ends():
    depth = []

    @cached(Memory())
    async def f(key):
        depth.append(key)
        return await f(key) + 1 if len(depth) < 3 else 0
    assert run(f(1)) == 2


def test_tasks_in_a_cycle_of_coroutine_functions_do_not_deadlock():
    memory = Memory()
    turns = {'f': 0, 'g': 0}

    @cached(memory)
    async def f(key):
        turns['f'] += 1
        await asyncio.sleep(0.001)
        return await g(key) if turns['f'] == 1 else 'end'

    @cached(memory)
    async def g(key):
        turns['g'] += 1
        await asyncio.sleep(0.001)
        return await f(key) if turns['g'] == 1 else 'end'

    async def main():
        return await asyncio.gather(f(1), g(1))
    before = time.monotonic()
    assert run(main()) == ['end', 'end']
    assert time.monotonic() - before < LONG / 2


def test_a_gather_inside_a_coroutine_function_that_calls_it_back_ends():
    """The tasks of a gather are parts of the flight that made them."""
    memory = Memory()
    depth = []

    @cached(memory)
    async def f(key):
        depth.append(key)
        if len(depth) > 2:
            return 1
        return sum(await asyncio.gather(f(key), f(key)))
    assert run(f(1)) >= 1


@three
def test_a_leader_that_waits_for_a_pool_whose_task_calls_the_same_key_ends(make_cache):
    """A pool's thread does not know for whom it works: patience ends it, one second once the function's time is known."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        through_the_pool = Event()

        @cached(make_cache())
        def f(key):
            if key == 1 and not through_the_pool.is_set():
                through_the_pool.set()
                return pool.submit(f, key).result(LONG)
            return 'end'
        f(0)
        assert start(f, 1).result() == 'end'


# ---- loops that are gone ----

def _abandoned(f):
    """A loop that was closed with a call of f(1) in it."""
    loop = asyncio.new_event_loop()
    call = loop.create_task(f(1))
    loop.run_until_complete(asyncio.sleep(0.002))
    assert not call.done()
    call._log_destroy_pending = False
    loop.close()
    return call


@three
def test_a_flight_whose_loop_was_closed_stops_nobody(make_cache):
    source = Source()
    f = source.cached_async(make_cache())

    async def stuck():
        await asyncio.get_running_loop().create_future()
    source.gate = stuck
    kept = _abandoned(f)

    async def passing():
        pass
    source.gate = passing
    before = time.monotonic()
    assert run(f(1)) == 1
    assert run(f(1)) == 1
    assert source.executions == 2
    assert time.monotonic() - before < LONG / 2
    del kept


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_follower_of_a_flight_whose_loop_is_closed_meanwhile_is_served():
    source = Source()
    f = source.cached_async(Memory())
    # The function's time is known, so that patience is one second.
    async def passing():
        pass
    source.gate = passing
    run(f(0))

    async def stuck():
        await asyncio.get_running_loop().create_future()
    source.gate = stuck
    loop = asyncio.new_event_loop()
    call = loop.create_task(f(1))
    loop.run_until_complete(asyncio.sleep(0.002))
    source.gate = passing
    waits = Event()

    async def follow():
        task = asyncio.ensure_future(f(1))
        await waiting(task)
        waits.set()
        return await task
    follower = start(asyncio.run, follow())
    assert waits.wait(LONG)
    loop.close()
    # The coroutine of the flight is closed with its task.
    call._log_destroy_pending = False
    tasks = asyncio.all_tasks(loop) | {call}
    for task in tasks:
        task._log_destroy_pending = False
    del call, tasks
    import gc
    gc.collect()
    assert follower.result() == 1


def test_closing_the_coroutine_of_a_flight_raises_nothing_in_its_followers():
    """GeneratorExit is how a coroutine is thrown away, not something that the function raised."""
    async def main():
        source = Source()
        f = source.cached_async(Memory())
        source.gate = AsyncGate()
        loop = asyncio.get_running_loop()
        made = []

        def factory(loop, coroutine, **kwargs):
            if getattr(coroutine, '__name__', '') == '_lead':
                made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **kwargs)
        loop.set_task_factory(factory)
        leader = asyncio.ensure_future(f(1))
        follower = asyncio.ensure_future(f(1))
        await waiting(leader, follower)
        loop.set_task_factory(None)
        source.gate.opened.set()
        source.gate = AsyncGate()
        source.gate.opened.set()
        made[0].close()
        assert await follower == 1
        assert await leader == 1
    run(main())


# ---- generators ----

def test_a_generator_function_warns():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')

        @cached(Memory())
        def numbers(key):
            yield key

        @cached(Memory())
        async def later_numbers(key):
            yield key
    assert [w.category for w in said] == [UserWarning] * 2
    assert 'numbers' in str(said[0].message) and 'list' in str(said[0].message)
    assert all(w.filename == __file__ for w in said)


def test_a_thread_that_dies_by_systemexit_ends_its_flight(tmp_path):
    done = script(tmp_path, """
        import sys, threading
        from quickcache import Memory, get_quickcache
        runs = []

        @get_quickcache(cache=Memory())(['key'])
        def f(key):
            runs.append(key)
            if len(runs) == 1:
                sys.exit()
            return key

        t = threading.Thread(target=f, args=(1,))
        t.start()
        t.join()
        assert f(1) == 1 and f(1) == 1 and len(runs) == 2
    """)
    assert (done.returncode, done.stderr) == (0, '')

"""P7 over the processes of a machine: one execution for a cold key, whoever dies, is stopped, raises or is cancelled meanwhile.

As long as a process has run a function not once, its patience is 30 s: longer than the tests wait. What goes on without that was
told by the lease.
"""
import pytest

from .tools import LONG

CALLS = """
    import asyncio
    import threading
    import time
    from concurrent.futures import ThreadPoolExecutor

    def at_once(function, threads):
        '''Calls from many threads that begin together.'''
        barrier = threading.Barrier(threads + 1)

        def one():
            barrier.wait()
            return function(1)
        with ThreadPoolExecutor(threads) as pool:
            calls = [pool.submit(one) for _ in range(threads)]
            barrier.wait()
            note('begun')
            return [call.result() for call in calls]

    def settled(value):
        return asyncio.run(awaited(value)) if hasattr(value, '__await__') else value

    async def gathered(function, tasks):
        calls = [asyncio.ensure_future(awaited(function(1))) for _ in range(tasks)]
        await asyncio.sleep(0)
        note('begun')
        return await asyncio.gather(*calls)

    async def ticking(awaitable, ticks=50):
        '''The value, and the longest time for which the loop served nobody else.'''
        call, gap = asyncio.ensure_future(awaited(awaitable)), 0
        while not call.done():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            gap, ticks = max(gap, time.perf_counter() - start), ticks - 1
            if ticks == 0:
                note('ticked')
        return await call, gap

    class Boom(Exception):
        pass

    kept = []

    async def cancelled(awaitable, name):
        '''A call that is cancelled when the test opens the gate; the task, and what was raised, stay.'''
        task = asyncio.ensure_future(awaited(awaitable))
        kept.append(task)
        await agate(name)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            kept.append(error)
            return 'cancelled'
"""

every_sync = pytest.mark.parametrize('f', ['f', 'g'], ids=['seed', 'v1'])
every_kind = pytest.mark.parametrize('f', ['f', 'g', 'h'], ids=['seed', 'v1', 'v1 async'])


def led(site, others=1, f='f'):
    """Processes of which the first is in the midst of `f(1)`."""
    leader, *followers = [site.start(more=CALLS) for _ in range(others + 1)]
    leader.do("source['gates'] = ['gate']")
    call = leader.begin(f'{f}(1)')
    leader.reached()
    return leader, call, followers


def begun(process, f):
    """A call that has begun for sure, and whose process has served another since."""
    call = process.begin(f"gathered({f}, 1)" if f == 'h' else f"at_once({f}, 1)")
    process.reached('begun')
    process.do('None')
    return call


@every_sync
def test_p7_four_processes_of_eight_threads_on_a_cold_key_run_once(site, f):
    leader, first, others = led(site, 3, f)
    calls = [process.begin(f'at_once({f}, 8)') for process in (leader, *others)]
    for process in (leader, *others):
        process.reached('begun')
        process.do('None')
    leader.open()
    assert first.result(LONG) == [1, 1]
    assert [call.result(LONG) for call in calls] == [[[1, 1]] * 8] * 4
    assert site.executions == [leader.pid]


def test_p7_four_processes_of_eight_tasks_on_a_cold_key_run_once(site):
    leader, first, others = led(site, 3, 'h')
    calls = [process.begin('gathered(h, 8)') for process in others]
    for process in others:
        process.reached('begun')
    leader.open()
    assert first.result(LONG) == [1, 1]
    assert [call.result(LONG) for call in calls] == [[[1, 1]] * 8] * 3
    assert site.executions == [leader.pid]


@every_kind
def test_p7_many_keys_at_once_run_once_each(site, f):
    """Nobody leads on purpose here: whoever comes first."""
    processes = [site.start(more=CALLS) for _ in range(4)]
    calls = [process.begin(f'[settled({f}(key)) for key in range(100)]') for process in processes]
    assert all(call.result(LONG) == [[key, 1] for key in range(100)] for call in calls)
    assert len(site.executions) == 100


@every_kind
def test_p7_a_leader_that_is_killed_costs_one_more_execution(site, f):
    leader, first, others = led(site, 3, f)
    calls = [begun(process, f) for process in others]
    leader.kill()
    assert isinstance(first.exception(LONG), ConnectionError)
    assert [call.result(LONG) for call in calls] == [[[1, 1]]] * 3
    assert len(site.executions) == 2 and site.executions[0] == leader.pid


@every_kind
def test_p7_a_leader_that_was_killed_before_anybody_waited_is_missed_by_nobody(site, f):
    leader, _, (other,) = led(site, 1, f)
    leader.kill()
    assert other.do(f'{f}(1)') == [1, 1]
    assert len(site.executions) == 2


@every_kind
def test_p7_others_go_on_without_a_leader_that_is_stopped_when_their_patience_is_over(site, f):
    leader, first, others = led(site, 2, f)
    for process in others:
        # Once it is known how long the function takes: a second.
        process.do(f"{f}({process.pid})")
    leader.stop()
    calls = [begun(process, f) for process in others]
    assert [call.result(LONG) for call in calls] == [[[1, 1]]] * 2
    assert 4 <= len(site.executions) <= 5
    leader.go_on()
    leader.open()
    assert first.result(LONG) == [1, 1]


@every_kind
def test_p7_what_a_stopped_leader_stores_late_is_not_found_after_a_clear(site, f):
    leader, first, (other,) = led(site, 1, f)
    other.do(f"{f}(0)")
    leader.stop()
    other.do(f"{f}.clear(1); source['value'] = 2")
    assert other.do(f'{f}(1)') == [1, 2], 'the clear has freed it of the lease'
    leader.go_on()
    leader.open()
    assert first.result(LONG) == [1, 1]
    assert other.do(f'{f}(1)') == [1, 2]
    leader.do("source.update(value=3, gates=())")
    assert leader.do(f'{f}(1)') == [1, 2]


RAISING = """
    def raising(key):
        ran()
        gate()
        raise Boom

    async def araising(key):
        ran()
        await agate()
        raise Boom

    async def keeps(awaitable):
        # The exception stays, and its traceback, as a crash reporter's would.
        try:
            await awaitable
        except Boom as error:
            kept.append(error)
            return 'raised'

    def keeps_sync(function):
        try:
            function(1)
        except Boom as error:
            kept.append(error)
            return 'raised'

    raising_f = v1(['key'], name='raises', version=1)(raising)
    raising_h = v1(['key'], name='araises', version=1)(araising)
    fine = []

    @v1(['key'], name='raises', version=1)
    def fine_f(key):
        ran()
        return 'fine'

    @v1(['key'], name='araises', version=1)
    async def fine_h(key):
        ran()
        return 'fine'
"""


@pytest.mark.parametrize('raises, fine', [('keeps_sync(raising_f)', 'fine_f'), ('keeps(raising_h(1))', 'fine_h')],
                         ids=['sync', 'async'])
def test_p7_when_the_leader_raises_one_of_the_others_runs(site, raises, fine):
    leader, *others = [site.start(more=CALLS + RAISING) for _ in range(3)]
    first = leader.begin(raises)
    leader.reached()
    calls = [process.begin(f"gathered({fine}, 1)" if fine == 'fine_h' else f"at_once({fine}, 1)") for process in others]
    for process in others:
        process.reached('begun')
        process.do('None')
    leader.open()
    assert first.result(LONG) == 'raised'
    assert [call.result(LONG) for call in calls] == [['fine']] * 2
    assert len(site.executions) == 2


@pytest.mark.parametrize('led_by', ['g', 'h'])
def test_asyncio_waits_for_another_process_without_blocking_its_loop(site, led_by):
    """Of one name, a function may be plain in one process and a coroutine function in another."""
    more = CALLS + """
    named = v1(['key'], name='both', version=1)
    g, h = named(g.__wrapped__), named(h.__wrapped__)
    """
    leader, waiter = site.two(more=more)
    leader.do("source['gates'] = ['gate']")
    first = leader.begin(f'{led_by}(1)')
    leader.reached()
    call = waiter.begin('ticking(h(1))')
    waiter.reached('ticked')
    leader.open()
    value, gap = call.result(LONG)
    assert value == first.result(LONG) == [1, 1]
    assert len(site.executions) == 1
    assert gap < 0.5


def test_a_leader_that_is_cancelled_leaves_no_lease_behind(site):
    one, two = site.two(more=CALLS)
    one.do("source['gates'] = ['gate']")
    first = one.begin("cancelled(h(1), 'cancel')")
    one.reached()
    one.open('cancel')
    assert first.result(LONG) == 'cancelled'
    assert two.do('h(1)') == [1, 1]
    assert len(site.executions) == 2


def test_a_waiter_that_is_cancelled_leaves_no_lease_behind_and_takes_none_along(site):
    leader, first, (waiter,) = led(site, 1, 'h')
    call = waiter.begin("cancelled(h(1), 'cancel')")
    waiter.reached('cancel')
    waiter.open('cancel')
    assert call.result(LONG) == 'cancelled'
    again = begun(waiter, 'h')
    leader.open()
    assert first.result(LONG) == [1, 1] and again.result(LONG) == [[1, 1]]
    assert len(site.executions) == 1
    # And the one who waited may lead afterwards.
    leader.do('h.clear(1)')
    assert waiter.do('h(1)') == [1, 1]


def test_p11_a_call_from_inside_its_own_execution_does_not_wait_for_itself(site):
    one, two = site.two(more="""
        @v1(['n'])
        def fact(n):
            ran()
            return 1 if n == 0 else n * fact(n - 1)

        @v1(['key'])
        def self_caller(key):
            ran()
            return self_caller(key) if len(depth) < 2 and not depth.append(1) else 'end'
        depth = []
    """)
    assert one.do('fact(10)') == two.do('fact(10)') == 3628800
    assert one.do('self_caller(1)') == 'end'


def test_p11_a_cycle_of_two_functions_in_two_processes_ends(site):
    """One computes f, which asks for g; the other computes g, which asks for f: after a second one of them waits no longer."""
    one, two = site.two(more="""
        @v1(['key'], name='left', version=1)
        def left(key):
            ran()
            if key and not inside:
                inside.append(1)
                gate()
                return ['left', right(key)]
            return 'left'

        @v1(['key'], name='right', version=1)
        def right(key):
            ran()
            if key and not inside:
                inside.append(1)
                gate()
                return ['right', left(key)]
            return 'right'
        inside = []
    """)
    for process in (one, two):
        # So that patience is a second.
        process.do('left(0), left.refresh(0), right.refresh(0)')
    calls = one.begin('left(1)'), two.begin('right(1)')
    one.reached(), two.reached()
    one.open(), two.open()
    values = [call.result(LONG) for call in calls]
    assert values[0][0] == 'left' and values[1][0] == 'right'

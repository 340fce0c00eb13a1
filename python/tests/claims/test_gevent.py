"""Under gevent waits go through the patched `threading` module: greenlets wait, their thread goes on. Each claim in a program of its
own, which must end before its time.
"""
import textwrap

import pytest

from .tools import LONG, script

pytest.importorskip('gevent')

PATCHED = """
    from gevent import monkey
    monkey.patch_all()
    import quickcache
"""
PATCHED_LATE = """
    import quickcache
    from gevent import monkey
    monkey.patch_all()
"""
COMMON = """
    import gevent
    from gevent.event import Event
    from quickcache import Memory, TieredCache, get_quickcache

    class Dict:
        '''A cache that lets other greenlets run before it does anything.'''

        def __init__(self):
            self.store = {}
            self.before_set = lambda: None

        def get(self, key, default=None):
            gevent.sleep(0)
            return self.store.get(key, default)

        def set(self, key, value):
            gevent.sleep(0)
            self.before_set()
            self.store[key] = value

        def delete(self, key):
            gevent.sleep(0)
            self.store.pop(key, None)

    executions = []
    source = [1]

    def cached(cache, gate=lambda: gevent.sleep(0)):
        @get_quickcache(cache=cache)(['key'])
        def f(key):
            executions.append(key)
            value = source[0]
            gate()
            return value
        return f

    def settle():
        '''Until every greenlet waits.'''
        for _ in range(20):
            gevent.sleep(0)

    def all_of(greenlets):
        done = gevent.joinall(greenlets, timeout=LONG)
        assert len(done) == len(greenlets), 'somebody hangs'
        return [greenlet.get() for greenlet in greenlets]
""".replace('LONG', str(LONG))

CACHES = {'memory': 'Memory()', 'user': 'Dict()', 'memory+user': 'TieredCache([Memory(), Dict()])'}
every_cache = pytest.mark.parametrize('cache', CACHES.values(), ids=CACHES)


def passes(tmp_path, text, patched=PATCHED):
    done = script(tmp_path, patched + COMMON + text, timeout=3 * LONG)
    assert (done.returncode, done.stderr) == (0, ''), done.stderr


@every_cache
@pytest.mark.parametrize('patched', [PATCHED, PATCHED_LATE], ids=['patched', 'patched after the import'])
def test_many_greenlets_on_a_cold_key_are_one_execution(tmp_path, cache, patched):
    passes(tmp_path, f"""
    f = cached({cache})
    assert all_of([gevent.spawn(f, 1) for _ in range(50)]) == [1] * 50
    assert executions == [1], executions
    assert f.stats().followers == 49
    """, patched)


@every_cache
def test_a_clear_while_greenlets_wait_for_a_flight_is_seen(tmp_path, cache):
    passes(tmp_path, f"""
    go_on = Event()
    gates = [go_on.wait]
    f = cached({cache}, lambda: gates.pop()() if gates else None)
    before = [gevent.spawn(f, 1) for _ in range(50)]
    settle()
    assert executions == [1]
    source[0] = 2
    f.clear(1)
    assert f(1) == 2, 'joined the flight that began before the clear'
    go_on.set()
    assert set(all_of(before)) <= {{1, 2}} and before[0].get() == 1
    assert f(1) == 2 and f.get_cached_value(1) == 2
    """)


@every_cache
def test_a_hit_is_served_while_another_greenlets_flight_runs(tmp_path, cache):
    passes(tmp_path, f"""
    go_on = Event()
    gates = {{2: go_on.wait}}
    f = cached({cache}, lambda: gates.get(executions[-1], lambda: None)())
    assert f(1) == 1
    slow = [gevent.spawn(f, 2) for _ in range(5)]
    settle()
    assert executions == [1, 2]
    assert all_of([gevent.spawn(f, 1) for _ in range(5)]) == [1] * 5
    assert f(1) == 1 and executions == [1, 2]
    go_on.set()
    assert all_of(slow) == [1] * 5 and executions == [1, 2]
    """)


def test_a_clear_waits_for_the_store_of_another_greenlet(tmp_path):
    passes(tmp_path, """
    go_on = Event()
    cache = Dict()
    f = cached(cache)
    cache.before_set = go_on.wait
    storing = gevent.spawn(f, 1)
    settle()
    source[0] = 2
    clearing = gevent.spawn(f.clear, 1)
    settle()
    assert not clearing.ready()
    go_on.set()
    all_of([storing, clearing])
    assert not cache.store
    assert f(1) == 2
    """)


def test_a_function_that_waits_for_a_greenlet_of_its_context_which_calls_it_does_not_wait_for_itself(tmp_path):
    passes(tmp_path, """
    from contextvars import copy_context
    depth = []

    @get_quickcache(cache=Memory())(['key'])
    def f(key):
        depth.append(key)
        return gevent.spawn(copy_context().run, f, key).get() + 1 if len(depth) < 3 else 0
    assert all_of([gevent.spawn(f, 1)]) == [2]
    assert f.stats().followers == 0
    """)


def test_a_greenlet_that_is_killed_while_it_leads_or_follows_leaves_the_others(tmp_path):
    passes(tmp_path, """
    go_on = Event()
    f = cached(Memory(), go_on.wait)
    leader, *others = [gevent.spawn(f, 1) for _ in range(5)]
    settle()
    others.pop().kill()
    leader.kill()
    settle()
    go_on.set()
    assert all_of(others) == [1] * 3
    assert executions == [1, 1], executions
    """)


@pytest.mark.parametrize('tier', ['Store(folder)', 'Redis(url, folder=folder, budget=2)'], ids=['store', 'redis'])
def test_a_greenlet_that_waits_for_another_process_lets_others_run(tmp_path, redis_server, tier):
    (tmp_path / 'shared.py').write_text(textwrap.dedent(f"""
        import pathlib, sys, time
        from quickcache import Memory, Redis, Store, TieredCache, get_quickcache

        folder, url, files = {str(tmp_path / 'folder')!r}, 'redis://127.0.0.1:{redis_server.port}/0', pathlib.Path(__file__).parent

        def execute():
            raise AssertionError('it waits for the other process')

        @get_quickcache(cache=TieredCache([Memory(), {tier}]))(['key'])
        def f(key):
            return execute()
    """))
    (tmp_path / 'other.py').write_text(textwrap.dedent("""
        import shared, time

        def execute():
            (shared.files / 'entered').touch()
            while not (shared.files / 'go').exists():
                time.sleep(0.01)
            return 'the other'

        shared.execute = execute
        assert shared.f(1) == 'the other'
    """))
    passes(tmp_path, """
    import subprocess, sys
    import shared

    other = subprocess.Popen([sys.executable, str(shared.files / 'other.py')])
    while not (shared.files / 'entered').exists():
        gevent.sleep(0.01)

    def go():
        settle()
        (shared.files / 'go').touch()

    assert all_of([gevent.spawn(shared.f, 1), gevent.spawn(go)])[0] == 'the other'
    assert other.wait() == 0
    """)

"""`stale_timeout`: a function that raises gives its last value, for so long after its time, and never one that was cleared."""
import asyncio
import os
import pickle
import signal
import socket
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from quickcache import Memory, Redis, Store, TieredCache, get_local_quickcache, get_redis_quickcache, testing
from quickcache.quickcache import decorate
from quickcache.v1 import V1Function

from .test_redis import in_memory, until
from .tools import LONG, Gate, Source, start

TIMEOUT, STALE = 300, 3600
STACKS = ['store', 'memory store', 'redis', 'memory redis', 'store redis', 'memory store redis']
every_stack = pytest.mark.parametrize('tiers', STACKS)
over_redis = pytest.mark.parametrize('tiers', [tiers for tiers in STACKS if 'redis' in tiers])


class Down(Exception):
    pass


def run(function, *args, **kwargs):
    async def main():
        return await function(*args, **kwargs)
    return asyncio.run(asyncio.wait_for(main(), LONG))


class Blocking:
    """A function as threads use it."""

    def __init__(self, cache, source, stale, skip_arg='force'):
        def f(key, force=False):
            return self.answer(source)
        self.f = decorate(f, V1Function(f, ['key'], cache, skip_arg, 'f', 1, stale))

    @staticmethod
    def answer(source):
        value = source.read()
        if isinstance(value, BaseException):
            raise value
        return value

    def __call__(self, *args, **kwargs):
        return self.f(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self.f, name)


class Awaited(Blocking):
    """The same function as tasks use it."""

    def __init__(self, cache, source, stale, skip_arg='force'):
        async def f(key, force=False):
            await asyncio.sleep(0)
            return self.answer(source)
        self.f = decorate(f, V1Function(f, ['key'], cache, skip_arg, 'f', 1, stale))

    def __call__(self, *args, **kwargs):
        return run(self.f, *args, **kwargs)

    def __getattr__(self, name):
        companion = getattr(self.f, name)
        return lambda *args, **kwargs: run(companion, *args, **kwargs)


both_kinds = pytest.mark.parametrize('kind', [Blocking, Awaited])


class Ground:
    """A stack, a source, and time that passes when it is told to."""

    def __init__(self, tiers, machines, clock):
        self.tiers, self.machines, self._clock = tiers, machines, clock
        self.source = Source()

    def stack(self, machine='one', **options):
        make = {
            # Behind a Redis time is real.
            'memory': lambda: Memory(timeout=0.05 if self._clock is None else 10),
            'store': lambda: Store(self.machines._folder / machine, timeout=TIMEOUT if self._clock else 0.05, max_bytes=8 << 20),
            'redis': lambda: self.machines.redis(machine, timeout=TIMEOUT, **options),
        }
        return TieredCache([make[tier]() for tier in self.tiers.split()])

    def function(self, kind=Blocking, machine='one', stale=STALE, source=None, **options):
        return kind(self.stack(machine, **options), source or self.source, stale)

    def ask(self, *command):
        """What the server answers: a number, or text, or a list of them."""
        host, port = self.machines.url.split('://')[1].split('/')[0].rsplit(':', 1)
        with socket.create_connection((host, int(port)), LONG) as connection, connection.makefile('rb') as answers:
            connection.sendall(b''.join([b'*%d\r\n' % len(command), *(b'$%d\r\n%s\r\n' % (len(c), c) for c in map(_bytes, command))]))
            return _answer(answers)

    def keys(self):
        """Of values: those of functions hold 16 bytes."""
        return [key for key in self.ask('KEYS', self.machines.namespace + ':*')
                if self.ask('TYPE', key) == b'string' and self.ask('GETRANGE', key, 0, 0) == b'P']

    def make_stale(self, since=1):
        """So many seconds after the end of the values' time."""
        if self._clock:
            self._clock.advance(since + TIMEOUT - self.passed)
            self.passed = since + TIMEOUT
            return
        keys = self.keys()
        assert keys, 'nothing is stored'
        for key in keys:
            assert self.ask('PEXPIRE', key, round((STALE - since) * 1000)) == 1
        # The faster tiers.
        time.sleep(0.06)

    passed = 0


def _bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


def _answer(lines):
    line = lines.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b':':
        return int(rest)
    if kind == b'*':
        return [_answer(lines) for _ in range(int(rest))]
    if kind == b'$':
        return None if rest == b'-1' else lines.read(int(rest) + 2)[:-2]
    assert kind == b'+', line
    return rest


@contextmanager
def grounds(tiers, machines):
    if 'redis' in tiers:
        yield Ground(tiers, machines, None)
    else:
        with testing.fake_clock() as clock:
            yield Ground(tiers, machines, clock)


@pytest.fixture
def ground(tiers, machines):
    with grounds(tiers, machines) as made:
        yield made


def raises(f, error=Down):
    with pytest.raises(error):
        f(1)
    return True


@every_stack
@both_kinds
def test_the_last_value_takes_the_place_of_what_the_function_raises(ground, kind):
    f, source = ground.function(kind), ground.source
    source.value = [1]
    assert f(1) == [1]
    source.value = Down()
    ground.make_stale()
    executions = source.executions
    for number in range(1, 4):
        assert f(1) == [1]
        assert source.executions == executions + number, 'each call tries'
        assert f.stats().stale_hits == number
    explained = f.explain(1)
    assert explained.stale and explained.tier in ground.tiers and 0 < explained.time_left <= STALE
    assert explained.age >= TIMEOUT or explained.tier != ground.tiers.split()[-1]
    source.value = [2]
    assert (f(1), f.explain(1).stale, f.stats().stale_hits) == ([2], False, 3)


@every_stack
def test_who_has_no_stale_timeout_reads_a_miss(ground):
    f, plain = ground.function(), ground.function(stale=None, machine='two' if 'redis' in ground.tiers else 'one')
    assert f(1) == 1
    ground.source.value = Down()
    ground.make_stale()
    assert raises(plain) and f(1) == 1 and raises(plain)
    assert plain.stats().stale_hits == 0
    assert plain.explain(1).tier is None or ground.tiers.startswith('memory')
    ground.source.value = 2
    assert plain(1) == 2


@every_stack
@both_kinds
def test_it_is_served_until_the_bound_and_no_failure_moves_that(ground, kind):
    f = ground.function(kind)
    assert f(1) == 1
    ground.source.value = Down()
    for since in (1, STALE // 2, STALE - 10):
        ground.make_stale(since)
        assert f(1) == 1
        explained = f.explain(1)
        assert explained.time_left <= STALE - since or explained.tier != ground.tiers.split()[-1]
    ground.make_stale(STALE)
    assert raises(f) and raises(f)
    assert f.explain(1).tier is None or 'redis' in ground.tiers


@over_redis
def test_a_reader_goes_by_its_own_bound(ground):
    f, short = ground.function(), ground.function(machine='two', stale=60)
    assert f(1) == 1
    ground.source.value = Down()
    ground.make_stale(30)
    assert (f(1), short(1)) == (1, 1)
    ground.make_stale(60)
    assert f(1) == 1 and raises(short)


@over_redis
@both_kinds
def test_a_clock_that_is_ahead_of_the_server_makes_a_value_stale_and_loses_none(ground, kind):
    with testing.fake_clock() as clock:
        f = ground.function(kind)
        assert f(1) == 1
        ground.source.value = Down()
        clock.advance(TIMEOUT)
        assert f(1) == 1 and f(1) == 1 and f.stats().stale_hits == 2
        clock.advance(STALE - 1)
        assert f(1) == 1
        clock.advance(1)
        assert raises(f)
        ground.source.value = 3
        assert f(1) == 3
        ground.source.value = Down()
        clock.advance(TIMEOUT + STALE - 60)
        assert f(1) == 3
        assert [ground.ask('PTTL', key) <= 60_000 for key in ground.keys()] == [True], 'the server keeps it longer than it may be served'
        ground.source.value = 2
        assert f(1) == 2
        ground.source.value = Down()
        clock.advance(TIMEOUT)
        assert f(1) == 2
        f.clear(1)
        assert raises(f)


@every_stack
@both_kinds
@pytest.mark.parametrize('clear', ['clear', 'clear_all'])
@pytest.mark.parametrize('whose', ['own', "another's"])
def test_what_was_cleared_is_never_served(ground, kind, clear, whose):
    f, other = ground.function(kind), ground.function(machine='two' if 'redis' in ground.tiers else 'one')
    assert f(1) == 1
    ground.source.value = Down()
    ground.make_stale()
    assert f(1) == 1
    getattr(f if whose == 'own' else other, clear)(*[1] if clear == 'clear' else [])
    assert raises(f) and raises(f) and raises(other)
    assert f.stats().stale_hits == 1


@every_stack
@both_kinds
@pytest.mark.parametrize('clear', ['clear', 'clear_all'])
def test_a_clear_while_the_function_runs_leaves_nothing_to_serve(ground, kind, clear):
    f, other = ground.function(kind), ground.function(machine='two' if 'redis' in ground.tiers else 'one', source=Source())
    assert f(1) == 1
    ground.source.value = Down()
    ground.make_stale()
    assert f(1) == 1
    ground.source.gate = lambda: getattr(other, clear)(*[1] if clear == 'clear' else [])
    assert raises(f)
    ground.source.gate = lambda: None
    assert raises(f)


@pytest.mark.parametrize('tiers', ['memory redis', 'memory store redis'])
@both_kinds
@pytest.mark.parametrize('when', ['before the call', 'while the function runs'])
def test_what_redis_has_no_more_is_not_served_from_memory_or_store(ground, kind, when):
    """Nobody has told them."""
    f = ground.function(kind)
    in_memory_of(f)
    ground.source.value = Down()
    ground.make_stale()

    def delete():
        for key in ground.keys():
            assert ground.ask('DEL', key) == 1
    if when == 'before the call':
        delete()
    else:
        ground.source.gate = delete
    until(lambda: f.explain(1).stale, 'it is never stale in memory')
    assert raises(f) and f.explain(1).stale
    assert f.stats().stale_hits == 0


def in_memory_of(f):
    def hit():
        before = f.stats().memory_hits
        f(1)
        f(1)
        return f.stats().memory_hits > before
    until(hit, 'memory never served')


@pytest.mark.parametrize('tiers', ['memory redis', 'memory store redis'])
@both_kinds
def test_without_a_redis_that_can_be_asked_memory_and_store_have_it(tiers, own_machines, own_server, kind):
    with grounds(tiers, own_machines) as ground:
        f = ground.function(kind, serve_while_unreachable=True, budget=0.1)
        in_memory_of(f)
        ground.source.value = Down()
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            time.sleep(0.1)
            until(lambda: f.explain(1).stale, 'it is never stale in memory')
            stale = f.stats().stale_hits
            assert f(1) == 1 and f(1) == 1
            assert f.stats().stale_hits == stale + 2
            f.clear(1)
            assert raises(f), 'a clear of this machine is in force'
        finally:
            os.kill(own_server.pid, signal.SIGCONT)


@every_stack
@both_kinds
@pytest.mark.parametrize('interrupt', [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_an_interrupt_goes_through(ground, kind, interrupt):
    f = ground.function(kind)
    assert f(1) == 1
    ground.make_stale()
    ground.source.value = interrupt()
    if kind is Awaited and interrupt is GeneratorExit:
        with pytest.raises((GeneratorExit, RuntimeError)):
            f(1)
    else:
        assert raises(f, interrupt)
    assert f.stats().stale_hits == 0
    ground.source.value = Down()
    assert f(1) == 1


@every_stack
@both_kinds
def test_who_wants_it_anew_gets_the_error(ground, kind):
    f = ground.function(kind)
    assert f(1) == 1
    ground.source.value = Down()
    ground.make_stale()
    for anew in (lambda key: f.refresh(key), lambda key: f(key, force=True)):
        assert raises(anew)
    assert f.get_cached_value(1) is Ellipsis
    assert f.stats().stale_hits == 0


@every_stack
def test_followers_get_it_too(ground):
    f, source = ground.function(), ground.source
    source.value = [1]
    assert f(1) == [1]
    ground.make_stale()
    source.value, source.gate, executions = Down(), Gate(), source.executions
    gate = source.gate
    calls = [start(f, 1)]
    gate.reached()
    calls += [start(f, 1) for _ in range(4)]
    until(lambda: threading.active_count() >= 6, 'they never started')
    time.sleep(0.1)
    gate.open()
    values = [call.result() for call in calls]
    assert values == [[1]] * 5 and len({id(value) for value in values}) == 5, 'each has its own'
    assert f.stats().stale_hits == 5
    assert source.executions - executions + f.stats().followers == 5


@every_stack
def test_tasks_that_follow_get_it_too(ground):
    f, source = ground.function(Awaited), ground.source
    assert f(1) == 1
    ground.make_stale()
    source.value, executions = Down(), source.executions

    async def main():
        return await asyncio.gather(*[f.f(1) for _ in range(5)])
    assert run(main) == [1] * 5
    assert source.executions == executions + 1
    assert f.stats().stale_hits == 5


@pytest.mark.parametrize('tiers', ['memory store', 'redis', 'memory redis'])
@both_kinds
def test_who_waits_no_longer_for_another_call_gets_it_too(ground, kind):
    f, source = ground.function(kind), ground.source
    assert f(1) == 1
    ground.make_stale()
    source.value, source.gate = Down(), Gate()
    gate = source.gate
    stuck = start(f, 1)
    gate.reached()
    assert f(1) == 1 and stuck.running()
    gate.open()
    assert stuck.result() == 1
    assert f.stats().stale_hits == 2


@pytest.mark.parametrize('tiers', ['memory store'])
def test_a_text_key_does_not_see_what_is_stale(ground):
    f = ground.function()
    memory = f.clear.__self__.cache.caches[0]
    key = f.get_cache_key(1)
    assert f(1) == 1 and memory.get(key) == 1 and memory.time_left(key) == 10
    ground.make_stale()
    assert memory.get(key) is None and key not in memory and memory.time_left(key) == 0
    assert f.explain(1).tier == 'memory' and f.explain(1).stale


@pytest.mark.parametrize('tiers', ['memory store'])
def test_functions_of_one_text_and_other_stale_timeouts_keep_their_own_time(ground):
    cache = ground.stack()
    f, plain, longer = (Blocking(cache, ground.source, stale) for stale in (STALE, None, 2 * STALE))
    assert (f(1), plain(1), longer(1)) == (1, 1, 1)
    ground.source.value = Down()
    ground.make_stale()
    assert (f(1), longer(1)) == (1, 1) and raises(plain)
    ground.make_stale(STALE + TIMEOUT)
    assert raises(f) and longer(1) == 1
    f.clear(1)
    assert raises(longer)


def test_get_local_quickcache(tmp_path):
    source = Source()
    quickcache = get_local_quickcache(path=tmp_path, stale_timeout=timedelta(hours=1))

    @quickcache(['key'])
    def f(key):
        return Blocking.answer(source)

    @quickcache.but_with(stale_timeout=None)(['key'])
    def g(key):
        return Blocking.answer(source)

    with testing.fake_clock() as clock:
        assert (f(1), g(1)) == (1, 1)
        source.value = Down()
        clock.advance(300)
        assert f(1) == 1 and raises(g)
        clock.advance(3600)
        assert raises(f)


def test_get_redis_quickcache(machines, tmp_path):
    quickcache = get_redis_quickcache(machines.url, namespace=machines.namespace, folder=tmp_path, budget=5, stale_timeout=STALE,
                                      serve_while_unreachable=True)
    ground = Ground('redis', machines, None)

    @quickcache(['key'], memoize_timeout=0.05)
    def f(key):
        return Blocking.answer(ground.source)

    assert f(1) == 1
    ground.source.value = Down()
    ground.make_stale()
    assert f(1) == 1 and f.stats().stale_hits == 1


def test_a_copy_of_a_redis_serves_as_it_does():
    for serves in (True, False):
        redis = pickle.loads(pickle.dumps(Redis('redis://localhost:1', serve_while_unreachable=serves)))
        assert redis.__getnewargs_ex__()[1]['serve_while_unreachable'] is serves
    # Whatever else is said of the server.
    Redis(['redis://one', 'redis://two'], primary='mymaster', serve_while_unreachable=True)
    with pytest.raises(TypeError, match="Redis: serve_while_unreachable must be True or False, not str"):
        Redis(serve_while_unreachable='yes')


def test_memory_goes_on_while_the_server_is_out_of_reach_if_that_was_said(own_machines, own_server):
    source = Source()
    serves, plain = (
        Blocking(TieredCache([Memory(), own_machines.redis(name, budget=0.1, serve_while_unreachable=serves)]), source, None)
        for name, serves in (('one', True), ('two', False)))
    for f in (serves, plain):
        in_memory(f, 1)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        source.value = 2
        until(lambda: plain(1) == 2, 'memory serves beyond its bound')
        executions = source.executions
        for _ in range(100):
            assert serves(1) == 1
        assert source.executions == executions
        assert serves.clear_with()(1) == 'pending'
        assert serves(1) == 2
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

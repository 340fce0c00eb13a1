"""A Redis behind the other tiers: what one machine computes another finds, what one clears none serves."""
import asyncio
import itertools
import logging
import os
import pickle
import threading
import time

import pytest

from quickcache import ClearPending, Redis, get_quickcache, get_redis_quickcache
from quickcache._native import V1Keys

from .conftest import Machines
from .tools import LONG, Gate, Source, start

STACKS = ['redis', 'memory redis', 'store redis', 'memory store redis']
every_stack = pytest.mark.parametrize('tiers', STACKS)


def function(cache, source, **options):
    """One function, wherever it is made: its text is the same."""
    @get_quickcache(cache=cache, skip_arg='force', **options)(['key'])
    def f(key, force=False):
        return source.read()
    return f


def until(holds, what='what was to come never came'):
    end = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def in_memory(f, *args):
    """Calls until memory serves."""
    def hit():
        before = f.stats().memory_hits
        f(*args)
        return f.stats().memory_hits > before
    until(hit, 'memory never served')


@every_stack
def test_what_one_machine_computed_another_hits(machines, tiers):
    source = Source()
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    assert (one(1), two(1), two(1)) == (1, 1, 1)
    assert source.executions == 1
    stats = two.stats()
    assert stats.redis_hits >= 1 and stats.executions == 0 and stats.misses == 0
    assert stats.hits == 2


@every_stack
def test_p3_a_clear_is_in_force_where_there_is_no_memory_tier(machines, tiers):
    source = Source()
    one, bare = function(machines.stack(tiers), source), function(machines.stack('redis', 'two'), source)
    for value in range(20):
        source.value = value
        one.clear(1)
        assert bare(1) == value


@pytest.mark.parametrize('tiers', ['memory redis', 'memory store redis', 'store redis'])
def test_p4_a_clear_reaches_the_other_machine_within_the_bound(machines, tiers):
    source = Source(1)
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    if tiers.startswith('memory'):
        in_memory(two, 1)
    two(1)
    for value in range(2, 5):
        source.value = value
        one.clear(1)
        time.sleep(0.25)
        assert two(1) == value


def test_p5_a_clear_that_waits_is_in_force_in_every_memory(machines):
    source = Source(1)
    one, two = (function(machines.stack('memory redis', machine), source) for machine in ('one', 'two'))
    for value in range(2, 6):
        in_memory(two, 1)
        source.value = value
        began = time.monotonic()
        assert one.clear_with(wait=True)(1) == 'applied'
        assert time.monotonic() - began >= 0.25
        assert two(1) == value


def test_memory_serves_only_what_the_listener_proves(machines):
    source = Source()
    f = function(machines.stack('memory redis'), source)
    in_memory(f, 1)
    hits = f.stats().redis_hits
    for _ in range(100):
        f(1)
    assert f.stats().redis_hits == hits, 'asked the server for what memory has'
    assert f.stats().redis_lag is None or f.stats().redis_lag < LONG


@every_stack
def test_p7_concurrent_calls_run_the_function_once_on_all_machines(machines, tiers):
    source = Source()
    source.gate = gate = Gate()
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    calls = [start(one, 1)]
    gate.reached()
    calls += [start(f, 1) for f in (one, two) * 5]
    time.sleep(0.1)
    gate.open()
    assert [call.result() for call in calls] == [1] * 11
    assert source.executions == 1


@every_stack
def test_p1_a_clear_beats_an_execution_that_began_before_it(machines, tiers):
    source = Source('old')
    source.gate = gate = Gate()
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    running = start(one, 1)
    gate.reached()
    source.value = 'new'
    two.clear(1)
    gate.open()
    assert running.result() == 'old'
    until(lambda: one(1) == 'new', 'what was cleared stayed')
    time.sleep(0.3)
    assert (one(1), two(1)) == ('new', 'new')


@pytest.mark.parametrize('clear', ['clear', 'clear_all'])
@pytest.mark.parametrize('value', ['old', object()], ids=['stored', 'not stored'])
def test_a_follower_takes_no_result_that_was_read_before_a_clear_that_it_began_after(machines, clear, value):
    """Without a memory tier the promise has no bound."""
    source = Source(value)
    source.gate = gate = Gate()
    one, two = (function(machines.stack('redis', machine), source) for machine in ('one', 'two'))
    running = start(one, 1)
    gate.reached()
    source.value = 'new'
    getattr(two, clear)(*[1] if clear == 'clear' else [])
    late = start(one, 1)
    time.sleep(0.1)
    gate.open()
    assert (running.result(), late.result()) == (value, 'new')


def test_an_exception_gives_the_lease_back_at_once(machines):
    answers = iter([ValueError('no'), 2])

    def make(machine):
        @get_quickcache(cache=machines.stack('redis', machine))(['key'])
        def f(key):
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return f
    one, two = make('one'), make('two')
    with pytest.raises(ValueError, match='no'):
        one(1)
    began = time.monotonic()
    assert two(1) == 2
    assert time.monotonic() - began < 1, 'waited for a lease that nobody needs'


@every_stack
def test_what_is_computed_anew_takes_the_place_of_what_is_there(machines, tiers):
    source = Source(1)
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    one(1), two(1)
    for change in (lambda: one(1, force=True), lambda: one.refresh(1), lambda: one.set_cached_value(1).to(source.value)):
        source.value += 1
        change()
        assert one(1) == source.value and one.get_cached_value(1) == source.value
        time.sleep(0.25)
        assert two(1) == source.value and two.get_cached_value(1) == source.value


@every_stack
def test_an_older_value_that_comes_late_replaces_none(machines, tiers):
    """What one machine computes anew began before another one's."""
    source = Source('old')
    source.gate = gate = Gate()
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    late = start(one, 1, force=True)
    gate.reached()
    source.value = 'new'
    assert two(1, force=True) == 'new'
    gate.open()
    assert late.result() == 'old'
    time.sleep(0.25)
    assert (one(1), two(1)) == ('new', 'new')


@every_stack
def test_clear_all(machines, tiers):
    source = Source(1)
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    for key in range(3):
        one(key), two(key)
    source.value = 2
    one.clear_all()
    assert [one(key) for key in range(3)] == [2, 2, 2]
    time.sleep(0.25)
    assert [two(key) for key in range(3)] == [2, 2, 2]


@every_stack
def test_get_cached_value_runs_nothing_and_waits_for_nobody(machines, tiers):
    source = Source()
    source.gate = gate = Gate()
    one, two = (function(machines.stack(tiers, machine), source) for machine in ('one', 'two'))
    running = start(one, 1)
    gate.reached()
    assert two.get_cached_value(1) is Ellipsis
    gate.open()
    running.result()
    assert two.get_cached_value(1) == 1 and two.stats().executions == 0


def test_explain(machines):
    source = Source()
    f = function(machines.stack('memory redis'), source)
    assert f.explain(1).tier is None
    bare = function(machines.stack('redis', 'two'), source)
    bare(1)
    explained = f.explain(1)
    assert explained.tier == 'redis'
    assert 0 <= explained.age < LONG and 300 - LONG < explained.time_left <= 300 and explained.bytes > 0
    in_memory(f, 1)
    assert f.explain(1).tier == 'memory'


def test_p6_the_age_counts_from_the_start_of_the_execution(machines):
    source = Source()
    source.gate = lambda: time.sleep(0.3)
    f = function(machines.stack('redis', timeout=0.5), source)
    f(1)
    time.sleep(0.25)
    f(1)
    assert source.executions == 2


def test_a_value_that_cannot_be_encoded_is_returned_and_said_once(machines, caplog):
    class Odd:
        pass
    value = Odd()
    f = function(machines.stack('redis'), Source(value))
    with caplog.at_level(logging.WARNING, 'quickcache'):
        assert f(1) is value and f(1) is value
    said = [r.getMessage() for r in caplog.records if 'cannot be stored outside' in r.getMessage()]
    assert len(said) == 1 and 'Odd' in said[0]
    assert f.stats().unstored == 2 and f.stats().executions == 2


# ---- secrets ----

class Pickled:
    """At the top of a module, so that pickle finds it."""

    def __eq__(self, other):
        return type(other) is Pickled


def test_pickle_needs_a_secret(machines):
    sealed = machines.redis(secret=b'of all its users')
    with pytest.raises(TypeError, match='Pickled'):
        machines.redis().set('key', Pickled())
    sealed.set('key', Pickled())
    assert sealed.get('key') == Pickled()


@pytest.mark.parametrize('secret', [None, b'another', [b'another', b'and another']])
def test_who_does_not_know_the_secret_reads_nothing(machines, secret):
    source = Source()
    one = function(machines.stack('redis', secret=b'ours'), source)
    two = function(machines.stack('redis', 'two', secret=secret), source)
    assert (one(1), two(1)) == (1, 1)
    assert source.executions == 2 and two.stats().rejected == 1


def test_secrets_rotate(machines):
    old = machines.redis('one', secret=b'old')
    both = machines.redis('two', secret=[b'new', b'old'])
    new = machines.redis('three', secret=b'new')
    old.set('key', 1)
    assert both.get('key') == 1 and new.get('key') is None
    both.set('key', 2)
    assert new.get('key') == 2 and old.get('key') is None


# ---- outages ----

def test_p8_an_outage_is_no_error_and_delays_one_call_by_a_budget(own_machines, own_server):
    import signal
    source = Source()
    f = function(own_machines.stack('redis', budget=0.1), source)
    f(1)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert f(1) == 1
        assert time.monotonic() - began < 0.5
        began = time.monotonic()
        for _ in range(100):
            assert f(1) == 1
        assert time.monotonic() - began < 0.1, 'each call waits for a server that is silent'
        assert source.executions >= 100
        assert f.stats().redis_failures >= 1
        assert f.clear_with()(1) == 'pending' and f.stats().pending_clears >= 1
        assert f.clear_with(wait=True)(1) == 'pending', 'nobody is told, so there is nothing to wait for'
        with pytest.raises(ClearPending, match='server'):
            f.clear_with(strict=True)(1)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

    def back():
        hits = f.stats().redis_hits
        f(2)
        return f.stats().redis_hits > hits
    until(back, 'it never came back')


def test_p4_memory_does_not_serve_longer_than_the_bound_when_the_server_is_silent(own_machines, own_server):
    import signal
    source = Source()
    f = function(own_machines.stack('memory redis', budget=0.1), source)
    in_memory(f, 1)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        time.sleep(0.3)
        executions = source.executions
        f(1)
        assert source.executions == executions + 1
    finally:
        os.kill(own_server.pid, signal.SIGCONT)


def test_other_threads_run_while_one_waits_for_a_lease(machines):
    source = Source()
    source.gate = gate = Gate()
    one, two = (function(machines.stack('redis', machine), source) for machine in ('one', 'two'))
    leads = start(one, 1)
    gate.reached()
    waits = start(two, 1)
    turns = itertools.count()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        next(turns)
    assert next(turns) > 1000 and waits.running()
    gate.open()
    assert (leads.result(), waits.result()) == (1, 1)


def test_many_threads_on_many_keys(machines):
    source = Source()
    f = function(machines.stack('memory redis'), source)
    done = [start(lambda n=n: [f(k) for k in range(n, n + 50)]) for n in range(8)]
    assert all(d.result() == [1] * 50 for d in done)
    assert source.executions == 57


# ---- the constructor, and keys ----

def test_get_redis_quickcache(machines, tmp_path):
    quickcache = get_redis_quickcache(machines.url, memoize_timeout=1, namespace=machines.namespace, folder=tmp_path / 'one', version=1)
    runs = []

    @quickcache(['key'], skip_arg='force', name='posts')
    def f(key, force=False):
        runs.append(key)
        return key
    assert (f(1), f(1), f(1, force=True)) == (1, 1, 1) and runs == [1, 1]
    assert f.get_cache_key(1) == V1Keys('', 'posts', '1', b'', b'').text([1])
    assert f.explain(1).tier in ('memory', 'redis')


def test_a_cluster_is_used_as_any_other(one_node, tmp_path):
    machines = Machines(one_node.url, tmp_path)
    source = Source(1)
    one, two = (function(machines.stack('memory redis', machine, cluster=True), source) for machine in ('one', 'two'))
    assert (one(1), two(1), source.executions) == (1, 1, 1)
    in_memory(two, 1)
    source.value = 2
    one.clear(1)
    until(lambda: two(1) == 2)
    in_memory(two, 1)
    source.value = 3
    one.clear_all()
    until(lambda: (one(1), two(1)) == (3, 3))

    async def many():
        @get_quickcache(cache=machines.stack('redis', 'three', cluster=True))(['key'])
        async def f(key):
            return key
        return await asyncio.gather(*(f(key % 50) for key in range(200)))
    assert asyncio.run(many()) == [key % 50 for key in range(200)]

    cache = machines.redis(cluster=True)
    cache.set('a', 1)
    assert pickle.loads(pickle.dumps(cache)).get('a') == 1 and 'cluster' in repr(cache)
    cache.clear()
    assert cache.get('a') is None


@pytest.mark.parametrize('options, error, says', [
    ({'url': 5}, TypeError, 'url must be text'),
    ({'url': 'http://localhost'}, ValueError, 'url is not the URL'),
    ({'url': ['redis://a', 'redis://b']}, ValueError, 'primary'),
    ({'url': []}, ValueError, 'no URL'),
    ({'url': 'redis://localhost:6379?db=1'}, ValueError, 'url is.*database is written `/1`'),
    ({'timeout': 0}, ValueError, 'Redis: timeout must be more than 0'),
    ({'timeout': 'x'}, TypeError, 'Redis: timeout'),
    ({'namespace': 'a b'}, ValueError, 'namespace'),
    ({'namespace': ''}, ValueError, 'namespace'),
    ({'namespace': b'a'}, TypeError, 'namespace'),
    ({'budget': 0}, ValueError, 'budget'),
    ({'budget': 'x'}, TypeError, 'budget'),
    ({'budget': float('nan')}, ValueError, 'budget'),
    ({'staleness': 0.001}, ValueError, 'staleness'),
    ({'connections': 0}, ValueError, 'connections'),
    ({'connections': 1.5}, TypeError, 'connections'),
    ({'folder': 5}, TypeError, 'folder'),
    ({'ca_file': 5}, TypeError, 'ca_file'),
    ({'ca_file': '/a'}, ValueError, 'ca_file without TLS'),
    ({'primary': 5}, TypeError, 'primary'),
    ({'cluster': 'yes'}, TypeError, 'cluster must be True or False'),
    ({'cluster': True, 'primary': 'a'}, ValueError, 'no sentinels'),
    ({'cluster': True, 'url': 'redis://a/1'}, ValueError, 'database 0 only'),
    ({'secret': 'text'}, TypeError, 'secret must be bytes.*encode'),
    ({'secret': b''}, ValueError, 'secret cannot be empty'),
    ({'secret': [b'a', 5]}, TypeError, 'secret'),
    ({'secret': []}, ValueError, 'secret names none'),
    ({'secrets': b'a'}, TypeError, "'secrets'.*its options are"),
])
def test_a_mistake_is_told(options, error, says):
    with pytest.raises(error, match=says):
        Redis(**options)


def test_get_redis_quickcache_tells_of_an_option_that_there_is_not():
    with pytest.raises(TypeError, match='get_redis_quickcache.*namespac.*did you mean namespace'):
        get_redis_quickcache('redis://localhost', namespac='a')
    with pytest.raises(TypeError, match="there is no option 'password'; the options are url, "):
        get_redis_quickcache(password='a')


def test_no_password_and_no_secret_is_shown():
    redis = Redis('redis://user:hidden-word@127.0.0.1:1/0', secret=b'hidden-too')
    for shown in (repr(redis), str(redis), str(redis.stats())):
        assert 'hidden' not in shown and '127.0.0.1:1' in shown
    with pytest.raises(ValueError) as raised:
        Redis('redis://user:hidden-word@host:port/0')
    assert 'hidden' not in str(raised.value)


def test_a_copy_and_a_pickle_are_the_same_server(machines):
    import copy
    redis = machines.redis(secret=b'ours')
    redis.set('key', {1})
    for other in (copy.copy(redis), pickle.loads(pickle.dumps(redis))):
        assert other.get('key') == {1} and repr(other) == repr(redis)


def test_a_fork_begins_anew(machines):
    source = Source()
    f = function(machines.stack('memory redis'), source)
    in_memory(f, 1)
    child = os.fork()
    if not child:
        code = 1
        try:
            source.value = 2
            f.clear(1)
            code = 0 if f(1) == 2 and f(2) == 2 else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    time.sleep(0.25)
    assert f(2) == 2 and f(1) == 2


def test_clears_in_the_middle_of_calls_leave_nothing_old(machines):
    """F, over two machines without memory: every read checked."""
    versions, floor, end = [0], [0], time.monotonic() + 2
    failures = []

    def make(machine):
        @get_quickcache(cache=machines.stack('redis', machine))(['key'])
        def f(key):
            return versions[0]
        return f
    functions = [make(machine) for machine in ('one', 'two')]
    changing = threading.Lock()

    def write(f):
        while time.monotonic() < end:
            with changing:
                versions[0] += 1
                version = versions[0]
                f.clear(1)
                floor[0] = version

    def read(f):
        while time.monotonic() < end:
            least = floor[0]
            value = f(1)
            if value < least:
                failures.append((value, least))
    threads = [start(work, f) for f in functions for work in (write, read, read)]
    for thread in threads:
        thread.result()
    assert not failures and versions[0] > 50

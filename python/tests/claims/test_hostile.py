"""What a hostile program does to the Python front: each claim here was broken once, or was tried in order to break it."""
import asyncio
import gc
import importlib
import os
import random
import sys
import textwrap
import threading
import traceback

import pytest

from quickcache import Memory, TieredCache

from .tools import LONG, Gate, Source, UserCache, Waits, cached, in_child, script, some_caches, start

three = some_caches('memory', 'user', 'memory+user')


# ---- coroutine functions that are stopped from inside ----

@three
@pytest.mark.parametrize('callers', [1, 3])
def test_a_function_that_cancels_itself_runs_once_for_each_caller(make_cache, callers):
    """Its leader gets the CancelledError, as it would without a cache; it ran four times for one caller."""
    runs = []

    @cached(make_cache())
    async def f(key):
        runs.append(key)
        inner = asyncio.ensure_future(asyncio.sleep(LONG))
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    async def main():
        return await asyncio.gather(*[f(1) for _ in range(callers)], return_exceptions=True)
    assert [type(result) for result in asyncio.run(main())] == [asyncio.CancelledError] * callers
    assert len(runs) == callers


@three
def test_an_exit_out_of_a_coroutine_function_is_its_callers_own(make_cache):
    """The caller can see it and clean up; asyncio has nothing to complain about."""
    seen, complaints = [], []

    @cached(make_cache())
    async def f(key):
        await asyncio.sleep(0)
        raise SystemExit(3)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        try:
            await f(1)
        except BaseException as error:
            seen.append(error)
            raise
    with pytest.raises(SystemExit) as exit:
        asyncio.run(main())
    gc.collect()
    assert exit.value.code == 3 and seen == [exit.value] and complaints == []


# ---- exceptions ----

@three
def test_a_traceback_does_not_grow_with_its_waiters(make_cache):
    """All of them are raised one exception object, each with the function's own frames: on CPython 3.12 and newer it grew."""
    source = Source()
    gate = source.gate = Gate()
    error = ValueError('down')

    @cached(make_cache())
    def f(key):
        source.read()
        raise error

    def call():
        try:
            f(1)
        except ValueError as raised:
            return raised, len(traceback.extract_tb(raised.__traceback__))
    with Waits() as waits:
        leader = start(call)
        gate.reached()
        followers = [start(call) for _ in range(5)]
        waits.reach(5)
        gate.open()
        results = [caller.result() for caller in (leader, *followers)]
    assert all(raised is error for raised, _ in results) and source.executions == 1
    assert max(frames for _, frames in results) == 2, 'the call and the function'


# ---- arguments and values that use the cache ----

@three
def test_an_attribute_that_clears_and_calls_while_it_is_read(make_cache):
    @cached(make_cache(), ['person.id'])
    def f(person):
        return person.name

    class Plain:
        id, name = 5, 'plain'

    class Meddling:
        name = 'meddling'
        depth = 0

        def __getattr__(self, name):
            self.depth += 1
            f.clear(Plain)
            if self.depth < 4:
                f(self)
            f(Plain)
            return 5
    assert f(Meddling()) == 'plain'
    assert f.get_cached_value(Plain) == 'plain'


@three
def test_a_value_whose_destructor_uses_the_cache(make_cache):
    @cached(make_cache())
    def f(key):
        return Value(key) if key < 100 else key

    class Value:
        def __init__(self, key):
            self.key = key

        def __del__(self):
            f.clear(self.key)
            f(self.key + 100)
    for key in range(20):
        f(key)
        f.refresh(key)
        f.set_cached_value(key).to(Value(key))
        f.clear(key)
    gc.collect()
    assert [f.get_cached_value(key + 100) for key in range(20)] == [key + 100 for key in range(20)]

# ---- code that runs in the midst of a call ----

def test_a_call_from_inside_an_import_that_a_call_does(tmp_path):
    """A call imports what it needs when it first does; an import runs finders, finalizers and signals' handlers."""
    done = script(tmp_path, """
        import os, sys
        from quickcache import get_local_quickcache

        @get_local_quickcache(path=os.path.join(os.path.dirname(__file__), 'store'), max_bytes=1 << 20)(['key'])
        def f(key):
            return [key]

        class Finder:
            found = []

            def find_spec(self, name, path=None, target=None):
                if name == 'pickle' and not self.found:
                    self.found.append(name)
                    f(name)

        sys.modules.pop('pickle', None)
        sys.meta_path.insert(0, Finder())
        print(f(1), f(1), Finder.found)
    """, timeout=LONG)
    assert (done.stdout, done.stderr) == ("[1] [1] ['pickle']\n", '')


def test_a_call_of_the_same_key_from_a_signals_handler_while_its_thread_waits_for_another(tmp_path):
    """Wherever in the wait the handler runs: while a lock of `threading` is held too, if that is what a follower waits by."""
    done = script(tmp_path, """
        import signal, sys, threading
        from quickcache import Memory, get_quickcache

        entered, gate = threading.Event(), threading.Event()

        @get_quickcache(cache=Memory())(['key'])
        def f(key):
            entered.set()
            gate.wait()
            return key

        threading.Thread(target=f, args=(1,)).start()
        entered.wait()
        begun, handled = [], []

        def handler(*_):
            begun.append(None)
            if len(begun) == 3:
                threading.Thread(target=gate.set).start()
            handled.append(f(1))

        def tracer(frame, event, _):
            if frame.f_code is threading.Condition.wait.__code__ and not begun:
                handler()

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        sys.settrace(tracer)
        f(1)
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(len(handled) == len(begun) >= 3, set(handled))
    """, timeout=LONG)
    assert (done.stdout, done.stderr) == ('True {1}\n', '')


@three
def test_an_argument_that_changes_during_the_call_is_stored_as_it_was(make_cache):
    """Without a skip the key comes first (R2)."""
    @cached(make_cache())
    def f(key):
        key.append('changed')
        return len(key)
    assert f([]) == 1 and f.get_cached_value([]) == 1 and f.get_cached_value(['changed']) is Ellipsis


@pytest.mark.parametrize('error', [ZeroDivisionError, KeyboardInterrupt])
def test_a_skip_argument_that_cannot_be_asked_whether_it_is_true(error):
    class Neither:
        def __bool__(self):
            raise error
    source = Source()
    f = source.cached(Memory(), skip_arg='force')
    with pytest.raises(error):
        f(1, force=Neither())
    assert source.executions == 0 and f(1) == 1


# ---- shapes of functions ----

def test_many_parameters_of_every_kind():
    names = 'a b c d e f g h i j k ll m n o p q r'.split()

    @cached(Memory(), [*names, 'rest', 'more', 'only'])
    def many(a, b, c, d, e, f, g, h, i, j, k, ll, m, n, o, p, q=1, r=2, *rest, only=3, **more):
        runs.append(1)
        return a, q, r, rest, only, more
    runs = []
    assert many(*range(16)) == many(*range(15), p=15) == many(*range(16), 1, r=2) == (0, 1, 2, (), 3, {})
    assert len(runs) == 1
    assert many(*range(30), z=1) == many(*range(30), z=1) == (0, 16, 17, tuple(range(18, 30)), 3, {'z': 1})
    assert many(*range(30), z=2)[-1] == {'z': 2} and len(runs) == 3


def test_slots_metaclasses_and_properties():
    class Meta(type):
        @cached(Memory(), ['cls.__name__'])
        def spelt(cls):
            return cls.__name__

    class Slotted(metaclass=Meta):
        __slots__ = ('id',)

        @cached(Memory(), ['self.id'])
        def doubled(self):
            return self.id * 2

        as_property = property(doubled)
    slotted = Slotted()
    with pytest.raises(AttributeError, match='id'):
        slotted.doubled()
    slotted.id = 4
    assert slotted.doubled() == slotted.as_property == 8 and slotted.doubled.stats().executions == 1
    assert Slotted.spelt() == Slotted.spelt() == 'Slotted'
    slotted.doubled.clear(slotted)
    assert Slotted.doubled.get_cached_value(slotted) is Ellipsis


def test_a_module_that_is_reloaded(tmp_path, monkeypatch):
    """A new text is a new prefix; the old function, which somebody may still hold, goes on with its own entries."""
    text = textwrap.dedent('''
        from quickcache import get_quickcache
        from hostile_memory import memory
        @get_quickcache(cache=memory)(['n'])
        def f(n):
            return {!r}
    ''')
    (tmp_path / 'hostile_memory.py').write_text('from quickcache import Memory\nmemory = Memory()\n')
    (tmp_path / 'hostile_module.py').write_text(text.format('old'))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module('hostile_module')
    try:
        old = module.f
        assert old(1) == 'old'
        (tmp_path / 'hostile_module.py').write_text(text.format('a newer one'))
        importlib.reload(module)
        assert (module.f(1), old(1)) == ('a newer one', 'old')
        new = module.f
        importlib.reload(module)
        assert module.f is not new and module.f.get_cached_value(1) == 'a newer one', 'the same text, the same entries'
    finally:
        del sys.modules['hostile_module'], sys.modules['hostile_memory']


# ---- many threads, everything at once ----

@pytest.mark.parametrize('make_cache', [
    Memory, lambda: Memory(max_entries=1), lambda: Memory(timeout=.005, copy=True), UserCache, lambda: TieredCache([Memory(), UserCache()]),
], ids=['memory', 'one entry', 'short and copied', 'user', 'memory+user'])
def test_everything_at_once_in_eight_threads_never_serves_what_a_clear_or_a_set_has_replaced(make_cache):
    """Writers of a key take turns; readers, refreshes and the collector do not."""
    keys, failures = range(4), []
    source, floor = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    turns = [threading.Lock() for _ in keys]

    @cached(make_cache())
    def f(key):
        return key, source[key]

    def meddle(seed):
        choose = random.Random(seed)
        for _ in range(1500):
            key, what = choose.choice(keys), choose.random()
            if what < .6:
                least = floor[key]
                got = f(key)
                if got[0] != key or got[1] < least:
                    failures.append((key, least, got))
            elif what < .75:
                f.refresh(key)
            elif what < .8:
                gc.collect(0)
                f.explain(key)
            else:
                with turns[key]:
                    source[key] += 1
                    if what < .95:
                        f.clear(key)
                    else:
                        f.clear(key)
                        f.set_cached_value(key).to((key, source[key]))
                    floor[key] = source[key]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in [start(meddle, seed) for seed in range(8)]:
            thread.result()
    finally:
        sys.setswitchinterval(before)
    assert failures == []
    in_child(lambda: meddle(os.getpid()) or failures == [] or pytest.fail(str(failures)))


# ---- several that compute anew ----

@three
@pytest.mark.parametrize('how', ['refresh', 'skip_arg'])
def test_of_two_that_compute_anew_the_later_one_is_what_calls_get(make_cache, how):
    """As with 0.5.4, which stores both. The later one was dropped, and the older value stayed for its whole timeout."""
    source = Source(value='old')
    gates = [Gate(), Gate()]
    source.gate = lambda: gates[source.executions - 1]() if source.executions <= 2 else None
    f = source.cached(make_cache(), skip_arg='force')

    def anew():
        return f.refresh(1) if how == 'refresh' else f(1, force=True)
    older = start(anew)
    gates[0].reached()
    source.value = 'new'
    later = start(anew)
    gates[1].reached()
    gates[0].open()
    assert older.result() == 'old'
    gates[1].open()
    assert later.result() == 'new'
    assert f(1) == 'new'

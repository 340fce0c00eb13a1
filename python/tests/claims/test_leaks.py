"""Nothing is kept that should go, nothing goes that is kept: reference counts, cycles, and memory over many calls."""
import asyncio
import dataclasses
import datetime
import decimal
import enum
import gc
import sys
import uuid
import weakref

import pytest

from quickcache import Memory, QuickCacheHelper, TieredCache
from quickcache.configuration import _over
from quickcache.quickcache import decorate
from quickcache.v1 import V1Function

from .tools import LONG, Gate, Source, UserCache, Waits, cached, every_cache, some_caches, start


class Thing:
    """Something with an attribute, that can be watched."""

    def __init__(self, id):
        self.id = id


def resident():
    gc.collect()
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * 4096


def counts(*objects):
    """Not to be called inside an assert: pytest's keeps what it has evaluated."""
    gc.collect()
    return [sys.getrefcount(o) for o in objects]


# Objects of our own: neither interned nor shared with anybody.
def text(n=0):
    return ''.join(['some text ', str(n)])


def use(f, clear, *args, **kwargs):
    for _ in range(10):
        f(*args, **kwargs)
        f(*args, **kwargs)
        f.get_cached_value(*args, **kwargs)
        f.get_cache_key(*args, **kwargs)
        clear(f, *args, **kwargs)


def by_key(f, *args, **kwargs):
    f.clear(*args, **kwargs)


@every_cache
def test_keys_values_and_arguments_are_let_go_by_a_clear(make_cache):
    value = Thing('value')
    key, other = text(), Thing('argument')
    other.id = text(1)

    @cached(make_cache(), vary_on=['key', 'other.id', 'more'])
    def f(key, other, more=None, force=False):
        return value
    use(f, by_key, key, other)
    before = counts(key, other, other.id)
    held = weakref.ref(value)
    for _ in range(3):
        use(f, by_key, key, other)
        use(f, by_key, key, other=other, more=key)
        f.set_cached_value(key, other).to(value)
        f.refresh(key, other)
        f.explain(key, other)
        f.clear(key, other)
    after = counts(key, other, other.id)
    assert after == before
    assert held() is value
    count = sys.getrefcount(value)
    f(key, other)
    f.clear(key, other)
    assert sys.getrefcount(value) == count


@pytest.mark.parametrize('make_key', [
    text, lambda: 10 ** 30, lambda: 1.5e300, lambda: b'bytes ' + bytes(3), lambda: ('tuple', text()), lambda: [text()],
    lambda: {'a': text()}], ids=['text', 'int', 'float', 'bytes', 'tuple', 'list', 'dict'])
def test_a_key_is_held_as_long_as_its_entry(make_key):
    f = Source('value').cached(Memory(max_entries=2))
    key = make_key()
    f(key)
    f.clear(key)
    before = counts(key)
    for _ in range(5):
        f(key), f(key)
        f.clear(key)
    after = counts(key)
    assert after == before
    f(key)
    for n in range(20):
        f(n), f(n)
    f.clear_all()
    for n in range(20):
        f(n)
    after = counts(key)
    assert after == before, 'held after its eviction'


def test_values_are_freed_by_eviction_expiry_clear_all_and_with_the_memory():
    def freed(do):
        memory = Memory(max_entries=4)
        alive = []

        @cached(memory)
        def f(key):
            value = Thing(key)
            alive.append(weakref.ref(value))
            return value
        f(0)
        keep = do(f, memory)
        del f, memory
        gc.collect()
        del keep
        return alive[0]() is None

    def evict(f, memory):
        for n in range(1, 50):
            f(n)
        return f, memory

    def clear_all(f, memory):
        f.clear_all()
        for n in range(1, 10):
            f(n)
        return f, memory

    def drop(f, memory):
        return None

    def clear(f, memory):
        memory.clear()
        return f, memory
    for do in (evict, clear_all, drop, clear):
        assert freed(do), do.__name__


def test_an_exception_is_let_go():
    class Boom(Exception):
        pass
    raised = []

    @cached(Memory())
    def f(key):
        error = Boom()
        raised.append(weakref.ref(error))
        raise error
    for _ in range(3):
        with pytest.raises(Boom):
            f(1)
    gc.collect()
    assert [ref() for ref in raised] == [None] * 3


@some_caches('memory', 'user', 'memory+user')
def test_a_flight_leaves_nothing_behind(make_cache):
    source = Source()
    argument = Thing(1)

    @cached(make_cache(), vary_on=['argument.id'])
    def f(argument):
        return source.read()
    source.gate = Gate()
    with Waits() as waits:
        calls = [start(f, argument)]
        source.gate.reached()
        calls += [start(f, argument) for _ in range(4)]
        waits.reach(4)
        source.gate.open()
        for call in calls:
            call.result()
            call.thread.join(LONG)
    del calls, call
    gone = weakref.ref(argument)
    del argument
    gc.collect()
    assert gone() is None


@some_caches('memory', 'user')
def test_a_coroutine_functions_call_leaves_nothing_behind(make_cache):
    @cached(make_cache(), vary_on=['argument.id'])
    async def f(argument):
        await asyncio.sleep(0)
        return 1
    arguments = [Thing(n) for n in range(10)]
    gone = [weakref.ref(a) for a in arguments]

    async def main(arguments):
        for argument in arguments:
            await asyncio.gather(f(argument), f(argument))
            f(argument)  # never awaited
            task = asyncio.ensure_future(f(argument))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            f.clear(argument)
    asyncio.run(main(arguments))
    del arguments
    gc.collect()
    assert [ref() for ref in gone] == [None] * 10


# ---- keys of scheme v1 ----

@dataclasses.dataclass
class Pair:
    """A key value that points to objects of its own."""
    a: object
    b: object = None


def keyed(cache, vary_on=('key',), **options):
    def decorator(fn):
        return decorate(fn, V1Function(fn, list(vary_on), cache, **options))
    return decorator


def answer(key):
    return 'value'


V1_KEYS = {
    'text': text, 'int': lambda: 10 ** 30, 'float': lambda: 1.5e300, 'bytes': lambda: b'bytes ' + bytes(3), 'tuple': lambda: ('tuple', text()),
    'list': lambda: [text()], 'dict': lambda: {text(): [text(1)]}, 'set': lambda: {text()}, 'frozenset': lambda: frozenset([text()]),
    'dataclass': lambda: Pair(text(), [text(1)]), 'moment': lambda: datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    'time': lambda: datetime.time(1, 2), 'span': lambda: datetime.timedelta(1), 'uuid': lambda: uuid.UUID(int=5),
    'decimal': lambda: decimal.Decimal('1.5'), 'enum': lambda: enum.Enum('Color', ['RED']).RED,
}


@some_caches('memory', 'memory+user')
@pytest.mark.parametrize('kind', V1_KEYS)
def test_a_v1_key_is_let_go_by_a_clear(kind, make_cache):
    value, key = Thing('value'), V1_KEYS[kind]()
    # What everybody else uses too is no part of it.
    inside = [o for o in gc.get_referents(key) if isinstance(o, (str, list))] if kind not in ('uuid', 'enum') else []

    @keyed(make_cache(), ['key', 'more'])
    def f(key, more=None):
        return value

    def turn():
        use(f, by_key, key, [key])
        f.set_cached_value(key).to(value)
        f.refresh(key)
        f.explain(key)
        f.clear(key)
    turn()
    before = counts(key, *inside)
    for _ in range(3):
        turn()
    after = counts(key, *inside)
    assert after == before


def test_a_v1_key_made_of_bytes_does_not_hold_its_value():
    """A value that is not plain is its bytes in the memory tier: the entry keeps nothing of it alive."""
    f = keyed(Memory())(answer)
    key = Pair(Thing(1).id, [1])
    gone = weakref.ref(key)
    f(key)
    del key
    gc.collect()
    assert gone() is None
    assert f(Pair(1, [1])) == 'value' and f.stats().executions == 1


def test_many_v1_calls_leave_no_references_and_no_memory():
    """Hits, misses, evictions and clears by composite keys, entries by text, and what is refused on the way to a key."""
    memory = Memory(max_entries=500)
    value, surrogate = Thing('value'), '\ud800' + text()

    @keyed(memory, ['key', 'thing.id'])
    def f(key, thing, more=None):
        return value
    things = [Thing(text(n)) for n in range(4)]

    def calls(rounds):
        for n in range(rounds):
            thing = things[n % 4]
            for key in (n % 700, text(n % 5), [n % 700, text()], (text(), {text(): n % 9}), Pair(n % 30, thing.id), 2 ** 70 + n % 9, b'a'):
                f(key, thing)
                f(key, thing=thing)
            f.clear([n % 700, text()], thing)
            memory.get(f.get_cache_key((1, 2), thing))
            memory.set(f.get_cache_key([n % 50], thing), value)
            memory.delete(f.get_cache_key([n % 50], thing))
            f.explain(n, thing)
            for bad in (surrogate, [surrogate], value, [{1: [value]}], Pair(value)):
                try:
                    f(bad, thing)
                except ValueError:
                    continue
                raise AssertionError(bad)
            if n % 500 == 0:
                f.clear_all()

    def standing():
        memory.clear(), f.clear_all(), memory.sweep()
        return counts(value, surrogate, *things, *[thing.id for thing in things])
    calls(1000)
    before, was = standing(), resident()
    calls(5000)
    grown = resident() - was
    after = standing()
    assert after == before
    assert grown < 1 << 20, f'{grown >> 10} KiB more'


def test_configuring_and_decorating_again_and_again_does_not_grow():
    shared = UserCache()

    def turn():
        quickcache = _over(shared, 'tests', 10, 300, {}).but_with(version=1)
        f = quickcache(['key'])(answer)
        f([1])
        f.clear([1])
        for mistake in ({'timeuot': 5}, {'name': ''}, {'vary_on': ['kye']}):
            try:
                quickcache(**{'vary_on': ['key'], **mistake})(answer)
            except (TypeError, ValueError):
                continue
            raise AssertionError(mistake)
    for _ in range(50):
        turn()
    was, references = resident(), counts(shared)
    for _ in range(300):
        turn()
    after = counts(shared)
    assert after == references
    assert resident() - was < 1 << 20


# ---- cycles ----

def test_a_cycle_of_function_cache_and_value_is_collected():
    memory = Memory()
    value = Thing(1)

    @cached(memory)
    def f(key):
        return value  # noqa: F821 (deleted below, on purpose)
    f(1)
    value.f = f
    gone = [weakref.ref(o) for o in (value, memory, f)]
    del value, memory, f
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_a_cycle_through_a_users_cache_is_collected():
    cache = UserCache()

    @cached(TieredCache([Memory(), cache]))
    def f(key):
        return key
    f(1)
    cache.f = f
    gone = [weakref.ref(o) for o in (cache, f)]
    del cache, f
    gc.collect()
    assert [ref() for ref in gone] == [None] * 2


def test_a_cycle_through_a_vary_on_function_and_defaults_is_collected():
    thing = Thing(1)
    memory = Memory()

    def vary(key, default=thing):
        return [key]

    from quickcache import get_quickcache

    @get_quickcache(cache=memory)(vary, skip_arg=lambda key, default=thing: False)
    def f(key, default=thing):
        return key
    f(1)
    thing.f = f
    gone = [weakref.ref(o) for o in (thing, memory, f)]
    del thing, memory, f, vary
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_what_sits_in_a_call_that_was_never_awaited_is_collected():
    thing = Thing(1)

    @cached(Memory(), vary_on=['thing.id'])
    async def f(thing):
        return 1
    thing.call = f(thing)
    gone = weakref.ref(thing)
    del thing, f
    gc.collect()
    assert gone() is None


def test_the_collector_may_run_at_any_moment():
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        memory = Memory(max_entries=50)

        @cached(memory, vary_on=['key', 'more'])
        def f(key, more=()):
            return [key, Thing(more)]
        for n in range(300):
            f(n % 70, (text(n % 5), n % 3))
            f.clear(n % 7)
    finally:
        gc.set_threshold(*before)


# ---- destructors that come back ----

class Meddler:
    """A value whose destructor uses the cache that has just let it go."""

    def __init__(self, use):
        self.use = use

    def __del__(self):
        self.use()


@pytest.mark.parametrize('meddle', ['call', 'clear', 'clear_all', 'set', 'delete', 'empty', 'stats'])
@pytest.mark.parametrize('let_go', ['clear', 'clear_all', 'evict', 'replace', 'set by text', 'delete by text', 'empty', 'shrink'])
def test_a_destructor_may_use_the_cache_that_lets_it_go(meddle, let_go):
    memory = Memory(max_entries=8)
    came_back = []

    @cached(memory)
    def f(key):
        return key

    def come_back():
        came_back.append(1)
        {'call': lambda: [f(n) for n in range(100, 120)], 'clear': lambda: f.clear(1), 'clear_all': f.clear_all,
         'set': lambda: [memory.set(str(n), n) for n in range(20)], 'delete': lambda: memory.delete(f.get_cache_key(1)),
         'empty': memory.clear, 'stats': lambda: (f.stats(), f.explain(1))}[meddle]()
    f.set_cached_value(1).to(Meddler(come_back))
    key = f.get_cache_key(1)
    {'clear': lambda: f.clear(1), 'clear_all': lambda: [f.clear_all(), [f(n) for n in range(20)]],
     'evict': lambda: [f(n) for n in range(2, 100)], 'replace': lambda: f.set_cached_value(1).to(0),
     'set by text': lambda: memory.set(key, 0), 'delete by text': lambda: memory.delete(key), 'empty': memory.clear,
     'shrink': lambda: [f(2), memory.shrink(1), memory.clear()]}[let_go]()
    assert came_back == [1]
    assert f(5) == 5 and f(5) == 5
    assert len(memory) <= 8


# ---- many calls ----

def test_many_calls_leave_no_references_and_no_memory():
    memory = Memory(max_entries=1000)
    value = Thing('value')

    @cached(memory, vary_on=['key', 'thing.id'])
    def f(key, thing, more=None):
        return value
    things = [Thing(text(n)) for n in range(10)]

    def calls(count):
        for n in range(count):
            f(n % 2000, things[n % 10])
            f(text(n % 50), thing=things[0])
            if n % 10 == 0:
                f.clear(n % 2000, things[n % 10])
    calls(10_000)
    f.clear_all()
    memory.clear()
    before, was = counts(value, *things, *[t.id for t in things]), resident()
    calls(50_000)
    grown = resident() - was
    f.clear_all()
    memory.clear()
    after = counts(value, *things, *[t.id for t in things])
    assert after == before
    assert grown < 2 << 20, f'{grown >> 10} KiB more'


def test_ten_million_calls_leave_no_references_and_no_memory():
    """Hits, misses, evictions, expiry, clears of one key and of all, stores, exceptions of the function and of the binding."""
    class Boom(Exception):
        pass
    memory = Memory(max_entries=500)
    value, failing = Thing('value'), text('fails')

    @cached(memory, vary_on=['key', 'thing.id'])
    def f(key, thing, more=None):
        if key is failing:
            raise Boom
        return value

    @cached(memory)
    def g(key):
        return [value]
    things = [Thing(text(n)) for n in range(4)]
    texts = [text(n) for n in range(10)]

    def calls(rounds):
        """A thousand calls a round, and some more."""
        thing, other = things[0], things[1]
        for n in range(rounds):
            for key in texts:
                for _ in range(45):
                    f(key, thing)
                    f(key, thing=other)
            for key in range(45 * n % 5000, 45 * n % 5000 + 45):
                f(key, thing)               # most are misses, and evict
                g(key)
            f.clear(texts[n % 10], thing)
            f.set_cached_value(n % 10, other).to(value)
            f.refresh(n % 10, other)
            memory.set('by text', value, 0.001)
            for bad in ((failing, thing), (1,), (1, thing, 2, 3), (value, thing)):
                try:
                    f(*bad)
                except (Boom, TypeError, ValueError):
                    continue
                raise AssertionError(bad)
            if n % 100 == 0:
                f.clear_all() if n % 200 else memory.clear()

    def standing():
        memory.clear(), f.clear_all(), memory.sweep()
        return counts(value, failing, *things, *texts, *[thing.id for thing in things])
    calls(1000)
    before, was, hits = standing(), resident(), f.stats().hits
    calls(10_000)
    grown = resident() - was
    after = standing()
    assert after == before
    assert grown < 1 << 20, f'{grown >> 10} KiB more'
    stats = f.stats()
    assert stats.hits - hits > 8_900_000 and stats.misses > 300_000 and stats.executions > stats.misses


def test_hits_leave_no_references():
    value, key = Thing('value'), text()
    f = Source(value).cached(Memory())
    f(key), f(key)
    before = counts(value, key, None, f)
    for _ in range(100_000):
        f(key)
    of_none = sys.getrefcount(None)
    assert abs(of_none - before[2]) < 1000
    after = counts(value, key)
    assert after == before[:2]


def test_errors_of_binding_leave_nothing():
    f = Source().cached(Memory())
    key = text()

    def wrong():
        for args, kwargs in [((), {}), ((key, 1, 2, 3), {}), ((key,), {'nothing': key}), ((key,), {'key': key})]:
            with pytest.raises(TypeError):
                f(*args, **kwargs)
        with pytest.raises(ValueError):
            f(Thing(key))
    wrong()
    before, was = counts(key), resident()
    for _ in range(300):
        wrong()
    after = counts(key)
    assert after == before
    assert resident() - was < 1 << 20


def test_patching_the_helper_again_and_again_does_not_grow(monkeypatch):
    memory = Memory()
    f = Source().cached(memory)
    cache = TieredCache([memory])

    def patched(self, *args, **kwargs):
        return self.fn(*args, **kwargs)

    def turn():
        with monkeypatch.context() as patch:
            patch.setattr(QuickCacheHelper, '__call__', patched)
            assert f(1) == 1
        assert f(1) == 1
        helper = f.clear.__self__
        helper.cache = cache
        f(1)
        helper.cache = memory
        f(1)
    for _ in range(50):
        turn()
    was, references = resident(), counts(memory, cache, f)
    for _ in range(300):
        turn()
    after = counts(memory, cache, f)
    assert after == references
    assert resident() - was < 1 << 20


def test_decorating_again_and_again_does_not_grow():
    memory = Memory()

    def turn():
        f = Source().cached(memory)
        f(1)
        f.clear(1)
    for _ in range(50):
        turn()
    was, references = resident(), counts(memory)
    for _ in range(300):
        turn()
    gc.collect()
    after = counts(memory)
    assert after == references
    assert resident() - was < 1 << 20

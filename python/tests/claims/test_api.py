"""What a decorated function offers: stats, explain, refresh, the clears; on functions of every kind."""
import asyncio
import inspect
import pickle
import threading

import pytest

from quickcache import ForceSkipCache, Memory, QuickCacheHelper, TieredCache, get_quickcache
from quickcache.reports import Explanation, Stats

from .tools import Gate, Source, UserCache, Waits, cached, django_memory, script, some_caches, start

three = some_caches('memory', 'user', 'memory+user')


# ---- stats ----

def test_stats_count_what_happened():
    f = Source().cached(Memory(), skip_arg='force')
    assert f.stats() == Stats()
    f(1), f(1), f(1), f(2)
    f(1, force=True)
    f.clear(1)
    stats = f.stats()
    assert (stats.memory_hits, stats.misses, stats.skips, stats.clears, stats.executions) == (2, 2, 1, 1, 3)
    assert (stats.fills, stats.refused_fills, stats.followers, stats.outer_hits) == (3, 0, 0, 0)
    assert stats.entries == 1 and stats.bytes > 0 and stats.compute_seconds > 0
    assert stats.hits == 2 and stats.hit_ratio == 0.5
    with pytest.raises(AttributeError):
        stats.misses = 0


def test_stats_count_hits_of_the_slower_tiers_apart():
    fast = Memory()
    f = Source().cached(TieredCache([fast, UserCache()]))
    f(1)
    fast.clear()
    f(1), f(1)
    stats = f.stats()
    assert (stats.memory_hits, stats.outer_hits, stats.misses, stats.executions) == (1, 1, 1, 1)


def test_stats_over_a_users_cache():
    f = Source().cached(UserCache())
    f(1), f(1), f.clear(1)
    stats = f.stats()
    assert (stats.outer_hits, stats.misses, stats.fills, stats.clears, stats.executions) == (1, 1, 1, 1, 1)
    assert stats.entries == stats.bytes == stats.memory_hits == 0


def test_stats_count_followers_and_refused_fills():
    source = Source()
    f = source.cached(Memory())
    source.gate = Gate()
    with Waits() as waits:
        leader = start(f, 1)
        source.gate.reached()
        follower = start(f, 1)
        waits.reach(1)
        f.clear(1)
        source.gate.open()
        leader.result(), follower.result()
    stats = f.stats()
    assert (stats.followers, stats.refused_fills, stats.fills, stats.misses) == (1, 1, 0, 1)


def test_stats_of_a_coroutine_function():
    @cached(Memory())
    async def f(key):
        return key

    async def main():
        await f(1), await f(1)
        return await f.stats()
    stats = asyncio.run(main())
    assert (stats.memory_hits, stats.misses, stats.fills, stats.executions) == (1, 1, 1, 1)


@some_caches('memory', 'user', 'memory+user')
def test_a_coroutine_functions_stats_count_what_an_ordinary_ones_do(make_cache):
    """A miss, its followers, executions that raise, skips, refreshes."""
    async def main():
        @cached(make_cache(), skip_arg='force')
        async def f(key, force=False):
            await asyncio.sleep(0)
            return 1 // key
        await asyncio.gather(*[f(0) for _ in range(3)], return_exceptions=True)
        await f(1)
        await f(1, force=True)
        await f.refresh(1)
        with pytest.raises(ZeroDivisionError):
            await f.refresh(0)
        return await f.stats()
    stats = asyncio.run(main())
    assert (stats.misses, stats.followers, stats.skips, stats.executions, stats.fills) == (2, 2, 1, 5, 3)
    assert stats.compute_seconds > 0


def test_each_function_counts_its_own():
    memory = Memory()
    f, g = Source().cached(memory), Source().cached(memory)
    f(1), g(1)
    assert (f.stats().misses, f.stats().hits, g.stats().misses, g.stats().hits) == (1, 0, 0, 1)


# ---- explain ----

def test_explain_tells_key_parts_tier_and_ages():
    f = Source().cached(Memory(timeout=100))
    before = f.explain(1)
    assert before == Explanation(key=f.get_cache_key(1), parts=('n1',))
    f(1)
    told = f.explain(1)
    assert told.key == f.get_cache_key(1) and told.parts == ('n1',) and told.tier == 'memory'
    assert 0 <= told.age < 50 and 50 < told.time_left <= 100
    assert told.bytes == f.stats().bytes > 0


def test_explain_remembers_why_the_last_miss_was_one():
    memory = Memory(max_entries=10)
    source = Source()
    f = source.cached(memory)
    f(1)
    assert f.explain(1).last_miss == 'new'
    f.clear(1)
    f(1)
    assert f.explain(1).last_miss == 'cleared'
    memory.clear()
    f(1)
    assert f.explain(1).last_miss == 'evicted'
    f.clear_all()
    f(1)
    assert f.explain(1).last_miss == 'cleared'
    source.gate = lambda: f.clear(2)
    f(2)
    source.gate = lambda: None
    f(2)
    assert f.explain(2).last_miss in ('cleared', 'refused')
    assert f.explain(3).last_miss is None


def test_explain_forgets_the_oldest_of_256_misses():
    f = Source().cached(Memory())
    for key in range(257):
        f(key)
    assert f.explain(0).last_miss is None and f.explain(1).last_miss == 'new'


def test_explain_names_a_users_tier_and_backfills_nothing():
    fast, slow = UserCache(), UserCache()
    f = Source().cached(TieredCache([fast, slow]))
    f(1)
    fast.store.clear()
    assert f.explain(1).tier == 'UserCache' and not fast.store
    assert f.explain(2).tier is None


# ---- refresh ----

@three
def test_refresh_computes_stores_and_returns(make_cache):
    source = Source()
    f = source.cached(make_cache())
    f(1)
    source.value = 2
    assert f(1) == 1
    assert f.refresh(1) == 2
    assert f(1) == 2 and f.get_cached_value(1) == 2 and source.executions == 2


@three
def test_refresh_that_raises_leaves_what_was_there(make_cache):
    source = Source()
    f = source.cached(make_cache())
    f(1)
    source.gate = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        f.refresh(1)
    assert f(1) == 1


# ---- the clears ----

def test_clear_all_clears_this_function_only():
    memory = Memory()
    source = Source()
    f = source.cached(memory)

    @cached(memory)
    def g(key):
        return source.read()
    f(1), f(2), g(1)
    f.clear_all()
    source.value = 2
    assert (f(1), f(2), g(1)) == (2, 2, 1)


@pytest.mark.parametrize('make_cache, tier', [
    (UserCache, 'UserCache'), (lambda: TieredCache([Memory(), UserCache()]), 'UserCache'),
    (lambda: TieredCache([UserCache(), Memory()]), 'UserCache'),
], ids=['user', 'memory+user', 'user+memory'])
def test_clear_all_is_an_error_that_names_the_tier_and_clears_nothing(make_cache, tier):
    source = Source()
    f = source.cached(make_cache())
    f(1)
    with pytest.raises(TypeError) as raised:
        f.clear_all()
    for word in ('f.clear_all', tier, 'one by one'):
        assert word in str(raised.value)
    source.value = 2
    assert f(1) == 1


@three
def test_clear_with_says_applied(make_cache):
    source = Source()
    f = source.cached(make_cache())
    f(1)
    source.value = 2
    assert f.clear_with()(1) == 'applied'
    assert f(1) == 2
    assert f.clear_with(wait=True, strict=True, settle=0)(key=1) == 'applied'
    assert f.clear(1) is None


def test_settle_ends():
    source = Source()
    f = source.cached(Memory())
    timers = set(threading.enumerate())
    f.clear_with(settle=0.01)(1)
    for timer in set(threading.enumerate()) - timers:
        timer.join(10)
    f(1), f(1)
    assert source.executions == 1


@pytest.mark.parametrize('options, error, words', [
    ({'wait': 1}, TypeError, ['wait', 'True or False', '1']),
    ({'strict': 'yes'}, TypeError, ['strict', 'True or False', 'yes']),
    ({'settle': -1}, ValueError, ['settle', 'seconds', '-1']),
    ({'settle': True}, ValueError, ['settle', 'seconds', 'True']),
    ({'settle': '1'}, ValueError, ['settle', 'seconds', "'1'"]),
    ({'settle': float('nan')}, ValueError, ['settle', 'nan']),
    ({'settle': float('inf')}, ValueError, ['settle', 'inf']),
    ({'patience': 1}, TypeError, ['patience']),
])
def test_a_bad_option_of_clear_with_is_one_error_and_clears_nothing(options, error, words):
    f = Source().cached(Memory())
    f(1)
    with pytest.raises(error) as raised:
        f.clear_with(**options)(1)
    for word in words + (['f'] if 'patience' not in options else []):
        assert word in str(raised.value)
    assert f.get_cached_value(1) == 1


DJANGO = """
    import sys
    import django
    from django.conf import settings
    settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}},
                       CACHES={'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache', 'LOCATION': 'd'},
                               'locmem': {'BACKEND': 'quickcache.django_backends.MemoryCache', 'LOCATION': 'l'}})
    django.setup()
    from django.db import transaction
    from quickcache import Memory, get_quickcache
    from quickcache.django_quickcache import get_django_quickcache

    source = [1]

    class Person:
        id = 7
"""


def test_clear_on_commit_waits_for_the_commit(tmp_path):
    pytest.importorskip('django.conf')
    done = script(tmp_path, DJANGO + """
    for quickcache in (get_quickcache(cache=Memory()), get_django_quickcache(timeout=100, memoize_timeout=10)):
        @quickcache(['person.id'])
        def f(person):
            return source[0]

        source[0] = 1
        person = Person()
        assert f(person) == 1
        with transaction.atomic():
            source[0] = 2
            assert f.clear_on_commit(person) is None
            assert f(person) == 1, 'cleared before the commit'
            person.id = None  # as Django does to an object that is deleted
        person.id = 7
        assert f(person) == 2, 'not cleared by the commit'

        try:
            with transaction.atomic():
                source[0] = 3
                f.clear_on_commit(person)
                raise KeyError
        except KeyError:
            pass
        assert f(person) == 2, 'cleared by a transaction that was rolled back'

        f.clear_on_commit(person)
        assert f(person) == 3, 'outside of a transaction it clears at once'

        with transaction.atomic():
            with transaction.atomic():
                source[0] = 4
                f.clear_on_commit(person)
            assert f(person) == 3, 'cleared by a savepoint'
        assert f(person) == 4
    """)
    assert (done.returncode, done.stderr) == (0, '')


def test_clear_on_commit_of_a_coroutine_function_is_ordered_by_the_call(tmp_path):
    pytest.importorskip('django.conf')
    done = script(tmp_path, DJANGO + """
    import asyncio

    @get_quickcache(cache=Memory())(['person.id'])
    async def f(person):
        return source[0]

    assert asyncio.run(f(Person)) == 1
    source[0] = 2
    with transaction.atomic():
        ordered = f.clear_on_commit(Person)
        assert asyncio.run(f(Person)) == 1, 'cleared before the commit'
    assert asyncio.run(f(Person)) == 2, 'not cleared by the commit'

    async def main():
        return await ordered
    assert asyncio.run(main()) is None
    """)
    assert (done.returncode, done.stderr) == (0, '')


def test_clear_on_commit_without_django_says_so(tmp_path):
    done = script(tmp_path, """
        import sys
        sys.modules['django'] = sys.modules['django.db'] = None
        from quickcache import Memory, get_quickcache

        @get_quickcache(cache=Memory())(['key'])
        def look_up(key):
            return key
        try:
            look_up.clear_on_commit(1)
        except RuntimeError as error:
            print(error)
    """)
    assert done.returncode == 0 and 'look_up' in done.stdout and 'needs Django' in done.stdout


# ---- functions of every kind ----

def test_attributes_of_the_function_that_are_named_like_additions_stay():
    def f(key):
        return key
    f.stats = 'mine'
    f.refresh = 'mine'
    f.clear = 'replaced, as ever'
    f.other = 'mine'
    g = cached(Memory())(f)
    assert (g.stats, g.refresh, g.other) == ('mine', 'mine', 'mine')
    assert callable(g.clear) and callable(g.explain)


class Repository:
    def __init__(self, name):
        self.name = name
        self.reads = 0

    @cached(Memory(), vary_on=['self.name', 'key'])
    def get(self, key):
        self.reads += 1
        return (self.name, key, self.reads)

    @classmethod
    @cached(Memory(), vary_on=['key'])
    def of_class(cls, key):
        return (cls.__name__, key)

    @staticmethod
    @cached(Memory(), vary_on=['key'])
    def static(key):
        return [key]

    @cached(Memory(), vary_on=['self.name', 'key'])
    async def later(self, key):
        self.reads += 1
        return (self.name, key, self.reads)


def test_methods():
    one, other = Repository('one'), Repository('other')
    assert one.get(1) == one.get(key=1) == Repository.get(one, 1) == ('one', 1, 1)
    assert other.get(1) == ('other', 1, 1)
    one.get.clear(one, 1)
    assert one.get(1) == ('one', 1, 2) and other.get(1) == ('other', 1, 1)
    assert inspect.ismethod(one.get) and one.get.__self__ is one


def test_class_and_static_methods():
    assert Repository.of_class(1) is Repository('x').of_class(1)
    assert Repository.static(1) is Repository('x').static(1)
    Repository.static.clear(1)
    assert Repository.static(1) == [1]


def test_async_methods():
    async def main():
        one = Repository('later')
        assert await one.later(1) == await one.later(1) == ('later', 1, 1)
        await one.later.clear(one, 1)
        assert await one.later(1) == ('later', 1, 2)
    asyncio.run(main())


def test_everything_on_a_coroutine_function_can_be_awaited():
    source = Source()

    async def nothing():
        pass
    source.gate = nothing
    f = source.cached_async(Memory())

    async def main():
        assert inspect.iscoroutinefunction(f)
        assert await f.get_cached_value(1) is Ellipsis
        assert await f(1) == 1
        assert await f.set_cached_value(1).to(5) is None
        assert await f(1) == 5 and await f.get_cached_value(1) == 5
        assert await f.refresh(1) == 1
        assert await f.clear(1) is None
        await f(1)
        assert await f.clear_all() is None
        assert await f.get_cached_value(1) is Ellipsis
        # The clear begins at the call, awaited or not.
        await f(1)
        f.clear(1)
        assert await f.get_cached_value(1) is Ellipsis
        assert await f(1) == 1
        f.clear_with()(1)
        assert await f.get_cached_value(1) is Ellipsis
        assert await f.clear_with(wait=True)(1) == 'applied'
        assert (await f.stats()).clears == 4
        assert (await f.explain(1)).key == f.get_cache_key(1)
        assert isinstance(f.prefix, str)
    asyncio.run(main())


def test_an_async_function_of_a_call_may_be_awaited_once():
    @cached(Memory())
    async def f(key):
        return key

    async def main():
        call = f(1)
        assert await call == 1
        with pytest.raises(RuntimeError, match='already awaited'):
            await call
    asyncio.run(main())


def test_keyword_only_and_variable_arguments_can_be_varied_on():
    runs = []

    @cached(Memory(), vary_on=['a', 'args', 'b', 'options'])
    def f(a, *args, b=2, **options):
        runs.append(1)
        return (a, args, b, options)
    assert f(1) == f(1, b=2) == (1, (), 2, {})
    assert f(1, 3, b=4, c=5) == f(1, 3, c=5, b=4) == (1, (3,), 4, {'c': 5})
    assert len(runs) == 2


def test_a_name_that_does_not_exist_is_one_error():
    with pytest.raises(ValueError, match='We cannot vary on "keys" because the function f has no such argument'):
        @cached(Memory(), vary_on=['keys'])
        def f(key):
            return key


@pytest.mark.parametrize('make_outer', [Memory, UserCache], ids=['memory', 'user'])
def test_quickcache_on_quickcache(make_outer):
    source = Source()
    inner = source.cached(Memory())
    outer = get_quickcache(cache=make_outer())(lambda key, force=False: [key])(inner)
    assert outer(1) == outer(1) == 1 and source.executions == 1
    source.value = 2
    inner.clear(1)
    assert outer(1) == 1
    outer.clear(1)
    assert outer(1) == 2 and source.executions == 2
    assert outer.get_cached_value(1) == 2 and outer.refresh(1) == 2


def test_quickcache_on_an_asynchronous_quickcache():
    source = Source()

    async def nothing():
        pass
    source.gate = nothing
    outer = get_quickcache(cache=Memory())(lambda key: [key])(source.cached_async(Memory()))

    async def main():
        assert await outer(1) == await outer(1) == 1
        await outer.clear(1)
        assert await outer(1) == 1
    assert inspect.iscoroutinefunction(outer)
    asyncio.run(main())
    assert source.executions == 1


@cached(Memory())
def at_module_level(key):
    """Its doc."""
    return key


def test_it_looks_like_the_function_it_wraps():
    assert at_module_level.__name__ == 'at_module_level' and at_module_level.__doc__ == 'Its doc.'
    assert str(inspect.signature(at_module_level)) == '(key)'
    assert inspect.getsource(at_module_level).startswith('@cached')
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


# ---- what is wrong is one error ----

def test_a_helper_that_was_changed_is_served_as_it_is():
    source = Source()
    f = source.cached(Memory())
    f(1)
    helper = f.clear.__self__
    helper.fn = lambda key: 'other'
    assert f(2) == 'other' and f(1) == 1
    helper.cache = UserCache()
    assert f(1) == 'other' and len(helper.cache.store) == 1


def test_a_users_helper_class_is_asked():
    class Shouting(QuickCacheHelper):
        def get_cache_key(self, *args, **kwargs):
            return super().get_cache_key(*args, **kwargs).upper()
    cache = UserCache()
    f = get_quickcache(cache=cache, helper_class=Shouting)(['key'])(_one_argument)
    assert f(1) == 1
    assert list(cache.store) == [f.get_cache_key(1)] and list(cache.store)[0].isupper()
    f.clear(1)
    assert not cache.store


def test_clear_is_a_method_as_others_are():
    cleared = []

    class Telling(QuickCacheHelper):
        def clear(self, *args, **kwargs):
            cleared.append((args, kwargs))
            super().clear(*args, **kwargs)
    told, plain = UserCache(), UserCache()
    f = get_quickcache(cache=told, helper_class=Telling)(['key'])(_one_argument)
    g = get_quickcache(cache=plain)(['key'])(_one_argument)
    assert f(1) == g(1) == 1
    f.clear(key=1), g.clear(key=1)
    assert cleared == [((), {'key': 1})] and not told.store and not plain.store
    assert inspect.ismethod(g.clear) and g.clear == g.clear.__self__.clear
    assert str(inspect.signature(g.clear)) == '(*args, **kwargs)' and g.clear.__doc__.startswith('Clears the cached value')
    for wrong in (QuickCacheHelper.clear, g.clear, lambda: g.clear(1, 2), lambda: g.clear(1, other=2)):
        with pytest.raises(TypeError):
            wrong()


def _one_argument(key):
    return key


def test_force_skip_out_of_the_function_is_the_callers():
    @cached(Memory())
    def f(key):
        raise ForceSkipCache
    with pytest.raises(ForceSkipCache):
        f(1)


@pytest.mark.parametrize('missing', ['get', 'set', 'delete'])
def test_a_cache_without_a_method_is_one_error_that_names_it(missing):
    methods = {name: getattr(UserCache, name) for name in ('__init__', 'get', 'set', 'delete') if name != missing}
    f = Source().cached(type('Poor', (), methods)())
    with pytest.raises(AttributeError) as raised:
        f(1)
        f.clear(1)
    for word in ('Poor', missing, 'needs'):
        assert word in str(raised.value)


def test_a_value_that_cannot_be_pickled_in_the_django_backend_is_returned_not_stored_and_said_once(caplog):
    @cached(django_memory())
    def returns_a_lambda(key):
        return lambda: key
    assert returns_a_lambda(1)() == 1 and returns_a_lambda(2)() == 2
    said = [r.getMessage() for r in caplog.records if 'returns_a_lambda' in r.getMessage()]
    assert len(said) == 1 and 'not cached' in said[0]


def test_hostile_arguments_raise_their_own_errors_and_never_end_the_interpreter():
    class Hostile(Exception):
        pass

    class Attribute:
        @property
        def id(self):
            raise Hostile

    class Text(str):
        def encode(self, *args):
            raise Hostile

    class Number(int):
        def __str__(self):
            raise Hostile
    f = Source().cached(Memory())
    by_attribute = cached(Memory(), vary_on=['key.id'])(_one_argument)
    for call in (lambda: f(Text('x')), lambda: f(Number(1)), lambda: by_attribute(Attribute())):
        with pytest.raises(Hostile):
            call()
    loop = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        f(loop)
    with pytest.raises(UnicodeEncodeError):
        f('\ud800')
    with pytest.raises(ValueError):
        f(10 ** 5000)
    with pytest.raises(ValueError, match='Bad type'):
        f(object())
    assert f(1) == 1


def test_a_key_whose_reading_uses_the_cache_is_served():
    """An attribute that is itself computed through the same function and memory, and that changes the helper meanwhile."""
    memory = Memory()

    class Deep:
        def __init__(self, depth):
            self.depth = depth

        @property
        def id(self):
            if self.depth:
                f(Deep(self.depth - 1))
                f.clear(Deep(0))
                f.clear.__self__.cache = memory
                memory.clear()
            return self.depth

    @cached(memory, vary_on=['thing.id', 'more'])
    def f(thing, more=None):
        return thing.depth
    for depth in (0, 3, 3, 1, 5):
        assert f(Deep(depth)) == depth
        assert f(Deep(depth), more=1) == depth

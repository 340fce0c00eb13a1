"""The configuration of the constructors with tiers of their own: its stages, its options, and what each mistake is told."""
import datetime
import decimal
import functools
import inspect
import uuid

import pytest

from quickcache import Memory, QuickCacheHelper, Store, get_local_quickcache, testing
from quickcache.configuration import _over

from .tools import Gate, Source, UserCache, script, start


class Shared(UserCache):
    """A shared tier that notes how long it was told to keep things; None: it was not told."""

    def __init__(self):
        super().__init__()
        self.timeouts = []

    def set(self, key, value, timeout=None):
        self.timeouts.append(timeout)
        super().set(key, value)


def made(shared=None, memoize_timeout=10, timeout=300, **options):
    """As a constructor makes it."""
    return _over(Shared() if shared is None else shared, 'get_quickcache_of_tests', memoize_timeout, timeout, options)


def look_up(key, force=False):
    return key


class Person:
    def __init__(self, id):
        self.id = id


# ---- three stages ----

def test_the_last_stage_that_says_something_holds():
    shared = Shared()
    base = made(shared, skip_arg='force')
    other = base.but_with(timeout=60, skip_arg=None)
    of_base, of_other, own = base(['key'])(look_up), other(['key'], version=1)(look_up), other(['key'], 'force', timeout=5, version=2)(look_up)
    for f in (of_base, of_other, own):
        f(1)
    assert shared.timeouts == [None, 60, 5]
    assert [f(1, force=True) and f.stats().executions for f in (of_base, of_other, own)] == [2, 1, 2]
    # `but_with` changes a copy.
    assert made(shared).but_with(timeout=1) is not base and repr(base).endswith("(memoize_timeout=10, timeout=300, skip_arg='force')")


def test_every_option_but_name_comes_at_every_stage():
    for option, value in [('vary_on', ['key']), ('skip_arg', 'force'), ('memoize_timeout', 1), ('timeout', 2), ('version', 3)]:
        rest = {'vary_on': ['key']} if option != 'vary_on' else {}
        one = made(**{option: value})(**rest)(look_up)
        two = made().but_with(**{option: value})(**rest)(look_up)
        three = made()(**{option: value, **rest})(look_up)
        assert one(1) == two(1) == three(1) == 1
        assert one.get_cache_key(1) == two.get_cache_key(1) == three.get_cache_key(1)


def test_a_decorator_decorates_several_functions():
    decorator = made()(name for name in ['key'])

    def other(key):
        return -key
    one, two = decorator(look_up), decorator(other)
    assert (one(1), two(1), one(2), two(2), one(1), two(1)) == (1, -1, 2, -2, 1, -1)
    assert one.stats().executions == two.stats().executions == 2


def test_functions_of_one_configuration_share_its_tiers_and_not_their_entries():
    shared = Shared()
    quickcache = made(shared)
    functions = [quickcache(['key'], name=f'f{n}', memoize_timeout=n + 1)(look_up) for n in range(3)]
    for n, f in enumerate(functions):
        f.set_cached_value(1).to(n)
    assert [f(1) for f in functions] == [0, 1, 2]
    assert len(shared.store) == 3
    memories = {id(inspect.unwrap(f) and f.clear.__self__.cache.caches[0].cache) for f in functions}
    assert len(memories) == 1


def test_two_configurations_share_nothing_in_memory():
    one, two = made()(['key'])(look_up), made()(['key'])(look_up)
    one.set_cached_value(1).to('one')
    assert one.get_cache_key(1) == two.get_cache_key(1)
    assert two.get_cached_value(1) is Ellipsis


def test_each_tier_has_the_timeout_of_the_function():
    shared = Shared()
    quickcache = made(shared)
    f = quickcache(['key'], memoize_timeout=datetime.timedelta(seconds=2), timeout=None)(look_up)
    with testing.fake_clock() as clock:
        f(1)
        assert f.explain(1).time_left == 2
        clock.advance(1.999)
        assert f.explain(1).tier == 'memory'
        clock.advance(.001)
        assert f.explain(1).tier == 'CacheWithPresets' and f(1) == 1
        assert f.stats().executions == 1 and f.stats().outer_hits == 1
    assert shared.timeouts == [None]
    g = quickcache(['key'], memoize_timeout=None, version=1)(look_up)
    g(1)
    assert g.explain(1).tier == 'memory' and g.explain(1).time_left is None


# ---- what a decorated function can do ----

def test_a_function_has_every_companion():
    source = Source(['value'])

    @made()(['key'], skip_arg='force')
    def f(key, force=False):
        """Its text."""
        return source.read()
    assert f(1) == f(1) == ['value'] and source.executions == 1
    f.clear(1)
    assert f.get_cached_value(1) is Ellipsis
    assert f(1, force=True) == ['value'] and f.get_cached_value(1) == ['value']
    f.set_cached_value(1).to('set')
    assert f(key=1) == 'set'
    assert f.refresh(1) == ['value'] and source.executions == 3
    assert f.explain(1).tier == 'memory' and f.explain(1).key == f.get_cache_key(1)
    assert f.clear_with(wait=True)(1) == 'applied' and f.get_cached_value(1) is Ellipsis
    assert f.stats().executions == 3
    assert (f.__name__, f.__doc__, str(inspect.signature(f))) == ('f', 'Its text.', '(key, force=False)')


def test_callers_have_copies_where_a_tier_serialises():
    f = made()(['key'])(lambda key: [key])
    f(1).append(2)
    assert f(1) == [1]


def test_methods_and_class_methods():
    quickcache = made()

    class Blog:
        def __init__(self, id):
            self.id = id

        @quickcache(['self.id', 'n'])
        def posts(self, n):
            return (self.id, n)

        @classmethod
        @quickcache(['n'])
        def of(cls, n):
            return (cls.__name__, n)

        @staticmethod
        @quickcache(['n'])
        def plain(n):
            return n

    class Other:
        @quickcache(['self.id', 'n'])
        def posts(self, n):
            return 'other'
        id = 1
    assert Blog(1).posts(2) == Blog(1).posts(2) == (1, 2)
    assert Other().posts(2) == 'other'
    assert Blog.posts.stats().executions == 1
    Blog.posts.clear(Blog(1), 2)
    Blog(1).posts(2)
    assert Blog.posts.stats().executions == 2
    assert Blog.of(1) == ('Blog', 1) and Blog.plain(3) == 3
    # Class names are part of the key, unlike under scheme seed.
    assert Blog.posts.get_cache_key(Blog(1), 2) != Other.posts.get_cache_key(Blog(1), 2)


def test_coroutine_functions():
    import asyncio

    @made()(['key'])
    async def f(key):
        await asyncio.sleep(0)
        return key

    async def main():
        assert await asyncio.gather(f([1]), f([1])) == [[1], [1]]
        assert (await f.stats()).executions == 1
        await f.clear([1])
        assert await f.get_cached_value([1]) is Ellipsis
        assert await f([1]) == [1]
    asyncio.run(main())
    assert inspect.iscoroutinefunction(f)


def test_a_clear_beats_a_running_execution():
    shared, source = Shared(), Source('old')

    @made(shared)(['key'])
    def f(key):
        return source.read()
    source.gate = Gate()
    call = start(f, [1])
    source.gate.reached()
    f.clear([1])
    source.gate.open()
    assert call.result() == 'old'
    source.value = 'new'
    assert f([1]) == 'new' and list(shared.store.values()) == ['new']


def test_a_patched_class_is_obeyed_and_has_the_same_keys(monkeypatch):
    @made()(['key', 'person.id'])
    def f(key, person):
        return key
    text = f.get_cache_key([1], Person(1))
    f([1], Person(1))
    with monkeypatch.context() as patch:
        patch.setattr(QuickCacheHelper, '__call__', lambda self, *args, **kwargs: 'patched')
        assert f([1], Person(1)) == 'patched'
        assert f.get_cache_key([1], Person(1)) == text
        f.clear([1], Person(1))
    assert f.get_cached_value([1], Person(1)) is Ellipsis
    with monkeypatch.context() as patch:
        patch.setattr('quickcache.v1.V1Function.skip', lambda self, *args, **kwargs: False)
        assert f([1], Person(1)) == [1]
        assert f.get_cached_value([1], Person(1)) == [1]
        with pytest.raises(ValueError, match='value 1 of its key is of type object'):
            f(object(), Person(1))
    assert f.get_cached_value([1], Person(1)) == [1]


def test_a_reassigned_attribute_of_the_helper_takes_effect():
    f = made()(['key'])(look_up)
    g = made()(['key'], version=1)(look_up)
    f(1)
    f.clear.__self__.keys = g.clear.__self__.keys
    assert f.get_cache_key(1) == g.get_cache_key(1)
    assert f.get_cached_value(1) is Ellipsis


def test_isolated_and_disabled_caches():
    f = made()(['key'])(look_up)
    f.set_cached_value(1).to('stored')
    with testing.isolated():
        assert f(1) == 1
    with testing.disabled():
        assert f(1) == 1
    assert f(1) == 'stored'


def test_a_function_whose_source_cannot_be_read_needs_a_version(tmp_path):
    done = script(tmp_path, """
        from quickcache.configuration import _over
        from tests.claims.test_configuration import Shared
        quickcache = _over(Shared(), 'tests', 10, 300, {})
        scope = {}
        exec('def f(key): return key', scope)
        try:
            quickcache(['key'])(scope['f'])
        except ValueError as error:
            print(error)
        for options in ({'version': 1}, {'name': 'f'}):
            f = quickcache(['key'], **options)(scope['f'])
            print(f(1), f.get_cache_key(1)[:4])
    """)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines() == [
        'f: its source text cannot be read (could not get source code), so that a changed function could not be told from the old one; '
        'give it a version, as in version=1', '1 qc1:', '1 qc1:']


def test_importing_the_package_does_not_import_the_configuration(tmp_path):
    done = script(tmp_path, """
        import sys, quickcache
        print(*[name for name in sys.modules if name in ('quickcache.configuration', 'quickcache.v1')])
    """)
    assert done.stdout.split() == []


# ---- over the machine's store ----

def local(tmp_path, **options):
    return get_local_quickcache(path=tmp_path / 'store', **options)


def keyed_alike(key):
    """For configurations that stand for two processes: neither sees the other's memory tier."""
    return [key]


@pytest.mark.parametrize('key', [
    1, 'a', b'a', None, 2.5, 2 ** 70, [1, ['a']], ('a', None), {'a': {1}}, frozenset({1}), datetime.datetime(2024, 1, 1), decimal.Decimal('1.0'),
    uuid.UUID(int=7)], ids=lambda key: type(key).__name__)
def test_a_value_is_found_in_the_store_by_its_key_and_cleared_from_there(tmp_path, key):
    one, other = (local(tmp_path)(['key'])(keyed_alike) for _ in range(2))
    assert one(key) == [key] and one(key) == [key]
    assert other(key) == [key]
    assert (one.stats().executions, other.stats().executions, other.stats().store_hits) == (1, 0, 1)
    assert other.get_cache_key(key) == one.get_cache_key(key)
    other.clear(key)
    assert one.get_cached_value(key) is Ellipsis
    assert one(key) == [key] and one.stats().executions == 2


def test_keys_that_differ_under_v1_differ_in_the_store(tmp_path):
    one, other = (local(tmp_path)(['key'])(keyed_alike) for _ in range(2))
    keys = [1, 1.0, True, '1', b'1', [1], (1,), {1}, frozenset({1}), None, 0.0, -0.0]
    for key in keys:
        one(key)
    assert [repr(other(key)) for key in keys] == [repr([key]) for key in keys]
    assert (other.stats().store_hits, other.stats().executions) == (len(keys), 0)


def test_functions_of_one_name_in_two_modules_share_and_of_another_version_do_not(tmp_path):
    quickcache = local(tmp_path)

    def elsewhere(key):
        return 'elsewhere'
    elsewhere.__module__ = 'another.module'
    first = quickcache(['key'], name='shared', version=1)(keyed_alike)
    second = local(tmp_path)(['key'], name='shared', version=1)(elsewhere)
    third = local(tmp_path)(['key'], name='shared', version=2)(elsewhere)
    first(1)
    assert second(1) == [1] and third(1) == 'elsewhere'


def test_each_function_has_its_own_timeouts_in_the_store(tmp_path):
    with testing.fake_clock():
        f = local(tmp_path, timeout=300)(['key'], memoize_timeout=1, timeout=60)(keyed_alike)
        g = local(tmp_path, timeout=300)(['key'], memoize_timeout=1)(keyed_alike)
        assert isinstance(f.clear.__self__.cache.caches[1].cache, Store) and f.clear.__self__.cache.caches[1].timeout == 60
        assert isinstance(g.clear.__self__.cache.caches[1], Store)
        assert f.explain(1).tier is None
        f(1)
        assert f.explain(1).tier == 'memory' and f.explain(1).time_left == 1


# ---- mistakes: the whole text of each error ----

OPTIONS = '; the options are vary_on, skip_arg, memoize_timeout, timeout, version, stale_timeout and name'


def one_error(kind, text, function, *args, **kwargs):
    with pytest.raises(kind) as raised:
        function(*args, **kwargs)
    assert type(raised.value) is kind
    assert str(raised.value) == text


STAGES = {
    'get_quickcache_of_tests': lambda **options: made(**options),
    'but_with': lambda **options: made().but_with(**options),
    'look_up': lambda **options: made()(**{'vary_on': ['key'], **options})(look_up),
}


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('options, kind, text', [
    ({'timeuot': 5}, TypeError, "there is no option 'timeuot', did you mean timeout" + OPTIONS),
    ({'cache': Memory()}, TypeError, "there is no option 'cache'" + OPTIONS),
    ({'timeout': '5'}, TypeError, "timeout must be a number of seconds, a timedelta or None, not '5'"),
    ({'timeout': True}, TypeError, 'timeout must be a number of seconds, a timedelta or None, not True'),
    ({'memoize_timeout': 0}, ValueError, 'memoize_timeout must be more than 0 seconds, not 0; None means no expiry'),
    ({'memoize_timeout': -1.5}, ValueError, 'memoize_timeout must be more than 0 seconds, not -1.5; None means no expiry'),
    ({'timeout': float('nan')}, ValueError, 'timeout must be more than 0 seconds, not nan; None means no expiry'),
    ({'timeout': datetime.timedelta(0)}, ValueError, 'timeout must be more than 0 seconds, not 0.0; None means no expiry'),
    ({'stale_timeout': 'ever'}, TypeError, "stale_timeout must be a number of seconds, a timedelta or None, not 'ever'"),
    ({'stale_timeout': 0}, ValueError,
     'stale_timeout must be more than 0 seconds, not 0; None means that what the function raises is raised'),
    ({'version': '2'}, TypeError, "version must be a whole number, not '2'; write version=2"),
    ({'version': True}, TypeError, 'version must be a whole number, not True; write version=2'),
    ({'version': -1}, ValueError, 'version must be from 0 to 2**64 - 1, not -1'),
    ({'skip_arg': 5}, TypeError, 'skip_arg must be the name of an argument, a function or None, not 5'),
    ({'vary_on': 'key'}, TypeError,
     "vary_on must be a list of argument names and dotted paths, such as ['person.id'], or a function, not 'key'"),
    ({'vary_on': None}, TypeError,
     "vary_on must be a list of argument names and dotted paths, such as ['person.id'], or a function, not None"),
    ({'vary_on': b'key'}, TypeError,
     "vary_on must be a list of argument names and dotted paths, such as ['person.id'], or a function, not b'key'"),
    ({'vary_on': {'key': 1}}, TypeError,
     "vary_on must be a list of argument names and dotted paths, such as ['person.id'], or a function, not {'key': 1}"),
    ({'vary_on': ['key', 5]}, TypeError,
     "vary_on must be a list of argument names and dotted paths, such as ['person.id'], or a function, not ['key', 5]"),
], ids=lambda v: str(v) if isinstance(v, dict) else '')
def test_a_mistaken_option_at_every_stage(stage, options, kind, text):
    one_error(kind, f'{stage}: {text}', STAGES[stage], **options)


@pytest.mark.parametrize('stage', ['get_quickcache_of_tests', 'but_with'])
def test_a_name_before_the_function(stage):
    one_error(TypeError, f"{stage}: name is one function's own; give it at the function: @quickcache([...], name='posts')",
              STAGES[stage], name='posts')


@pytest.mark.parametrize('options, kind, text', [
    ({'name': ''}, ValueError, 'name cannot be empty; leave it out for the name of the function'),
    ({'name': 5}, TypeError, "name must be text, not 5; write name='posts'"),
    ({'vary_on': ['kye']}, ValueError, "vary_on names 'kye', which is no argument of the function; its arguments are key, force"),
    ({'vary_on': ['']}, ValueError, "vary_on names '', which is no argument of the function; its arguments are key, force"),
    ({'vary_on': ['key.']}, ValueError, "vary_on has 'key.', which is no dotted path such as key.id"),
    ({'vary_on': ['key.a-b']}, ValueError, "vary_on has 'key.a-b', which is no dotted path such as key.id"),
    ({'skip_arg': 'forec'}, ValueError, "skip_arg names 'forec', which is no argument of the function; its arguments are key, force"),
    ({'vary_on': ['key', 'force.x'], 'skip_arg': 'force'}, ValueError, "'force' is in vary_on and is skip_arg too; take it out of vary_on"),
], ids=lambda v: str(v) if isinstance(v, dict) else '')
def test_a_mistake_at_the_function(options, kind, text):
    one_error(kind, f'look_up: {text}', STAGES['look_up'], **options)


def test_a_stale_timeout_where_nothing_keeps_a_value_beyond_its_time():
    one_error(TypeError, 'look_up: stale_timeout needs a Store or a Redis, which keep a value beyond its timeout, and Shared does not; leave it '
              'out', STAGES['look_up'], stale_timeout=5)


def test_a_function_without_vary_on():
    one_error(TypeError, "look_up: vary_on is missing; write @quickcache(['name']) with the arguments that its value depends on, [] if there "
              'are none', made()(), look_up)

    def nothing():
        pass
    one_error(ValueError, "nothing: vary_on names 'key', which is no argument of the function; it has no arguments", made()(['key']), nothing)


def test_what_is_no_function():
    quickcache = made()
    bare = quickcache(look_up)      # as @quickcache without parentheses
    help_of_bare = ('; if that was an argument of a call, @quickcache stands above its function without parentheses: write '
                    "@quickcache(['name']) with the arguments it varies on")
    one_error(TypeError, "quickcache takes a function, not <class 'int'>" + help_of_bare, bare, 5)
    one_error(TypeError, "quickcache takes a function, not <class 'type'>" + help_of_bare, quickcache(['key']), Person)
    one_error(TypeError, "quickcache takes a function, not <class 'functools.partial'>" + help_of_bare, quickcache(['key']),
              functools.partial(look_up))
    for kind in (classmethod, staticmethod):
        one_error(TypeError, f'look_up: quickcache takes a function, not a {kind.__name__}; write @quickcache(...) below '
                  f'@{kind.__name__}', quickcache(['key']), kind(look_up))


def test_a_generator_function():
    def numbers(key):
        yield key

    async def later(key):
        yield key
    for fn in (numbers, later):
        one_error(TypeError, f'{fn.__name__}: a generator can be used once only, so it cannot be cached; return a list instead',
                  made()(['key']), fn)


def test_a_configuration_takes_names_only():
    with pytest.raises(TypeError):
        made().but_with(5)

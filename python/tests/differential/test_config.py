"""C1 to C7: the configuration objects."""
import copy
import functools
import pickle

import pytest

from . import sides
from .observe import same


def subject(a, b=1):
    return [a, b]


def test_c1_get_quickcache_is_keyword_only_and_a_bound_method():
    def scenario(world):
        get = world.side.get_quickcache
        world.attempt('positional', get, world.cache())
        world.note(get.__name__, type(get).__name__, type(get.__self__).__name__, get.__self__)
        world.attempt('nothing', get)
        world.attempt('twice', lambda: get(cache=1)())
        world.attempt('of a configuration', lambda: get(cache=1).but_with(vary_on=['a']))
    same(scenario)


def test_c2_a_configuration_is_a_named_tuple():
    def scenario(world):
        QuickCache = world.side.QuickCache
        world.note(QuickCache._fields, QuickCache.__name__, [base.__name__ for base in QuickCache.__mro__])
        defaults = world.side.get_quickcache()
        world.note(defaults, len(defaults), list(defaults._asdict()), defaults[2], tuple(defaults)[:3])
        first, second = (world.side.get_quickcache(cache=5, vary_on=['a']) for _ in range(2))
        world.note(first == second, first != second, first == tuple(first), first._replace(cache=6), first.cache, first.index(5))
        world.attempt('make', QuickCache._make, range(5))
        world.attempt('make', QuickCache._make, range(4))
        world.attempt('new', QuickCache, 1)
        world.attempt('new', QuickCache, 1, 2, 3, 4, 5)
        world.attempt('new', QuickCache, vary_on=1, cache=2, skip_arg=3, helper_class=4, assert_function=5)
        world.attempt('set', setattr, first, 'cache', 7)
        world.attempt('hash', hash, first)
        world.attempt('copy', lambda: copy.copy(first) == first)
        world.attempt('pickle', lambda: pickle.loads(pickle.dumps(first)) == first)
    same(scenario)


def test_c3_but_with_replaces_and_refuses_unknown_fields():
    def scenario(world):
        base = world.side.get_quickcache(cache=1)
        world.attempt('but_with', base.but_with, vary_on=['a'], skip_arg='b')
        world.attempt('unchanged', lambda: base)
        world.attempt('nothing', lambda: base.but_with() == base)
        for options in ({'timeout': 5}, {'timeout': 5, 'memoize_timeout': 6}, {'cache': 2, 'unknown': 3}, {'self': 1}, {'_fields': 1}):
            world.attempt('unknown', lambda: base.but_with(**options))
            world.attempt('unknown in call', lambda: base(**options))
            world.attempt('unknown in get_quickcache', lambda: world.side.get_quickcache(**options))
        world.attempt('positional', base.but_with, ['a'])
    same(scenario)


@pytest.mark.parametrize('given', ['nothing', 'cache', 'vary_on', 'both', 'Ellipsis again', 'helper_class'])
def test_c4_missing_values_are_named_in_field_order(given):
    options = {'nothing': {}, 'cache': {'cache': {}}, 'vary_on': {'vary_on': ['a']}, 'both': {'cache': {}, 'vary_on': ['a']}, 'Ellipsis again': {'cache': {}, 'vary_on': ...},
               'helper_class': {'helper_class': ..., 'assert_function': ..., 'skip_arg': ...}}[given]

    def scenario(world):
        base = world.side.get_quickcache(**options)
        for args, kwargs in (((), {}), ((['a'],), {}), ((['a'], 'b'), {}), ((..., 'b'), {}), ((...,), {}), ((['a'], ...), {}), ((['a'], 'b', 1), {}), ((), {'vary_on': ['a']}),
                             ((), {'skip_arg': None}), ((), {'cache': {}}), ((['a'],), {'vary_on': ['b']}), ((), {'vary_on': ['a'], 'cache': ...})):
            world.attempt('call', lambda: base(*args, **kwargs) and 'a decorator')
    same(scenario)


def test_c4_every_stage_can_give_every_value():
    def scenario(world):
        cache = world.cache()
        get = world.side.get_quickcache
        stages = [get(cache=cache)(['a'])(subject), get(cache=cache, vary_on=['a'])()(subject), get()(['a'], cache=cache)(subject), get().but_with(cache=cache)(['a'])(subject),
                  get(cache=cache)(['b']), get(cache=cache, vary_on=['b']).but_with(vary_on=['a'])()(subject), get(cache=cache, vary_on=['b'])(['a'])(subject),
                  get(cache=cache, skip_arg='b')(['a'])(subject), get(cache=cache, skip_arg='b')(['a'], skip_arg=None)(subject), get(cache=cache, skip_arg='b')(['a'], None)(subject)]
        for stage in stages:
            for args in ((1,), (1, 0), (1, 2)):
                world.attempt('call', lambda: stage(*args) if hasattr(stage, 'clear') else 'a decorator')
    same(scenario)


def test_c5_call_gives_all_fields_but_helper_class_to_the_helper():
    def scenario(world):
        def helper_class(fn, **options):
            world.note('helper_class', fn is subject, list(options), options)
            return world.side.QuickCacheHelper(fn, **options)
        base = world.side.get_quickcache(helper_class=helper_class, cache=world.cache(), assert_function=None)
        cached = base(['a'], 'b')(subject)
        world.attempt('call', cached, 1, 0)
        world.attempt('call()', lambda: base.call() and 'a decorator')
        decorator = base.call()
        world.attempt('decorate without vary_on', decorator, subject)
    same(scenario)


def test_c5_a_subclass_of_the_configuration_may_add_fields_and_override_call():
    def scenario(world):
        from collections import namedtuple
        quickcache = world.side.module('quickcache')

        class Mine(namedtuple('Mine', ['vary_on', 'skip_arg', 'timeout', 'helper_class']), quickcache.ConfigMixin):
            def call(self):
                world.note('call', self.timeout, self.vary_on)
                return quickcache.QuickCache(self.vary_on, world.cache(), self.skip_arg, self.helper_class, None).call()
        base = Mine(..., None, ..., world.side.QuickCacheHelper)
        world.attempt('missing', base)
        cached = base.but_with(timeout=5)(['a'])(subject)
        world.attempt('call', cached, 1)
        world.attempt('call', cached, 1)
        world.attempt('unknown', lambda: base(cache=1))
        world.note(base)
    same(scenario)


def test_c6_one_decorator_serves_several_functions():
    def scenario(world):
        def other(a, b=2):
            return ['other', a, b]

        def without(x):
            return x
        decorator = world.side.get_quickcache(cache=world.cache())(['a'])
        for fn in (subject, other, subject):
            cached = decorator(fn)
            for args in ((1,), (1,), (2,)):
                world.attempt('call', cached, *args)
        world.attempt('no such argument', decorator, without)
        world.attempt('still good', lambda: decorator(other)(3))
    same(scenario)


def test_c6_a_mutable_vary_on_is_read_when_the_function_is_decorated():
    def scenario(world):
        vary_on = ['a']
        decorator = world.side.get_quickcache(cache=world.cache())(vary_on)
        first = decorator(subject)
        vary_on.append('b')
        second = decorator(subject)
        vary_on.clear()
        for cached in (first, second):
            world.attempt('key', cached.get_cache_key, 1, 2)
    same(scenario)


def test_c7_a_bare_decorator_takes_the_function_as_vary_on():
    def scenario(world):
        bare = world.side.get_quickcache(cache=world.cache())(subject)
        world.attempt('called', bare, 1)
        cached = bare(lambda a: a)
        for args in ((1,), (2,), (1,)):
            world.attempt('call', cached, *args)
    same(scenario)


def test_the_default_assert_function_is_inverted():
    def scenario(world):
        for module in ('logger', 'quickcache'):
            function = world.side.module(module).assert_function
            world.attempt('False', function, False, 'silent')
            world.attempt('wrong', function)
        cached = world.decorate(subject, ['a'])
        world.attempt('bytes', cached, b'\xff')
    same(scenario)


def test_utc():
    def scenario(world):
        native_utc = world.side.module('native_utc')
        utc = native_utc.utc
        world.note(utc.utcoffset(None), utc.tzname(None), utc.dst(None), native_utc.ZERO, type(utc).__name__, isinstance(utc, native_utc.UTC), repr(utc))
        import datetime
        world.note(datetime.datetime(2018, 1, 1, tzinfo=utc).isoformat(), datetime.datetime(2018, 1, 1, tzinfo=utc))
        world.attempt('copy', lambda: copy.deepcopy(utc).tzname(None))
        world.attempt('pickle', lambda: pickle.loads(pickle.dumps(utc)).tzname(None))
    same(scenario)


def test_the_two_sides_of_one_process_do_not_mix():
    first, second = (side.get_quickcache(cache={}) for side in (sides.SEED, sides.OURS))
    assert type(first) is not type(second)
    assert functools.reduce(lambda a, b: a is not b, (first.helper_class, second.helper_class))

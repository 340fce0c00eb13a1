"""D9: helper classes of the user's own, and methods replaced before and after decoration, take effect at the next call."""
import types
import unittest.mock

import pytest

from .observe import same


def subject(a, b=1, force=False):
    return [a, b, force]


def probe(world, label, cached):
    """Every door, a hit and a miss."""
    world.attempt(label, cached.get_cache_key, 1)
    for args, kwargs in (((1,), {}), ((1,), {}), ((2, 3), {}), ((1, 1, True), {}), ((), {'a': 1, 'force': 1}), ((), {})):
        world.attempt(label, cached, *args, **kwargs)
    world.attempt(label, cached.get_cached_value, 1)
    world.attempt(label, lambda: cached.set_cached_value(1).to('new'))
    world.attempt(label, cached, 1)
    world.attempt(label, cached.clear, 1)
    world.attempt(label, cached, 1)


def replacement(world, name):
    """Something of the right shape to put in the place of the method `name`."""
    def note(*what):
        world.note(f'patched {name}', *what)
    return {
        '__call__': lambda self, *args, **kwargs: (note(args, kwargs), self.fn(*args, **kwargs))[1],
        'call': lambda self, *args, **kwargs: (note(args, kwargs), 'from call')[1],
        'get_cache_key': lambda self, *args, **kwargs: (note(args, kwargs), f'my-key-{args}')[1],
        'skip': lambda self, *args, **kwargs: (note(args, kwargs), len(args) > 1)[1],
        '_serialize_for_key': lambda self, value: (note(value), f'<{value}>')[1],
        '_hash': staticmethod(lambda value, length=32: (note(value, length), value[:length].upper())[1]),
        'clear': lambda self, *args, **kwargs: note(args, kwargs),
        'get_cached_value': lambda self, *args, **kwargs: (note(args, kwargs), 'cached value')[1],
        'set_cached_value': lambda self, *args, **kwargs: (note(args, kwargs), types.SimpleNamespace(to=lambda value: note('to', value)))[1],
    }[name]


METHODS = ['__call__', 'call', 'get_cache_key', 'skip', '_serialize_for_key', '_hash', 'clear', 'get_cached_value', 'set_cached_value']
VARY_ON = {'one': ['a'], 'bytes and list': lambda *args, **kwargs: [b'x', [1, 'y'], {1: {2}}, 10 ** 160]}


@pytest.mark.parametrize('vary_on', VARY_ON)
@pytest.mark.parametrize('name', METHODS)
def test_d9_a_method_patched_before_decoration(name, vary_on):
    def scenario(world):
        with unittest.mock.patch.object(world.side.QuickCacheHelper, name, replacement(world, name)):
            cached = world.decorate(subject, VARY_ON[vary_on], skip_arg='force')
            probe(world, 'patched', cached)
        probe(world, 'restored', cached)
    same(scenario)


@pytest.mark.parametrize('vary_on', VARY_ON)
@pytest.mark.parametrize('name', METHODS)
def test_d9_a_method_patched_after_decoration_and_after_hits(name, vary_on):
    def scenario(world):
        cached = world.decorate(subject, VARY_ON[vary_on], skip_arg='force')
        probe(world, 'before', cached)
        with unittest.mock.patch.object(world.side.QuickCacheHelper, name, replacement(world, name)):
            probe(world, 'patched', cached)
        probe(world, 'restored', cached)
    same(scenario)


def test_d9_the_class_can_be_patched_by_its_dotted_name():
    def scenario(world):
        cached = world.decorate(subject, ['a'])
        with unittest.mock.patch(f'{world.side.root}.quickcache_helper.QuickCacheHelper.__call__', lambda self, *args, **kwargs: self.fn(*args, **kwargs)):
            probe(world, 'patched', cached)
        probe(world, 'restored', cached)
    same(scenario)


@pytest.mark.parametrize('name', METHODS)
def test_d9_a_method_set_on_the_helper_itself(name):
    def scenario(world):
        cached = world.decorate(subject, ['a'], skip_arg='force')
        helper = cached.clear.__self__
        mine = replacement(world, name)
        setattr(helper, name, mine.__func__ if isinstance(mine, staticmethod) else mine.__get__(helper))
        probe(world, 'patched', cached)
        delattr(helper, name)
        probe(world, 'restored', cached)
    same(scenario)


def test_d9_a_helper_whose_class_is_changed():
    def scenario(world):
        cached = world.decorate(subject, ['a'])
        helper = cached.clear.__self__
        Base = world.side.QuickCacheHelper
        helper.__class__ = type('Mine', (Base,), {'__call__': lambda self, *args, **kwargs: ['mine', Base.__call__(self, *args, **kwargs)]})
        probe(world, 'changed', cached)
        helper.__class__ = Base
        probe(world, 'restored', cached)
    same(scenario)


@pytest.mark.parametrize('name', METHODS)
def test_d9_a_subclass_given_as_helper_class(name):
    def scenario(world):
        Mine = type('Mine', (world.side.QuickCacheHelper,), {name: replacement(world, name)})
        cached = world.decorate(subject, ['a'], skip_arg='force', helper_class=Mine)
        probe(world, 'subclass', cached)
        world.note(type(cached.clear.__self__) is Mine, cached.prefix)
        probe(world, 'by itself', world.decorate(subject, VARY_ON['bytes and list'], helper_class=Mine))
    same(scenario)


def test_d9_a_subclass_that_only_inherits():
    def scenario(world):
        Mine = type('Mine', (world.side.QuickCacheHelper,), {})
        cached = world.decorate(subject, ['a'], helper_class=Mine, skip_arg='force')
        probe(world, 'inherits', cached)
        Mine.skip = replacement(world, 'skip')
        probe(world, 'patched', cached)
    same(scenario)


def test_d9_a_subclass_that_takes_over_with_super():
    def scenario(world):
        class Versioned(world.side.QuickCacheHelper):
            """What sites write: a version in the key, text for types of their own, and a log line."""

            def __init__(self, fn, vary_on, cache, skip_arg=None, assert_function=None):
                super().__init__(fn, vary_on, cache, skip_arg=skip_arg, assert_function=assert_function)
                self.prefix = f'v2.{self.prefix}'

            def get_cache_key(self, *args, **kwargs):
                return super().get_cache_key(*args, **kwargs) + ':v2'

            def _serialize_for_key(self, value):
                if isinstance(value, frozenset):
                    return 'F' + super()._serialize_for_key(set(value))
                return super()._serialize_for_key(value)

            def call(self, *args, **kwargs):
                world.note('calls')
                return super().call(*args, **kwargs)

            def skip(self, *args, **kwargs):
                return super().skip(*args, **kwargs) or args == (9,)
        cached = world.decorate(subject, ['a'], helper_class=Versioned, skip_arg='force')
        probe(world, 'versioned', cached)
        for value in (frozenset({1}), [frozenset({2})], 9, 9):
            world.attempt('value', cached, value)
        world.note(cached.prefix)
    same(scenario)


def test_d9_serialize_may_return_what_is_no_text():
    def scenario(world):
        for returned in (3, None, b'x', ''):
            Mine = type('Mine', (world.side.QuickCacheHelper,), {'_serialize_for_key': lambda self, value: returned})
            world.attempt('key', world.decorate(subject, ['a'], helper_class=Mine).get_cache_key, 1)
    same(scenario)


def test_d9_the_key_may_be_anything_a_patched_get_cache_key_returns():
    def scenario(world):
        for key in (3, None, ('a', 1), '', '\ud800'):
            Mine = type('Mine', (world.side.QuickCacheHelper,), {'get_cache_key': lambda self, *args, **kwargs: key})
            probe(world, 'key', world.decorate(subject, ['a'], helper_class=Mine))
    same(scenario)


def test_helper_class_may_be_any_factory():
    def scenario(world):
        def factory(fn, **options):
            world.note('factory', sorted(options), options['vary_on'], options['skip_arg'])
            return world.side.QuickCacheHelper(fn, **options)
        probe(world, 'factory', world.decorate(subject, ['a'], helper_class=factory))

        class Double:
            """A helper that shares nothing with ours."""
            prefix = 'double'

            def __init__(self, fn, **options):
                self.fn = fn

            def __call__(self, *args, **kwargs):
                return ['double', self.fn(*args, **kwargs)]

            def clear(self, *args):
                return 'cleared'
            get_cache_key = get_cached_value = set_cached_value = clear
        cached = world.decorate(subject, ['a'], helper_class=Double)
        for _ in range(2):
            world.attempt('double', cached, 1)
        world.attempt('clear', cached.clear, 1)
        world.note(cached.prefix, cached.__name__)
        del Double.clear
        world.attempt('incomplete', lambda: world.decorate(subject, ['a'], helper_class=Double) and None)
        world.attempt('None', lambda: world.decorate(subject, ['a'], helper_class=lambda *args, **kwargs: None) and None)
        world.attempt('wrong signature', lambda: world.decorate(subject, ['a'], helper_class=lambda fn: None) and None)
        world.attempt('uncallable', lambda: world.decorate(subject, ['a'], helper_class=3) and None)
    same(scenario)


def test_a_helper_can_be_used_without_the_decorator():
    def scenario(world):
        helper = world.helper(subject, ['a'], skip_arg='force')
        probe(world, 'direct', helper)
        world.attempt('skip', helper.skip, 1)
        world.attempt('skip', helper.skip, 1, force='yes')
        world.attempt('call', helper.call, 1)
        world.attempt('call', helper.call, 1, force=True)
        world.attempt('_hash', helper._hash, 'é')
        world.attempt('_hash', helper._hash, 'é', 8)
        world.attempt('_hash', world.side.QuickCacheHelper._hash, '', length=0)
        world.attempt('_hash', helper._hash, b'x')
    same(scenario)

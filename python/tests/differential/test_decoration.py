"""D1 to D7: what decorating does and refuses. D8 is in test_decorated.py, D9 (patching) in test_patching.py."""
import builtins
import copy
import functools
import inspect
import itertools
import types
import unicodedata
import unittest.mock
import weakref

import pytest

from . import sides
from .observe import same
from .signatures import compile_function


def plain(a, b=1, *rest, c=2, **more):
    """A function with one of everything."""
    return [a, b, rest, c, more]


def decorating(fn, vary_on=(), **options):
    """Scenario: decorate `fn`, directly and through the configuration; note the prefix or the error."""
    def scenario(world):
        helper = world.attempt('helper', lambda: world.helper(fn, vary_on, **options).prefix)
        cached = world.attempt('decorate', lambda: world.decorate(fn, vary_on, **options).prefix)
        assert helper == cached
    return scenario


# D1, D2: the prefix.

@pytest.mark.parametrize('length', [1, 39, 40, 41, 60])
@pytest.mark.parametrize('letter', ['n', 'é', '名', '𝕗'])
def test_d1_names_are_cut_after_forty_code_points(length, letter):
    name = letter * length
    same(decorating(compile_function(f'def {name}():\n    pass\n', name=unicodedata.normalize('NFKC', name))))


SOURCES = ['def f(): pass\n', 'def f(): pass', 'def f():\n\treturn "é𝕗"\n', 'def f():\n    return 1\n\n\nx = 1\n', 'if 1:\n    def f():\n        return 1\n',
           'f = lambda: 1\n', 'f = [lambda: 1, lambda: 2][0]\n', 'f = (\n    lambda:\n    1)\n', 'def d(x): return x\n@d\n@d\ndef f(): pass\n',
           'def f():\n    """text\n  less indented\n"""\n', '# before\ndef f():  # beside\n    pass\n    # after\n']


@pytest.mark.parametrize('text', SOURCES)
def test_d2_the_source_text_is_that_of_getsource(text):
    f = compile_function(text)
    same(decorating(f))
    assert sides.OURS.QuickCacheHelper(f, [], {}).prefix.startswith(f.__name__ + '.')


def test_d2_the_text_of_a_wrapper_is_that_of_the_wrapped_function():
    def inner(a):
        return a

    @functools.wraps(inner)
    def outer(*args, **kwargs):
        return inner(*args, **kwargs)
    same(decorating(outer))
    same(decorating(outer, ['a']))


def test_d2_two_classes_with_the_same_method_text_share_entries():
    def scenario(world):
        cache = world.cache()
        text = 'def of(self, a):\n    return [type(self).__name__, a]\n'
        methods = [world.decorate(compile_function(text, 'of'), ['a'], cache=cache) for _ in range(2)]
        first, second = (type(name, (), {'of': method}) for name, method in zip(('First', 'Second'), methods))
        world.attempt('first', first().of, 1)
        world.attempt('second', second().of, 1)
    same(scenario)


# D3: what cannot be decorated, and what can.

class Callable:
    __name__ = 'callable_instance'

    def __call__(self, a):
        return a

    def method(self, a):
        return [self, a]

    def __repr__(self):
        return 'Callable()'

    @classmethod
    def of_class(cls, a):
        return a

    @property
    def prop(self):
        return 1


class Nameless:
    def __call__(self, a):
        return a


no_source = {}
exec('def from_exec(a): return a', no_source)
OBJECTS = {
    'function': plain, 'lambda': lambda a: a, 'no source': no_source['from_exec'], 'builtin': len, 'builtin method': [].append, 'builtin type': int,
    'partial': functools.partial(plain, 1), 'callable': Callable(), 'nameless callable': Nameless(), 'class': Callable, 'bound method': Callable().method,
    'bound class method': Callable.of_class, 'classmethod': classmethod(plain), 'staticmethod': staticmethod(plain), 'property': Callable.prop,
    'partialmethod': functools.partialmethod(plain), 'lru_cache': functools.lru_cache(plain), 'singledispatch': functools.singledispatch(plain),
    'cached_property': functools.cached_property(plain), 'None': None, 'number': 3, 'text': 'plain', 'module': functools, 'Mock': unittest.mock.Mock(),
    'method wrapper': (1).__add__, 'slot wrapper': int.__add__, 'types.MethodType on builtin': types.MethodType(len, []), 'builtins': builtins,
}


@pytest.mark.parametrize('name', OBJECTS)
@pytest.mark.parametrize('vary_on', [[], ['a']])
def test_d3_what_can_be_decorated(name, vary_on):
    same(decorating(OBJECTS[name], vary_on))


@pytest.mark.parametrize('name', ['class', 'bound method', 'bound class method', 'lru_cache'])
@pytest.mark.parametrize('vary_on', [[], ['a'], ['self'], ['cls']])
def test_d3_classes_and_bound_methods_can_be_called(name, vary_on):
    def scenario(world):
        fn = OBJECTS[name]
        cached = world.attempt('decorate', world.decorate, fn, vary_on)
        if cached is not None:
            for args, kwargs in (((1,), {}), ((1,), {}), ((2,), {}), ((), {}), ((), {'a': 1}), ((1, 2), {})):
                world.attempt('key', cached.get_cache_key, *args, **kwargs)
                world.attempt('call', lambda: repr(cached(*args, **kwargs)))
    same(scenario)


# D4 to D7: arguments of the decorator.

class Text(str):
    """A str subclass."""


def takes(a, b=1, /, c=2, *, d=3):
    return [a, b, c, d]


VARY_ONS = {
    'list': lambda: ['a', 'b'], 'tuple': lambda: ('a',), 'set': lambda: {'a'}, 'frozenset': lambda: frozenset({'b'}), 'dict': lambda: {'a': 1}, 'iterator': lambda: iter(['a', 'b']),
    'generator': lambda: (name for name in 'ab'), 'text': lambda: 'ab', 'empty text': lambda: '', 'text with unknown': lambda: 'ax', 'empty': lambda: [], 'None': lambda: None,
    'number': lambda: 3, 'bytes': lambda: b'ab', 'list of bytes': lambda: [b'a'], 'list of numbers': lambda: [1], 'list of None': lambda: [None], 'empty element': lambda: [''],
    'twice': lambda: ['a', 'a'], 'path': lambda: ['a.x.y'], 'path of unknown': lambda: ['q.x'], 'dot': lambda: ['.'], 'leading dot': lambda: ['.a'], 'trailing dot': lambda: ['a.'],
    'unknown': lambda: ['unknown'], 'second unknown': lambda: ['a', 'unknown', 'other'], 'subclass of str': lambda: [Text('a')], 'tuple element': lambda: [('a', 'b')],
    'function': lambda: (lambda *args, **kwargs: []), 'def': lambda: plain, 'partial': lambda: functools.partial(plain), 'builtin': lambda: len, 'callable': lambda: Callable(),
    'bound method': lambda: Callable().method, 'class': lambda: Callable, 'staticmethod': lambda: staticmethod(plain), 'generator function': lambda: generator_function,
    'raising iterable': lambda: raising(), 'space': lambda: [' a'], 'case': lambda: ['A'], 'count': lambda: itertools.repeat('a', 3), 'Ellipsis in list': lambda: [Ellipsis],
}
SKIP_ARGS = {
    'None': None, 'normal': 'c', 'positional only': 'b', 'unknown': 'unknown', 'empty': '', 'path': 'c.x', 'function': lambda *a, **k: True, 'number': 3, 'zero': 0, 'list': ['c'],
    'bytes': b'c', 'partial': functools.partial(plain), 'builtin': len, 'True': True, 'False': False, 'subclass of str': Text('c'), 'callable': Callable(), 'class': Callable,
    'bound method': Callable().method, 'space': ' c',
}


def generator_function(*args, **kwargs):
    yield 1


def raising():
    yield 'a'
    raise LookupError('half way')


def attributes(world, helper):
    """The public attributes of a helper."""
    vary_on = helper.vary_on
    world.note('vary_on', vary_on if not inspect.isfunction(vary_on) else 'function', type(vary_on).__name__)
    world.note('skip_arg', helper.skip_arg if not inspect.isfunction(helper.skip_arg) else 'function')
    world.note('prefix', helper.prefix)
    world.note('encoding_assert', helper.encoding_assert)


@pytest.mark.parametrize('name', VARY_ONS)
def test_d5_every_kind_of_vary_on(name):
    def scenario(world):
        helper = world.attempt('helper', lambda: attributes(world, world.helper(takes, VARY_ONS[name]())))
        helper = world.attempt('helper', lambda: world.helper(takes, VARY_ONS[name](), assert_function=None) and None)
        cached = world.attempt('decorate', lambda: world.note(world.decorate(takes, VARY_ONS[name]()).prefix))
        assert helper is cached is None
    same(scenario)


@pytest.mark.parametrize('name', VARY_ONS)
def test_d5_decorated_with_it_the_function_can_be_called(name):
    def scenario(world):
        try:
            cached = world.decorate(takes, VARY_ONS[name]())
        except Exception:
            world.note('refused')
            return
        for args in ((1,), (1, 2), (1, 2, 3), ()):
            world.attempt('key', cached.get_cache_key, *args)
            world.attempt('call', cached, *args)
            world.attempt('call', cached, *args)
    same(scenario)


@pytest.mark.parametrize('name', SKIP_ARGS)
@pytest.mark.parametrize('vary_on', ['list', 'path', 'twice', 'function', 'unknown', 'None'])
def test_d6_d7_every_kind_of_skip_arg_and_the_order_of_errors(name, vary_on):
    def scenario(world):
        for fn in (takes, no_source['from_exec'], len):
            world.attempt('helper', lambda: attributes(world, world.helper(fn, VARY_ONS[vary_on](), skip_arg=SKIP_ARGS[name])))
            world.attempt('decorate', lambda: world.note(world.decorate(fn, VARY_ONS[vary_on](), skip_arg=SKIP_ARGS[name]).prefix))
    same(scenario)


def test_d6_an_argument_cannot_be_both_vary_on_and_skip_arg():
    def scenario(world):
        for vary_on in (['c'], ['a', 'c'], ['c.x'], ['a', 'c.x.y'], ['a.c'], 'abc', ('c', 'c')):
            world.attempt('decorate', lambda: world.note(world.decorate(takes, vary_on, skip_arg='c').prefix))
    same(scenario)


def test_d7_the_helper_takes_these_arguments():
    def scenario(world):
        Helper = world.side.QuickCacheHelper
        cache = world.cache()
        for args, kwargs in (((plain, ['a'], cache), {}), ((plain, ['a'], cache, 'b'), {}), ((plain, ['a'], cache, 'b', print), {}), ((plain, ['a']), {}), ((), {}), ((plain,), {}),
                             ((), {'fn': plain, 'vary_on': ['a'], 'cache': cache, 'skip_arg': 'b', 'assert_function': None}), ((plain, ['a'], cache, None, None, None), {}),
                             ((plain, ['a'], cache), {'timeout': 5}), ((plain, ['a'], None), {})):
            world.attempt('helper', lambda: attributes(world, Helper(*args, **kwargs)))
    same(scenario)


def test_d7_attributes_of_the_helper_are_public_and_live():
    def scenario(world):
        def other(a, b=5):
            return ['other', a, b]
        cached = world.decorate(plain, ['a'], assert_function=lambda *args: world.note('assert', args))
        helper = cached.clear.__self__
        world.note(type(helper).__name__, helper.fn is plain, helper.cache, helper.vary_on)

        def probe(label):
            for args, kwargs in (((1,), {}), ((1,), {}), ((1, 2), {}), ((1,), {'b': 3}), ((b'\xff',), {})):
                world.attempt(label, cached, *args, **kwargs)
            world.attempt(label, cached.get_cached_value, 1)
            world.attempt(label, cached.clear, 1)
            world.attempt(label, lambda: cached.prefix)
        probe('as decorated')
        helper.fn = other
        probe('other function')
        helper.cache = world.cache('second')
        probe('other cache')
        helper.prefix = 'my.prefix'
        probe('other prefix')
        helper.vary_on = [('b', ()), ('a', ('real',))]
        probe('other vary_on')
        helper.vary_on = lambda *args, **kwargs: [len(args)]
        probe('vary_on function')
        helper.vary_on = []
        probe('no vary_on')
        helper.vary_on = [('unknown', ())]
        probe('unknown argument')
        helper.vary_on = [('a', ())]
        for skip_arg in ('b', lambda *args, **kwargs: len(args) == 2, 'unknown', 5, '', None):
            helper.skip_arg = skip_arg
            probe('skip_arg')
        helper.encoding_assert = None
        probe('no assert function')
        del helper.cache
        probe('no cache')
    same(scenario)


def test_d7_attributes_of_the_helper_may_be_added_and_listed():
    def scenario(world):
        helper = world.helper(plain, ['a'])
        helper.note = 'mine'
        world.note([name for name in vars(helper) if not name.startswith('_')])
        world.note(helper.note)
        copied = copy.copy(helper)
        world.attempt('copy', copied, 1)
        world.note(weakref.ref(helper)() is helper, helper == copied, hash(helper) == hash(helper))
    same(scenario)

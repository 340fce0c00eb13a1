"""K3 to K6: which argument becomes which key value, and what a wrong call raises."""
import functools
import inspect
import types

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .allowed import takes_a_positional_only_name_as_keyword
from .observe import same
from .signatures import calls, compile_function, signatures


def doors(world, cached, args, kwargs):
    """One call through every door that binds arguments, twice through the main one: a miss and a hit."""
    world.attempt('get_cache_key', cached.get_cache_key, *args, **kwargs)
    world.attempt('call', cached, *args, **kwargs)
    world.attempt('call again', cached, *args, **kwargs)
    world.attempt('get_cached_value', cached.get_cached_value, *args, **kwargs)
    settable = world.attempt('set_cached_value', cached.set_cached_value, *args, **kwargs)
    if settable:
        world.attempt('to', settable.to, 'new')
    world.attempt('clear', cached.clear, *args, **kwargs)


@settings(max_examples=200)
@given(st.data(), st.booleans())
def test_k3_any_call_of_any_signature(data, loud):
    signature = data.draw(signatures())
    vary_on = [name for name in signature.positional if data.draw(st.booleans())]
    skip_arg = data.draw(st.sampled_from([None, *[name for name in signature.positional if name not in vary_on]]))
    made = data.draw(st.lists(calls(signature), min_size=1, max_size=3))
    assume(not any(takes_a_positional_only_name_as_keyword(signature, args, kwargs) for args, kwargs in made))

    def scenario(world):
        cached = world.decorate(signature.function(world.note), vary_on, skip_arg=skip_arg)
        for args, kwargs in made:
            doors(world, cached, args, kwargs)
    same(scenario, loud)


@settings(max_examples=80)
@given(st.data())
def test_k4_a_vary_on_function_gets_the_raw_arguments(data):
    signature = data.draw(signatures())
    made = data.draw(st.lists(calls(signature), min_size=1, max_size=3))
    assume(not any(takes_a_positional_only_name_as_keyword(signature, args, kwargs) for args, kwargs in made))

    def scenario(world):
        def vary_on(*args, **kwargs):
            world.note('vary_on', args, kwargs)
            return [len(args), *args, kwargs]

        def skip(*args, **kwargs):
            world.note('skip', args, kwargs)
            return len(kwargs) == 1
        cached = world.decorate(signature.function(world.note), vary_on, skip_arg=skip)
        for args, kwargs in made:
            doors(world, cached, args, kwargs)
    same(scenario, False)


RETURNS = {
    'list': [1, 2], 'text': 'abc', 'empty text': '', 'None': None, 'number': 3, 'dict': {'a': 1, 'b': 2}, 'set': {5}, 'bytes': b'ab', 'bad': [object],
    'nested': [[1], (2,)], 'text in list': ['abc'], 'type': int,
}


@pytest.mark.parametrize('name', RETURNS)
def test_k4_whatever_a_vary_on_function_returns_is_iterated(name):
    def scenario(world):
        cached = world.decorate(lambda a: a, lambda a: RETURNS[name])
        doors(world, cached, (1,), {})
    same(scenario)


def test_k4_a_vary_on_function_may_be_a_generator_function_or_raise():
    def scenario(world):
        def several(a):
            world.note('begins')
            yield a
            world.note('goes on')
            yield a + 1

        def breaks(a):
            yield a
            raise LookupError(a)

        def raises(a):
            raise LookupError(a)
        for vary_on in (several, breaks, raises, lambda: []):
            doors(world, world.decorate(lambda a: a, vary_on), (1,), {})
    same(scenario)


@pytest.mark.filterwarnings('ignore:coroutine')
def test_k4_an_async_vary_on_function_is_a_type_error():
    def scenario(world):
        async def vary_on(a):
            return [a]
        world.attempt('key', world.decorate(lambda a: a, vary_on).get_cache_key, 1)

    def without_the_warning(seed, ours):
        return [[entry for entry in record if entry[0] != 'warning'] for record in (seed, ours)]
    same(scenario, allow=without_the_warning)


class Person:
    """Attributes of every kind: plain, property, slot, missing, raising, made on demand."""

    def __init__(self, note, id):
        self.note = note
        self.id = id
        self.friend = None

    @property
    def name(self):
        self.note('property read')
        return f'person {self.id}'

    @property
    def broken(self):
        raise LookupError('no database')

    def method(self):
        return 1

    def __getattr__(self, name):
        self.note('__getattr__', name)
        if name.startswith('_') or name == 'nothing':
            raise AttributeError(f'no {name} here')
        return [name]


PATHS = ['p.id', 'p.name', 'p.friend', 'p.friend.id', 'p.broken', 'p.method', 'p.other', 'p.other.sort', 'p.nothing', 'p.id.real', 'p.id.real.imag',
         'p.__class__.__name__', 'p..id', 'p.', 'p. id', 'p.id.', 'p.é']


@pytest.mark.parametrize('path', PATHS)
def test_k5_paths_are_read_by_getattr(path):
    def scenario(world):
        def f(p):
            return 'ran'
        cached = world.attempt('decorate', world.decorate, f, [path])
        if cached is None:
            return
        person = Person(world.note, 7)
        for value in (person, person, {'id': 1}, None, types.SimpleNamespace(id=[1], name='n', friend=person)):
            doors(world, cached, (value,), {})
        person.friend = Person(world.note, 8)
        person.id = 9
        doors(world, cached, (person,), {})
    same(scenario)


def test_k5_a_path_is_read_anew_at_each_call_whatever_happens_to_the_class():
    def scenario(world):
        class Thing:
            def __init__(self, id):
                self.id = id

        class Slotted:
            __slots__ = ('id',)
        cached = world.decorate(lambda t: world.note('ran'), ['t.id'])
        thing, slotted = Thing(1), Slotted()
        for value in (thing, slotted):
            world.attempt('before', cached, value)
            value.id = 2
            for _ in range(3):
                world.attempt('set', cached, value)
        Thing.id = property(lambda self: 'by property', lambda self, value: None)
        world.attempt('property', cached, thing)
        del Thing.id
        Thing.__getattribute__ = lambda self, name: ('got', name)
        world.attempt('getattribute', cached, thing)
        del Thing.__getattribute__
        Slotted.id = 5
        world.attempt('slot gone', cached, slotted)
        thing.__dict__.clear()
        world.attempt('gone', cached, thing)
        Thing.id = 6
        world.attempt('class attribute', cached, thing)
        thing.__class__ = type('Other', (Thing,), {'id': 7})
        world.attempt('other class', cached, thing)
    same(scenario)


# The binding follows the function as it is at the time of the call.

def test_k3_defaults_code_and_name_are_read_at_each_call():
    def scenario(world):
        def f(a, b=2, *, c=3):
            return [a, b, c]

        def g(x, a, b):
            return ['g', x, a, b]
        cached = world.decorate(f, ['a', 'b'])

        def probe(label):
            for args, kwargs in (((1,), {}), ((1, 2), {}), ((), {'a': 1}), ((), {}), ((1, 2, 3), {}), ((1,), {'a': 1}), ((1,), {'c': 1}), ((1,), {'d': 1})):
                world.attempt(label, cached, *args, **kwargs)
        probe('as written')
        f.__defaults__ = (5, 6)
        probe('two defaults')
        f.__defaults__ = None
        probe('no defaults')
        f.__kwdefaults__ = {}
        probe('no keyword defaults')
        f.__kwdefaults__ = None
        f.__name__ = 'renamed'
        probe('renamed')
        f.__code__ = g.__code__
        probe('other code')
    same(scenario)


def test_k3_a_mutable_default_is_read_at_each_call():
    def scenario(world):
        shared = [1]

        def f(a=shared):
            return list(a)
        cached = world.decorate(f, ['a'])
        world.attempt('call', cached)
        shared.append(2)
        world.attempt('call', cached)
        world.attempt('call', cached, [1])
    same(scenario)


def test_k3_a_signature_attribute_is_what_the_arguments_are_bound_to():
    def scenario(world):
        def f(*args, **kwargs):
            return [args, kwargs]

        def shape_of(x, y=3):
            """What f claims to be."""
        f.__signature__ = inspect.signature(shape_of)
        cached = world.decorate(f, ['x', 'y'])
        for args, kwargs in (((1,), {}), ((1, 2), {}), ((), {'x': 1}), ((), {'y': 1}), ((), {}), ((1, 2, 3), {}), ((1,), {'z': 1})):
            doors(world, cached, args, kwargs)
        world.attempt('unknown', world.decorate, f, ['args'])
    same(scenario)


def test_k3_wrapped_functions_are_not_looked_through():
    def scenario(world):
        def inner(a, b=1):
            return [a, b]

        @functools.wraps(inner)
        def outer(a, *rest, **more):
            return [a, rest, more]
        cached = world.decorate(outer, ['a'])
        for args, kwargs in (((1,), {}), ((1, 2, 3), {}), ((1,), {'b': 2}), ((), {'b': 2}), ((), {})):
            doors(world, cached, args, kwargs)
    same(scenario)


def test_k3_error_texts_of_wrong_calls():
    def scenario(world):
        def outer():
            def two(a, b):
                return a
            return two

        def three(a, b, c=1):
            return a

        def only(*, k, m):
            return k

        def nothing():
            return 1
        for fn in (outer(), three, only, nothing):
            cached = world.decorate(fn)
            for args, kwargs in (((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3, 4), {}), ((1,), {'a': 2}), ((1, 2), {'x': 1}), ((1, 2), {'x': 1, 'y': 2}),
                                 ((), {'k': 1}), ((1,), {'k': 1, 'm': 2}), ((), {'k': 1, 'm': 2})):
                doors(world, cached, args, kwargs)
    same(scenario)


def test_k3_positional_only_names_may_be_passed_by_keyword_to_get_cache_key():
    def scenario(world):
        def f(a, /, b=2):
            return a
        cached = world.decorate(f, ['a', 'b'])
        doors(world, cached, (), {'a': 1})
        doors(world, cached, (), {'a': 1, 'b': 3})
        doors(world, cached, (1,), {'a': 1})
    same(scenario)


@pytest.mark.parametrize('name', ['fn', 'args', 'kwargs', 'key', 'cache', 'prefix', 'vary_on', 'value', 'cls', 'default'])
def test_k6_parameters_may_have_the_names_the_library_uses(name):
    def scenario(world):
        f = compile_function(f'def f({name}, other=1):\n    return [{name}, other]\n')
        doors(world, world.decorate(f, [name]), (), {name: 5})
        f = compile_function('def f(**more):\n    return more\n')
        doors(world, world.decorate(f, []), (), {name: 5})
    same(scenario)


def test_keyword_names_that_are_no_identifiers_or_no_plain_str():
    def scenario(world):
        class Name(str):
            """A str subclass as a keyword name."""

        def f(a, **more):
            return [a, sorted(more)]
        cached = world.decorate(f, ['a'])
        doors(world, cached, (1,), {'not an identifier': 1, 'é': 2, '': 3})
        doors(world, cached, (), {Name('a'): 1})
        doors(world, cached, (), {Name('a'): 1, Name('b'): 2})
    same(scenario)

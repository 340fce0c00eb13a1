"""K1, K2: the text of a key, for every type of value."""
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from . import sides
from .observe import same
from .values import STRANGE, LongInt, Plain, deep, values


def subject(a, b=None, *args, **kwargs):
    """The text of this function is part of every key."""


def noisy_assert(world):
    def assert_function(*args, **kwargs):
        world.note('assert_function', args, kwargs)
    return assert_function


def keys_of(*arguments, vary_on=('a',)):
    """Scenario: the key of one call, by every door that makes it."""
    def scenario(world):
        helper = world.helper(subject, list(vary_on), assert_function=noisy_assert(world))
        world.attempt('get_cache_key', helper.get_cache_key, *arguments)
        for argument in arguments:
            world.attempt('_serialize_for_key', helper._serialize_for_key, argument)
        cached = world.decorate(subject, list(vary_on), assert_function=noisy_assert(world))
        world.attempt('decorated', cached.get_cache_key, *arguments)
        world.attempt('called', cached, *arguments)
        world.attempt('called again', cached, *arguments)
        world.attempt('cleared', cached.clear, *arguments)
    return scenario


@pytest.mark.parametrize('name', STRANGE)
def test_k2_strange_values_serialise_alike(name):
    same(keys_of(STRANGE[name]))


@pytest.mark.parametrize('name', STRANGE)
def test_k2_strange_values_serialise_alike_inside_containers(name):
    value = STRANGE[name]
    same(keys_of([value], (1, [value]), vary_on=('a', 'b')), loud=False)
    same(keys_of({'key': value, 'other': 1}), loud=False)
    try:
        hash(value)
    except Exception:
        return
    same(keys_of({value, 7}, {value: 1}, vary_on=('a', 'b')), loud=False)


@settings(max_examples=300)
@given(values)
@example([])
def test_k2_random_values_serialise_alike(value):
    same(keys_of(value), loud=False)


@settings(max_examples=100)
@given(values, values)
def test_k1_two_values_make_one_text(first, second):
    same(keys_of(first, second, vary_on=('a', 'b')), loud=False)


@given(st.floats())
def test_k2_floats_print_as_python_prints_them(value):
    same(keys_of(value, -value, vary_on=('a', 'b')), loud=False)


@given(st.integers(140, 160), st.booleans())
@example(149, False)
@example(150, False)
@example(151, False)
@example(149, True)
@example(150, True)
@example(151, True)
def test_k1_a_text_of_150_code_points_stays_and_151_is_hashed(length, astral):
    value = LongInt(length - 1) if astral else 10 ** (length - 2)
    same(keys_of(value), loud=False)


@pytest.mark.parametrize('count', [0, 1, 4, 5, 6, 40])
def test_k1_many_arguments(count):
    same(keys_of('x', vary_on=('a',) * count))


@pytest.mark.parametrize('depth', [2, 50, 200])
def test_k2_nesting(depth):
    same(keys_of(deep(depth)), loud=False)


def test_k2_nesting_without_end_is_an_error_not_a_crash():
    for depth in (20_000, 200_000):
        helper = sides.OURS.QuickCacheHelper(subject, ['a'], {})
        value = deep(depth)
        try:
            helper.get_cache_key(value)
        except RecursionError:
            pass
        while value != 1:       # a list this deep must be taken apart by hand
            value = value[0]


def test_k2_bytes_that_are_not_utf8_call_the_assert_function_with_false_and_a_message():
    same(keys_of(b'\xff', [b'\xfe', b'ok', {b'\xfd': b'\xfc'}], vary_on=('a', 'b')))


def test_k2_without_assert_function_such_bytes_are_a_type_error():
    def scenario(world):
        helper = world.helper(subject, ['a'])
        world.attempt('key', helper.get_cache_key, b'\xff')
        world.attempt('key of good bytes', helper.get_cache_key, b'good')
    same(scenario)


def test_k2_an_assert_function_that_raises_ends_the_call():
    def scenario(world):
        def alert(assertion, message):
            raise AssertionError(assertion, message)
        cached = world.decorate(subject, ['a'], assert_function=alert)
        world.attempt('call', cached, b'\xff')
        world.attempt('good', cached, b'good')
    same(scenario)


@pytest.mark.parametrize('container', [list, dict, set])
def test_k2_a_container_that_changes_while_it_is_read(container):
    def scenario(world):
        class Meddler(int):
            def __str__(self):
                if len(items) < 5:
                    {list: lambda: items.append(9), dict: lambda: items.update({9: 9}), set: lambda: items.add(9)}[container]()
                return 'meddler'

        class Shrinker(int):
            def __str__(self):
                items.clear()
                return 'shrinker'

        for element in (Meddler(1), Shrinker(1)):
            items = {list: lambda: [element, 2], dict: lambda: {element: 2, 3: 4}, set: lambda: {element, 2, 3}}[container]()
            helper = world.helper(subject, ['a'])
            world.attempt('key', helper.get_cache_key, items)
    same(scenario)


def test_k2_every_value_is_read_once_and_in_order():
    def scenario(world):
        class Loud(int):
            def __str__(self):
                world.note('str', int(self))
                return str(int(self))
        helper = world.helper(subject, ['b', 'a', 'b'])
        world.attempt('key', helper.get_cache_key, [Loud(1), (Loud(2), {Loud(3): Loud(4)})], {Loud(5): Loud(6)})
        world.attempt('bad last', helper.get_cache_key, Plain(), [Loud(1)])
    same(scenario)


# The corpus that both languages share.

CORPUS = sides.REPOSITORY / 'crates' / 'quickcache' / 'tests' / 'data' / 'golden-keys.json'


def golden():
    return json.loads(CORPUS.read_text())


def test_golden_rows_of_one_value():
    from .golden import build
    helper = sides.OURS.QuickCacheHelper(subject, ['a'], {}, assert_function=lambda *a: None)
    seed = sides.SEED.QuickCacheHelper(subject, ['a'], {}, assert_function=lambda *a: None)
    rows = golden()['rows']
    assert len(rows) >= 500
    for row in rows:
        value = build(row['value'])
        assert seed._serialize_for_key(value) == row['ser'], row
        assert helper._serialize_for_key(value) == row['ser'], row
        assert helper.get_cache_key(value) == seed.get_cache_key(value), row


def test_golden_rows_of_several_values():
    from .golden import build
    for row in golden()['args']:
        arguments = [build(value) for value in row['values']]
        def function_of_all(*args):
            return args

        helper = sides.OURS.QuickCacheHelper(subject, function_of_all, {}, assert_function=lambda *a: None)
        key = helper.get_cache_key(None, *arguments)        # `subject` needs one argument; the row is what follows it
        prefix, _, text = key.partition('/')
        expected = sides.SEED.QuickCacheHelper(subject, function_of_all, {}, assert_function=lambda *a: None).get_cache_key(None, *arguments)
        assert key == expected and prefix == f'quickcache.{helper.prefix}'
        helper = sides.OURS.QuickCacheHelper(subject, lambda *args: args[1:], {}, assert_function=lambda *a: None)
        assert helper.get_cache_key(None, *arguments).partition('/')[2] == row['args_string'], row

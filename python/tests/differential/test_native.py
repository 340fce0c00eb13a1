"""Section 8 of the design: a function over our own `Memory` has the hits and misses that the seed has over a dict.

Keys are compared by type and value there, not as text, so this is where the two equalities could part.
"""
import copy
import pickle
import unittest.mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from . import sides
from .observe import observe, same
from .signatures import calls, signatures
from .values import STRANGE, leaves, values

pytestmark = pytest.mark.skipif(sides.IS_SEED, reason='under test is the seed: it has no Memory')

ALIKE = [1, 1.0, True, '1', b'1', 0, -0.0, 0.0, False, None, '', b'', 'a', b'a', (1,), [1], {1}, {1: 1}, (), [], {}, set(), 'n1', 2 ** 62, 2.0 ** 62, 2 ** 64, -1, -2, 'é',
         'é'.encode(), 'e\u0301', b'\xff', float('nan'), float('inf'), 10 ** 400, 10 ** 400 + 1, (1, (2,)), [1, [2]], [(1,), 2], 'x' * 200, b'x' * 200]


class DictCache(dict):
    def get(self, key, default=None):
        return dict.get(self, key, default)

    def set(self, key, value):
        self[key] = value

    def delete(self, key):
        self.pop(key, None)


def memory(world):
    """An unbounded cache of either side."""
    return sides.OURS.package.Memory(timeout=3600) if world.side is sides.OURS else DictCache()


def agree(arguments, loud=False):
    """All calls in this order, twice: the same ones are hits."""
    def scenario(world):
        runs = []

        def f(a, b=None):
            runs.append(1)
            return len(runs)
        cached = world.decorate(f, ['a', 'b'], cache=memory(world), assert_function=lambda *args: None)
        for _ in range(2):
            for argument in arguments:
                world.attempt('call', cached, argument)
                world.attempt('second', cached, 1, argument)
                world.attempt('by keyword', cached, b=argument, a=1)
        for argument in arguments:
            world.attempt('get_cached_value', cached.get_cached_value, argument)
            world.attempt('clear', cached.clear, argument)
            world.attempt('get_cached_value', cached.get_cached_value, argument)
            world.attempt('call', cached, argument)
    same(scenario, loud)


def test_values_that_look_alike_are_told_apart_as_the_seed_does():
    agree(ALIKE)
    agree(ALIKE[::-1])


@settings(max_examples=150)
@given(st.lists(st.one_of(st.sampled_from(ALIKE), leaves, values), min_size=2, max_size=6))
@example([1, True, 1.0])
def test_random_values_hit_what_they_hit_in_the_seed(arguments):
    agree(arguments)


@pytest.mark.parametrize('name', [name for name in STRANGE if 'self reference' not in name])
def test_strange_values_hit_what_they_hit_in_the_seed(name):
    agree([STRANGE[name], 1, 'a', STRANGE[name], [STRANGE[name]]])


@settings(max_examples=150)
@given(st.data())
def test_any_call_of_any_signature(data):
    signature = data.draw(signatures().filter(lambda signature: not (signature.positional_only and signature.varkw)))
    vary_on = [name for name in signature.positional if data.draw(st.booleans())]
    skip_arg = data.draw(st.sampled_from([None, *[name for name in signature.positional if name not in vary_on]]))
    made = data.draw(st.lists(calls(signature), min_size=1, max_size=5))

    def scenario(world):
        cached = world.decorate(signature.function(world.note), vary_on, cache=memory(world), skip_arg=skip_arg)
        for args, kwargs in made + made:
            world.attempt('call', cached, *args, **kwargs)
        for args, kwargs in made:
            world.attempt('clear', cached.clear, *args, **kwargs)
            world.attempt('call', cached, *args, **kwargs)
    same(scenario, False)


STEPS = st.tuples(st.sampled_from(['call', 'call', 'call', 'force', 'clear', 'get', 'set', 'raise', 'Ellipsis', 'by text']), st.sampled_from([0, 1, 2, 'a', b'a', None, True, (1,)]))


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=1, max_size=25))
def test_any_history(steps):
    def scenario(world):
        state = {'runs': 0, 'action': ''}

        def f(a, force=False):
            state['runs'] += 1
            if state['action'] == 'raise':
                raise LookupError(state['runs'])
            return ... if state['action'] == 'Ellipsis' else state['runs']
        cache = memory(world)
        cached = world.decorate(f, ['a'], cache=cache, skip_arg='force')
        for action, argument in steps:
            state['action'] = action
            if action in ('call', 'raise', 'Ellipsis'):
                world.attempt(action, cached, argument)
            elif action == 'force':
                world.attempt(action, cached, argument, force=True)
            elif action == 'clear':
                world.attempt(action, cached.clear, argument)
            elif action == 'get':
                world.attempt(action, cached.get_cached_value, argument)
            elif action == 'set':
                world.attempt(action, cached.set_cached_value(argument).to, 'set')
            else:
                world.attempt(action, cache.get, cached.get_cache_key(argument), 'nothing')
    same(scenario, False)


# R6: the tiers of a TieredCache are an attribute, read at each call.

TIERS = ['a', 'b', 'ab', 'ba', '', 'abc', 'tuple', 'unchanged']
RETIERED = st.one_of(
    st.tuples(st.sampled_from(['call', 'call', 'clear', 'get', 'set']), st.sampled_from([0, 1])),
    st.tuples(st.just('tiers'), st.sampled_from(TIERS)),
    st.tuples(st.just('get of its own'), st.booleans()),
)


@settings(max_examples=200)
@given(st.lists(RETIERED, min_size=3, max_size=25))
@example([('call', 0), ('call', 0), ('tiers', 'b'), ('call', 0), ('tiers', 'a'), ('call', 0), ('tiers', 'ba'), ('call', 0)])
@example([('call', 0), ('call', 0), ('get of its own', True), ('call', 0), ('get of its own', False), ('call', 0)])
def test_tiers_that_are_reassigned_are_those_of_the_next_call(steps):
    def scenario(world):
        tiers = {name: memory(world) for name in 'abc'}
        tiered = world.side.TieredCache([tiers['a'], tiers['b']])
        runs = []

        def f(a):
            runs.append(a)
            return len(runs)
        cached = world.decorate(f, ['a'], cache=tiered)
        world.attempt('call', cached, 0)
        for action, argument in steps:
            if action == 'tiers':
                tiered.caches = {'tuple': tuple(tiers.values()), 'unchanged': tiered.caches}.get(
                    argument, [tiers[name] for name in argument if name in tiers])
            elif action == 'get of its own' and argument:
                tiered.get = lambda key, default=None: 'its own'
            elif action == 'get of its own':
                vars(tiered).get('get') and delattr(tiered, 'get')
            elif action == 'call':
                world.attempt(action, cached, argument)
            elif action == 'clear':
                world.attempt(action, cached.clear, argument)
            elif action == 'get':
                world.attempt(action, cached.get_cached_value, argument)
            else:
                world.attempt(action, cached.set_cached_value(argument).to, 'set')
    same(scenario, False)


# A native hit logs nothing (design section 11), which shows whether the native path was taken.

def takes_the_native_path(fn=lambda a: a):
    def scenario(world):
        cached = world.decorate(fn, ['a'], cache=memory(world))
        cached(1)
        world.record.clear()
        world.attempt('hit', cached, 1)
    return [entry[0] for entry in observe(sides.OURS, scenario, loud=True)] == ['hit']


def test_a_hit_is_native():
    assert takes_the_native_path()


@pytest.mark.parametrize('action', ['copy', 'deepcopy', 'pickle', 'patch and restore', 'subclass'])
def test_what_users_do_to_helpers_and_caches_does_not_end_the_native_path(action):
    helper = sides.OURS.QuickCacheHelper(agree, ['arguments'], DictCache())
    presets, tiered = sides.OURS.CacheWithPresets('c', 5), sides.OURS.TieredCache([])
    if action == 'copy':
        copy.copy(helper), copy.copy(presets), copy.copy(tiered)
    elif action == 'deepcopy':
        copy.deepcopy(presets), copy.deepcopy(tiered)
    elif action == 'pickle':
        pickle.dumps(presets), pickle.dumps(tiered)
    elif action == 'patch and restore':
        for name in ('__call__', 'get_cache_key', 'clear'):
            with unittest.mock.patch.object(sides.OURS.QuickCacheHelper, name, lambda self, *args: None):
                takes_the_native_path()
    else:
        type('Mine', (sides.OURS.QuickCacheHelper,), {'call': None})
    assert takes_the_native_path()

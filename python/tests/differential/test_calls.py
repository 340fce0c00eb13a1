"""R1 to R3, R7: every call of the cache object, what is returned, what is logged, what an error leaves behind."""
import logging
import types
import unittest.mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .allowed import an_unfit_cache_may_be_told_better
from .histories import histories, live
from .observe import LOGGER, same


def subject(a, b=1, force=False):
    return [a, b, force]


@settings(max_examples=250)
@given(histories(['plain']), st.booleans())
def test_any_history_over_a_cache_object_that_fails_now_and_then(history, loud):
    def scenario(world):
        cache = world.cache(faults=history.faults, answers={'set': 'stored', 'delete': True})
        live(history, world, cache, [cache])
    same(scenario, loud)


def test_r2_a_miss_is_get_run_set_and_a_hit_is_get():
    def scenario(world):
        cached = world.decorate(subject, ['a'])
        for _ in range(3):
            world.attempt('call', cached, 1)
    same(scenario)


@pytest.mark.parametrize('result', [None, False, 0, '', [], ..., NotImplemented])
def test_r2_whatever_the_function_returns_is_stored_but_only_ellipsis_is_run_again(result):
    def scenario(world):
        def f(a):
            world.note('ran')
            return result
        cached = world.decorate(f, ['a'])
        for _ in range(3):
            world.attempt('call', cached, 1)
        world.attempt('get_cached_value', cached.get_cached_value, 1)
    same(scenario)


def test_r2_only_ellipsis_itself_is_a_miss():
    def scenario(world):
        class LikeEllipsis:
            def __eq__(self, other):
                return True

            def __bool__(self):
                raise LookupError('no truth')

            def __repr__(self):
                return 'LikeEllipsis()'
        cached = world.decorate(lambda a: LikeEllipsis(), ['a'])
        for _ in range(2):
            world.attempt('call', cached, 1)
    same(scenario)


@pytest.mark.parametrize('method', ['get', 'set', 'delete'])
def test_r2_an_error_of_the_cache_object_reaches_the_caller(method):
    def scenario(world):
        for error in (KeyError('key'), TypeError('wrong'), StopIteration(3), AttributeError('get'), OSError(5, 'down')):
            cache = world.cache()
            original = getattr(cache, method)

            def fails(*args, **kwargs):
                original(*args, **kwargs)
                raise error
            setattr(cache, method, fails)
            cached = world.decorate(subject, ['a'], cache=cache, skip_arg='force')
            for args in ((1,), (1,), (1, 1, True)):
                world.attempt('call', cached, *args)
            world.attempt('get_cached_value', cached.get_cached_value, 1)
            world.attempt('set', lambda: cached.set_cached_value(1).to(5))
            world.attempt('clear', cached.clear, 1)
            delattr(cache, method)
            world.attempt('afterwards', cached, 1)
            world.attempt('afterwards', cached.clear, 1)
    same(scenario)


@pytest.mark.parametrize('error', [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_r2_errors_beyond_exception_pass_and_leave_nothing(error):
    def scenario(world):
        def f(a):
            if a == 1:
                raise error
            return a
        cached = world.decorate(f, ['a'], skip_arg=lambda a: a == 3)
        for value in (1, 2, 1, 2):
            try:
                world.note('call', cached(value))
            except BaseException as raised:
                world.note('raised', raised is error)
    same(scenario)


def test_r2_the_error_of_the_function_is_the_very_object_and_each_call_runs_again():
    def scenario(world):
        errors = [LookupError(1), LookupError(2)]

        def f(a):
            world.note('ran')
            raise errors[len(errors) - 1]
        cached = world.decorate(f, ['a'])
        for _ in range(2):
            try:
                cached(1)
            except LookupError as error:
                world.note(error is errors[-1], error.__cause__, error.__context__, error.__suppress_context__)
            errors.pop()
    same(scenario)


class Odd:
    """Cache objects that are missing something, or are something else."""

    def __init__(self, note):
        self.note = note


def odd_caches(world):
    class ByGetattr(Odd):
        def __getattr__(self, name):
            self.note('looked up', name)
            if name.startswith('__'):
                raise AttributeError(name)
            return lambda *args, **kwargs: (self.note(name, args, kwargs), ...)[1]

    class NoDelete:
        def get(self, key, default=None):
            return default

        def set(self, key, value):
            world.note('set', key, value)

    class PositionalOnly:
        def get(self, key, default, /):
            return default

        def set(self, key, value, /):
            world.note('set', key)

    class StaticGet:
        get = staticmethod(lambda key, default: default)
        set = classmethod(lambda cls, key, value: world.note('set', key))
        delete = len

    class OtherDefault:
        def get(self, key, default=None):
            return None

        def set(self, key, value):
            pass
    module = types.ModuleType('cache')
    module.get = lambda key, default: default
    module.set = lambda key, value: world.note('module', key)
    return {'by getattr': ByGetattr(world.note), 'no delete': NoDelete(), 'dict': {}, 'positional only': PositionalOnly(), 'static': StaticGet(), 'always None': OtherDefault(),
            'Mock': unittest.mock.Mock(**{'get.return_value': 'from the mock', 'set.side_effect': lambda *args: world.note('set', args)}), 'module': module, 'None': None, 'object': object(), 'class': NoDelete, 'text': 'locmem', 'falsy': type('Falsy', (NoDelete,), {'__bool__': lambda self: False})()}


@pytest.mark.parametrize('name', ['by getattr', 'no delete', 'dict', 'positional only', 'static', 'always None', 'Mock', 'module', 'None', 'object', 'class', 'text', 'falsy'])
def test_r2_any_object_may_be_the_cache_and_fails_when_it_is_asked(name):
    def scenario(world):
        cached = world.attempt('decorate', lambda: world.side.get_quickcache(cache=odd_caches(world)[name])(['a'], 'force')(subject))
        if cached is None:
            return
        for args in ((1,), (1,), (1, 1, True)):
            world.attempt('call', cached, *args)
        world.attempt('get_cached_value', cached.get_cached_value, 1)
        world.attempt('set', lambda: cached.set_cached_value(1).to(5))
        world.attempt('clear', cached.clear, 1)
    same(scenario, allow=an_unfit_cache_may_be_told_better)


def test_r2_methods_of_the_cache_object_are_looked_up_at_each_call():
    def scenario(world):
        cache = world.cache()
        cached = world.decorate(subject, ['a'], cache=cache)
        world.attempt('call', cached, 1)
        cache.get = lambda key, default: ('replaced', key, default)
        world.attempt('replaced', cached, 1)
        del cache.get
        type(cache).get, original = (lambda self, key, default: ('on the class', key)), type(cache).get
        try:
            world.attempt('on the class', cached, 1)
        finally:
            type(cache).get = original
        world.attempt('restored', cached, 1)
    same(scenario)


# R1: skip.

def test_r1_with_skip_the_function_runs_before_the_key_is_made():
    def scenario(world):
        def f(a, force=False):
            world.note('ran', a)
            if isinstance(a, list):
                a.append('mutated')
            return 'value'
        cached = world.decorate(f, ['a'], skip_arg='force')
        for a in (object, [1], 1, {'key': object}):
            world.attempt('skip', cached, a, force=True)
            world.attempt('call', cached, a)
    same(scenario)


class Truth:
    def __init__(self, note, answer):
        self.note = note
        self.answer = answer

    def __bool__(self):
        self.note('asked for its truth')
        if self.answer is None:
            raise LookupError('neither')
        return self.answer


@pytest.mark.parametrize('by_function', [False, True])
def test_r1_skip_is_the_truth_of_the_value_asked_once(by_function):
    def scenario(world):
        cached = world.decorate(subject, ['a'], skip_arg=(lambda a, b=1, force=False: force) if by_function else 'force')
        for force in (True, False, 1, 0, '', 'no', [], [0], None, ..., Truth(world.note, True), Truth(world.note, False), Truth(world.note, None)):
            world.attempt('call', lambda: cached(1, force=force) and None)
    same(scenario)


def test_r1_a_skip_function_may_raise_or_be_called_wrongly():
    def scenario(world):
        def raises(a, b=1, force=False):
            raise LookupError('no answer')
        for skip_arg in (raises, lambda: True, lambda a: False, lambda *args, **kwargs: world.note('skip', args, kwargs)):
            cached = world.decorate(subject, ['a'], skip_arg=skip_arg)
            for args, kwargs in (((1,), {}), ((1, 2), {}), ((), {'a': 1}), ((), {}), ((1, 2, 3, 4), {})):
                world.attempt('call', cached, *args, **kwargs)
    same(scenario)


def test_r1_skip_does_not_ask_the_cache_and_an_error_stores_nothing():
    def scenario(world):
        def f(a, force=False):
            if a == 'bad':
                raise LookupError(a)
            return [a]
        cached = world.decorate(f, ['a'], skip_arg='force')
        for a in (1, 'bad', 1):
            world.attempt('skip', cached, a, True)
            world.attempt('call', cached, a)
    same(scenario)


# R3 and functions that call themselves or each other.

def test_r3_the_key_is_made_when_set_cached_value_is_called():
    def scenario(world):
        cached = world.decorate(subject, ['a'])
        box = [1]
        settable = cached.set_cached_value(box)
        box.append(2)
        world.attempt('to', settable.to, 'for [1]')
        world.attempt('[1]', cached, [1])
        world.attempt('[1, 2]', cached, box)
        world.note(settable._fields, type(settable).__name__, isinstance(settable, tuple), settable[0] is settable.to)
        world.attempt('bad key', cached.set_cached_value, object)
        world.attempt('wrong', settable.to)
        world.attempt('wrong', settable.to, 1, 2)
        world.attempt('keyword', settable.to, value='by keyword')
    same(scenario)


def test_a_recursive_function_asks_in_depth_first_order():
    def scenario(world):
        def fib(n):
            world.note('ran', n)
            return n if n < 2 else cached(n - 1) + cached(n - 2)
        cached = world.decorate(fib, ['n'])
        world.attempt('fib', cached, 8)
        world.attempt('fib', cached, 9)
        cached.clear(5)
        world.attempt('fib', cached, 10)
    same(scenario)


def test_a_cycle_of_functions_with_other_keys_and_an_error_at_its_end():
    def scenario(world):
        def even(n):
            if n < 0:
                raise LookupError('below zero')
            return n == 0 or odd_cached(n - 1)

        def odd(n):
            return n != 0 and even_cached(n - 1)
        even_cached, odd_cached = world.decorate(even, ['n']), world.decorate(odd, ['n'], cache=world.cache('second'))
        for n in (4, 5, -1, 4, 6):
            world.attempt('even', even_cached, n)
    same(scenario)


def test_a_function_that_clears_other_keys_while_it_runs():
    def scenario(world):
        def f(a):
            if a == 1:
                cached.clear(2)
                cached.set_cached_value(3).to('set by 1')
            return [a]
        cached = world.decorate(f, ['a'])
        for a in (2, 3, 1, 2, 3, 1):
            world.attempt('call', cached, a)
    same(scenario)


def test_a_cache_object_that_calls_the_library_back():
    def scenario(world):
        cache = world.cache()
        original = cache.set

        def set_and_call(key, value):
            original(key, value)
            if value != ['inner']:
                cache.set = original
                world.attempt('inner call', inner, 1)
                world.attempt('inner clear', inner.clear, 1)
        cache.set = set_and_call
        inner = world.decorate(lambda a: ['inner'], ['a'], cache=cache)
        cached = world.decorate(subject, ['a'], cache=cache)
        world.attempt('call', cached, 1)
        world.attempt('call', cached, 1)
    same(scenario)


# R7: logging.

def test_r7_log_records_follow_the_level_as_it_is():
    def scenario(world):
        cached = world.decorate(subject, ['a'])
        level = LOGGER.level
        try:
            for now in (logging.DEBUG, logging.INFO, logging.NOTSET, logging.DEBUG):
                LOGGER.setLevel(now)
                for args in ((1,), (2,), (1,)):
                    world.attempt('call', cached, *args)
                world.attempt('get_cached_value', cached.get_cached_value, 1)
                world.attempt('set', lambda: cached.set_cached_value(1).to(2))
                world.attempt('clear', cached.clear, 1)
        finally:
            LOGGER.setLevel(level)
    same(scenario)


def test_r7_a_percent_sign_in_a_name_or_key_is_no_format():
    def scenario(world):
        def f(a):
            return a
        f.__name__ = '100%s%d'
        cached = world.decorate(f, ['a'])
        world.attempt('call', cached, 1)
        cached.clear.__self__.prefix = '%s %(name)s {} {0}'
        world.attempt('call', cached, 1)
    same(scenario)


def test_r7_the_logger_is_one_and_the_same():
    def scenario(world):
        world.note(world.side.module('logger').logger is logging.getLogger('quickcache'))
        world.note(world.side.module('cache_helpers').logger is world.side.module('quickcache_helper').logger)
    same(scenario)

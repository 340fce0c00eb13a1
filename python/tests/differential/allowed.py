"""Every difference that is there on purpose, with its clause. What is not on this list must be equal.

Predicates that the random tests use to step around a difference come first; then `ALLOWED`, in which each difference is
shown by a scenario together with what the seed does and what ours does. `test_allowed.py` proves both, so the list cannot rot.
"""
import asyncio
import hashlib
import inspect
import re
import threading
import unittest.mock
import warnings
from dataclasses import dataclass


def takes_a_positional_only_name_as_keyword(signature, args, kwargs):
    """K3 (F): `def f(a, /, **more)` called with `a=...`: ours binds as Python does, the seed as `getcallargs` does."""
    return bool(signature.varkw) and any(name in kwargs for name in signature.positional_only)


def clears_may_begin_at_the_outermost_tier(seed, ours):
    """P1 (issue 2, item 4): `clear` of a cached function over an exact TieredCache deletes from the outermost tier inwards.

    The order of the deletes of one run of deletes is levelled out, and nothing else.
    """
    return _runs_of_deletes_sorted(seed), _runs_of_deletes_sorted(ours)


def _runs_of_deletes_sorted(record):
    out, run = [], []
    for entry in [*record, None]:
        if entry is not None and entry[0].endswith(('.delete', 'prefix_function', 'session')):
            run.append(entry)
            continue
        out += sorted(run) if any(kept[0].endswith('.delete') for kept in run) else run
        run = []
        if entry is not None:
            out.append(entry)
    return out


def an_unfit_cache_may_be_told_better(seed, ours):
    """Issue 2, bad input: the error of an unfit cache object, or of an alias that is missing, keeps its type and its text; more may follow."""
    return [[(*entry[:-1], _HELP.sub('', entry[-1])) for entry in record] for record in (seed, ours)]


_HELP = re.compile(': a cache for quickcache needs get.*|: TieredCache takes a list of caches.*| get_django_quickcache keeps values in the aliases.*')


@dataclass(frozen=True)
class Allowed:
    """One difference: the clause that allows it, a scenario that ends in one value, and that value on either side."""

    clause: str
    says: str
    scenario: object
    seed: object
    ours: object


ALLOWED = []


def allowed(clause, says, *, seed, ours):
    def keep(scenario):
        ALLOWED.append(Allowed(clause, says, scenario, seed, ours))
        return scenario
    return keep


def raised(fn, *args, **kwargs):
    """The result, or the type and text of the error."""
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def parts(cached, *args, **kwargs):
    """The argument part of a key, or the error that making it raised."""
    return raised(lambda: cached.get_cache_key(*args, **kwargs).partition('/')[2])


@allowed('C6 (F)', 'a generator given as vary_on serves every function, not only the first', seed=['n1', ''], ours=['n1', 'n1'])
def generator_vary_on(world):
    decorator = world.side.get_quickcache(cache=world.cache())(name for name in ['a'])
    return [parts(decorator(lambda a: a), 1), parts(decorator(lambda a, b=2: a), 1)]


@allowed('K6 (F)', 'a parameter called self may be passed by keyword', seed='TypeError', ours=[1, 'n1', [1]])
def self_by_keyword(world):
    cached = world.decorate(lambda self: [self], ['self'])
    answer = raised(lambda: cached(self=1))
    return answer.partition(':')[0] if isinstance(answer, str) else [1, parts(cached, self=1), cached.get_cached_value(self=1)]


@allowed('K3 (F)', 'a positional-only name may come again in **more, as in the function itself', ours=[1, {'a': 2}, 'n1'],
         seed="TypeError: po() got multiple values for argument 'a'")
def positional_only_name_in_varkw(world):
    def po(a, /, **more):
        return [a, more]
    cached = world.decorate(po, ['a'])
    answer = raised(lambda: cached(1, a=2))
    return answer if isinstance(answer, str) else [*answer, parts(cached, 1, a=2)]


@allowed('K2', 'a number whose str() is no text that can be encoded is refused, as such a str is; no backend could take the key',
         seed='n\ud800', ours="UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed")
def number_that_says_a_surrogate(world):
    class Odd(int):
        def __str__(self):
            return '\ud800'
    return parts(world.decorate(lambda a: a, ['a']), Odd(1))


NO_SUCH = 'ValueError: We cannot vary on "{}" because the function f has no such argument'


@allowed('D4 (F)', 'keyword-only names in vary_on', seed=NO_SUCH.format('k'), ours='n1,n5')
def keyword_only_in_vary_on(world):
    def f(a, *, k=5):
        return a
    return raised(lambda: parts(world.decorate(f, ['a', 'k']), 1))


@allowed('D4 (F)', '*args in vary_on', seed=NO_SUCH.format('rest'), ours=True)
def varargs_in_vary_on(world):
    def f(*rest):
        return rest
    return raised(lambda: parts(world.decorate(f, ['rest']), 1, 2) == parts(world.decorate(lambda x: x, ['x']), (1, 2)))


@allowed('D4 (F)', '**kw in vary_on', seed=NO_SUCH.format('more'), ours=True)
def varkw_in_vary_on(world):
    def f(**more):
        return more
    return raised(lambda: parts(world.decorate(f, ['more']), a=1) == parts(world.decorate(lambda x: x, ['x']), {'a': 1}))


@allowed('D6 (F)', 'a keyword-only name as skip_arg', ours=[1, 2],
         seed='ValueError: We cannot use "force" as the "skip" parameter because the function f has no such argument')
def keyword_only_skip_arg(world):
    runs = []

    def f(a, *, force=False):
        runs.append(a)
        return len(runs)

    def calls():
        cached = world.decorate(f, ['a'], skip_arg='force')
        return [cached(1), cached(1, force=True)]
    return raised(calls)


@allowed('2.6 (F)', 'async functions: the awaited value is cached', seed=['coroutine', 1, 'RuntimeError: cannot reuse already awaited coroutine'], ours=['coroutine', 1, 1])
def async_function(world):
    async def f(a):
        return a
    cached = world.decorate(f, ['a'])
    first = cached(1)
    kind = 'coroutine' if inspect.iscoroutine(first) or inspect.isawaitable(first) else type(first).__name__
    return [kind, asyncio.run(_await(first)), raised(lambda: asyncio.run(_await(cached(1))))]


async def _await(awaitable):
    return await awaitable


@allowed('2.6 (F)', 'no md5 of the interpreter is needed', seed='ValueError: disabled for FIPS', ours='u0cc175b9c0f1b6a831c399e269772661')
def without_md5(world):
    def disabled(*args, **kwargs):
        raise ValueError('disabled for FIPS')
    cached = world.decorate(lambda a: a, ['a'])
    with unittest.mock.patch.object(hashlib, 'md5', disabled):
        return parts(cached, 'a')


@allowed('2.7 (D8)', 'the decorated object is a native callable', seed=True, ours=False)
def native_callable(world):
    return inspect.isfunction(world.decorate(lambda a: a, ['a']))


@allowed('design 11', 'getfullargspec of the decorated object is that of the function, so quickcache on quickcache takes names (D4)', ours=['a', 'n1'],
         seed=[None, 'ValueError: We cannot vary on "a" because the function <lambda> has no such argument'])
def names_through_quickcache(world):
    inner = world.decorate(lambda a: a, ['a'])
    return [next(iter(inspect.getfullargspec(inner).args), None), raised(lambda: parts(world.decorate(inner, ['a']), 1))]


@allowed('R8', 'assert_function warns by logger.warning, not by the deprecated logger.warn', seed=1, ours=0)
def deprecated_warn(world):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        world.side.module('logger').assert_function(True, 'message')
    return len(caught)


@allowed('issue 2, bad input', 'the error of an unfit cache object says what is needed', seed="'object' object has no attribute 'get'", ours=True)
def unfit_cache(world):
    try:
        world.decorate(lambda a: a, ['a'], cache=object())(1)
    except AttributeError as error:
        return 'a cache for quickcache needs' in str(error) or str(error)


@allowed('P1', 'a value whose execution began before a clear of its key is not stored', seed=['ran 1', 'ran 1'], ours=['ran 1', 'ran 2'])
def cleared_while_it_runs(world):
    runs = []

    def f(a):
        runs.append(a)
        if len(runs) == 1:
            cached.clear(a)
        return f'ran {len(runs)}'
    cached = world.decorate(f, ['a'])
    return [cached(1), cached(1)]


@allowed('P1', 'a value whose execution began before set_cached_value of its key does not replace what was set', seed=['computed', 'computed'], ours=['computed', 'set'])
def set_while_it_runs(world):
    def f(a):
        cached.set_cached_value(a).to('set')
        return 'computed'
    cached = world.decorate(f, ['a'])
    return [cached(1), cached(1)]


@allowed('P1 (issue 2, item 4)', 'clear of a cached function over an exact TieredCache begins at the outermost tier', seed=['a', 'b'], ours=['b', 'a'])
def clear_order(world):
    tiers = [world.cache('a'), world.cache('b')]
    world.decorate(lambda a: a, ['a'], cache=world.side.TieredCache(tiers)).clear(1)
    return [entry[0].partition('.')[0] for entry in world.record if entry[0].endswith('.delete')]


@allowed('P1 (protocols 2.2)', 'a tier that fails in a clear does not keep the other tiers from being cleared; the error still reaches the caller',
         seed=[['a', 'b'], 'OSError: down'], ours=[['c', 'b', 'a'], 'OSError: down'])
def failed_delete(world):
    tiers = [world.cache('a'), world.cache('b', faults={0: OSError('down')}), world.cache('c')]
    answer = raised(world.decorate(lambda a: a, ['a'], cache=world.side.TieredCache(tiers)).clear, 1)
    return [[entry[0].partition('.')[0] for entry in world.record if entry[0].endswith('.delete')], answer]


@allowed('P7', 'concurrent calls of a cold key run the function once', seed=4, ours=1)
def stampede(world):
    runs, gate = [], threading.Event()

    def f(a):
        runs.append(a)
        gate.wait(0.3)
        return a
    cached = world.decorate(f, ['a'])
    callers = [threading.Thread(target=cached, args=(1,)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return len(runs)


@allowed('design 6', 'a generator function is refused; in drop-in use with one warning', seed=0, ours=1)
def generator_function(world):
    def f(a):
        yield a
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        world.decorate(f, ['a'])
    return len(caught)

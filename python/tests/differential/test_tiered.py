"""R4 to R6: TieredCache, CacheWithPresets, CacheWithTimeout, ForceSkipCache; alone and under a cached function."""
import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .allowed import an_unfit_cache_may_be_told_better, clears_may_begin_at_the_outermost_tier
from .histories import histories, live
from .observe import same

ODD = [None, False, ..., 0, [], 'text']


def subject(a, b=1, force=False):
    return [a, b, force]


class Prefix:
    """A session function: another answer at each call."""

    def __init__(self, world, answers):
        self.world = world
        self.answers = answers
        self.calls = 0

    def __call__(self):
        answer = self.answers[self.calls % len(self.answers)]
        self.calls += 1
        self.world.note('prefix_function', answer if isinstance(answer, str) else type(answer).__name__)
        if answer == 'skip':
            raise self.world.side.ForceSkipCache('no session')
        return answer


def stack(world, kind, faults):
    """A cache of tiers over three recording caches, and those."""
    a, b, c = (world.cache(name, faults=faults if name == 'b' else None, answers={'set': f'{name} set', 'delete': True}, safe_deletes=True) for name in 'abc')
    Tiered, Presets = world.side.TieredCache, world.side.CacheWithPresets
    # A delete that fails is in `allowed.failed_delete`: ours clears the other tiers all the same.
    caches = {
        'one': lambda: Tiered([b]), 'two': lambda: Tiered([a, b]), 'three': lambda: Tiered((a, b, c)), 'none': lambda: Tiered([]),
        'nested': lambda: Tiered([a, Tiered([b, c])]), 'nested in front': lambda: Tiered([Tiered([a, b]), c]), 'same twice': lambda: Tiered([b, b]),
        'presets': lambda: Presets(b, 5), 'presets in tiers': lambda: Tiered([Presets(a, 5), Presets(b, 10, Prefix(world, ['s1.', 's2.', 's1.', 's1.']))]),
        'sometimes no session': lambda: Tiered([Presets(a, 5, Prefix(world, ['s.', 's.', 'skip', 's.', 'skip'])), Presets(b, 10)]),
        'presets of tiers': lambda: Presets(TakesTimeout(Tiered([a, b])), 5), 'subclass': lambda: type('Mine', (Tiered,), {})([a, b]),
        'subclass that overrides': lambda: type('Mine', (Tiered,), {'get': lambda self, key, default=None: (world.note('my get', key), Tiered.get(self, key, default))[1]})([a, b]),
        'subclass of presets': lambda: Tiered([type('Mine', (Presets,), {'prefixed_key': lambda self, key: f'mine:{key}'})(a, 5), b]),
    }
    return caches[kind](), [b, a, c]


class TakesTimeout:
    """A TieredCache takes no timeout; this passes it by."""

    def __init__(self, cache):
        self.cache = cache
        self.get = cache.get
        self.delete = cache.delete

    def set(self, key, value, timeout):
        self.cache.set(key, value)


KINDS = ['one', 'two', 'three', 'none', 'nested', 'nested in front', 'same twice', 'presets', 'presets in tiers', 'sometimes no session', 'presets of tiers', 'subclass',
         'subclass that overrides', 'subclass of presets']


@settings(max_examples=250)
@given(histories(KINDS), st.booleans())
def test_any_history_over_tiers(history, loud):
    def scenario(world):
        cache, backends = stack(world, history.stack, history.faults)
        live(history, world, cache, backends)
    same(scenario, loud, allow=clears_may_begin_at_the_outermost_tier)


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_of_stack_by_itself(kind):
    def scenario(world):
        cache, backends = stack(world, kind, None)
        for key in ('k', 'é', 'k'):
            world.attempt('get', cache.get, key)
            world.attempt('get', cache.get, key, 'default')
            world.attempt('get', cache.get, key, default=...)
            world.attempt('set', cache.set, key, [key])
            world.attempt('get', cache.get, key)
            world.attempt('delete', cache.delete, key)
            world.attempt('get', cache.get, key)
            for held in backends:
                held.store[key] = f'planted in {held.name}'
                world.attempt('planted', cache.get, key)
                world.attempt('again', cache.get, key=key)
                for other in backends:
                    other.store.clear()
    same(scenario)


# R6.

@pytest.mark.parametrize('value', ODD, ids=repr)
def test_r6_a_tier_is_missed_only_when_it_answers_ellipsis(value):
    def scenario(world):
        a, b = world.cache('a'), world.cache('b')
        cache = world.side.TieredCache([a, b])
        b.store['k'] = value
        world.attempt('get', cache.get, 'k', 'default')
        world.attempt('get', cache.get, 'k', 'default')
        world.note(a.store, b.store)
    same(scenario)


@pytest.mark.parametrize('method', ['get', 'set', 'delete'])
@pytest.mark.parametrize('tier', [0, 1, 2])
def test_r6_an_error_of_one_tier_stops_there(method, tier):
    def scenario(world):
        caches = [world.cache(name) for name in 'abc']
        caches[2].store['k'] = 'far'

        def down(*args, **kwargs):
            world.note('down', method)
            raise OSError('down')
        setattr(caches[tier], method, down)
        cache = world.side.TieredCache(caches)
        world.attempt('get', cache.get, 'k')
        world.attempt('set', cache.set, 'k', 1)
        world.attempt('delete', cache.delete, 'k')
        world.note([held.store for held in caches])
    same(scenario)


def test_r6_caches_is_public_and_live():
    def scenario(world):
        a, b, c = (world.cache(name) for name in 'abc')
        caches = [a, b]
        cache = world.side.TieredCache(caches)
        world.note(cache.caches is caches)
        cached = world.decorate(subject, ['a'], cache=cache)

        def probe():
            for args in ((1,), (1,)):
                world.attempt('call', cached, *args)
        probe()
        caches.append(c)
        probe()
        cached.clear.__self__.cache.set('other', 1)
        cache.caches = (c, a)
        probe()
        cache.caches = {'a': a}.values()
        probe()
        cache.caches = []
        probe()
        cache.caches = None
        probe()
        del cache.caches
        probe()
    same(scenario, allow=an_unfit_cache_may_be_told_better)


def test_r6_an_iterator_of_caches_is_used_up_by_the_first_operation():
    def scenario(world):
        a, b = world.cache('a'), world.cache('b')
        cached = world.decorate(subject, ['a'], cache=world.side.TieredCache(iter([a, b])))
        for _ in range(3):
            world.attempt('call', cached, 1)
    same(scenario)


@pytest.mark.parametrize('caches', [None, 3, 'ab', [None], [{}], [3, 4]], ids=repr)
def test_r6_what_is_no_list_of_caches_fails_when_it_is_asked(caches):
    def scenario(world):
        cache = world.attempt('made', lambda: world.side.TieredCache(caches) and None)
        cache = world.side.TieredCache(caches)
        world.attempt('get', cache.get, 'k')
        world.attempt('set', cache.set, 'k', 1)
        world.attempt('delete', cache.delete, 'k')
        cached = world.decorate(subject, ['a'], cache=cache)
        world.attempt('call', cached, 1)
    same(scenario, allow=an_unfit_cache_may_be_told_better)


def test_r6_wrong_arguments():
    def scenario(world):
        cache = world.side.TieredCache([world.cache()])
        for args, kwargs in (((), {}), (('k',), {}), (('k', 1), {}), (('k', 1, 5), {}), (('k', 1), {'timeout': 5}), ((), {'key': 'k', 'value': 1})):
            for method in ('get', 'set', 'delete'):
                world.attempt(method, getattr(cache, method), *args, **kwargs)
        world.attempt('new', world.side.TieredCache)
        world.attempt('new', lambda: world.side.TieredCache([], 1) and None)
        world.attempt('new', lambda: world.side.TieredCache(caches=[]).caches)
    same(scenario)


def test_r6_methods_patched_on_the_class_or_the_object_are_seen():
    def scenario(world):
        a, b = world.cache('a'), world.cache('b')
        Tiered = world.side.TieredCache
        cache = Tiered([a, b])
        cached = world.decorate(subject, ['a'], cache=cache)
        world.attempt('call', cached, 1)
        for where, patch in ((cache, lambda key, default=None: ('patched', key)), (Tiered, lambda self, key, default=None: ('on class', key))):
            original = Tiered.__dict__['get']
            where.get = patch
            world.attempt('patched', cached, 1)
            world.attempt('patched', cached.get_cached_value, 1)
            if where is cache:
                del cache.get
            else:
                Tiered.get = original
            world.attempt('restored', cached, 1)
    same(scenario)


# R4, R5.

def test_r4_force_skip_cache_is_caught_in_presets_only():
    def scenario(world):
        side = world.side

        def skips(*args, **kwargs):
            raise side.ForceSkipCache('now')

        def after_iteration(a, b=1, force=False):
            yield a
            raise side.ForceSkipCache('late')
        cache = side.CacheWithPresets(world.cache(), 5)
        for options in ({'vary_on': skips}, {'vary_on': ['a'], 'skip_arg': skips}, {'vary_on': after_iteration}):
            cached = world.decorate(subject, cache=cache, **options)
            world.attempt('call', cached, 1)
            world.attempt('clear', cached.clear, 1)
        body = world.decorate(lambda a: skips(), ['a'], cache=cache)
        world.attempt('body', body, 1)
        no_session = side.CacheWithPresets(world.cache(), 5, skips)
        cached = world.decorate(subject, ['a'], cache=no_session, skip_arg='force')
        for args in ((1,), (1, 1, True)):
            world.attempt('no session', cached, *args)
        world.attempt('no session', cached.get_cached_value, 1)
        world.attempt('no session', lambda: cached.set_cached_value(1).to(2))
        world.attempt('no session', cached.clear, 1)
        world.attempt('prefixed_key', no_session.prefixed_key, 'k')
        for method in ('get', 'set', 'delete'):
            backend = world.cache()
            setattr(backend, method, skips)
            presets = side.CacheWithPresets(backend, 5)
            world.attempt('get', presets.get, 'k', 'default')
            world.attempt('set', presets.set, 'k', 1)
            world.attempt('delete', presets.delete, 'k')
            cached = world.decorate(subject, ['a'], cache=backend)
            world.attempt('bare backend', cached, 1)
            world.attempt('bare backend', cached.clear, 1)
        world.note(side.ForceSkipCache.__mro__[1].__name__, side.ForceSkipCache.__module__, side.package.ForceSkipCache is side.ForceSkipCache)
    same(scenario)


def test_r4_a_subclass_of_force_skip_cache_counts_and_other_errors_pass():
    def scenario(world):
        class NoSession(world.side.ForceSkipCache):
            pass
        for error in (NoSession(), LookupError('session'), world.side.ForceSkipCache):
            def prefix():
                raise error
            presets = world.side.CacheWithPresets(world.cache(), 5, prefix)
            cached = world.decorate(subject, ['a'], cache=world.side.TieredCache([presets, world.cache('far')]))
            for _ in range(2):
                world.attempt('call', cached, 1)
            world.attempt('get', presets.get, 'k', 'default')
    same(scenario)


@pytest.mark.parametrize('prefix', [None, '', 0, lambda: 's.', lambda: '', lambda: None, lambda: 3, lambda: b's', 'text', lambda a: a], ids=repr)
def test_r5_the_prefix_function_is_called_once_per_operation_and_must_give_text(prefix):
    def scenario(world):
        presets = world.side.CacheWithPresets(world.cache(), 5, prefix)
        world.attempt('key', presets.prefixed_key, 'k')
        world.attempt('set', presets.set, 'k', 1)
        world.attempt('get', presets.get, 'k')
        world.attempt('delete', presets.delete, 'k')
        cached = world.decorate(subject, ['a'], cache=presets)
        for _ in range(2):
            world.attempt('call', cached, 1)
        world.attempt('clear', cached.clear, 1)
    same(scenario)


@pytest.mark.parametrize('timeout', [5, 0, -1, None, 1.5, 'soon', ...], ids=repr)
def test_r5_the_timeout_goes_to_set_by_keyword_as_it_is(timeout):
    def scenario(world):
        presets = world.side.CacheWithPresets(world.cache(), timeout)
        cached = world.decorate(subject, ['a'], cache=presets, skip_arg='force')
        for args in ((1,), (1,), (1, 1, True)):
            world.attempt('call', cached, *args)
        world.attempt('set', lambda: cached.set_cached_value(1).to(5))
    same(scenario)


def test_r5_presets_are_a_named_tuple():
    def scenario(world):
        Presets = world.side.CacheWithPresets
        presets = Presets('c', 5)
        world.note(Presets._fields, presets, tuple(presets), presets == ('c', 5, None), len(presets), Presets('c', timeout=5, prefix_function=max).prefix_function is max)
        world.attempt('copy', lambda: copy.copy(presets) == presets)
        world.attempt('pickle', lambda: pickle.loads(pickle.dumps(presets)) == presets)
        world.attempt('replace', lambda: presets._replace(timeout=7))
        world.attempt('new', Presets)
        world.attempt('new', Presets, 'c')
        world.attempt('new', Presets, 'c', 5, None, None)
        world.attempt('unknown', lambda: presets._replace(prefix='x'))
    same(scenario)


def test_r5_cache_with_timeout_warns_where_it_is_defined():
    def scenario(world):
        WithTimeout = world.side.CacheWithTimeout
        cache = world.attempt('new', lambda: WithTimeout(world.cache(), 5) and None)
        cache = WithTimeout(world.cache(), timeout=5)
        world.note(cache, isinstance(cache, world.side.CacheWithPresets), cache.prefix_function)
        cached = world.decorate(subject, ['a'], cache=cache)
        for _ in range(2):
            world.attempt('call', cached, 1)
        world.attempt('clear', cached.clear, 1)
        world.attempt('three', lambda: WithTimeout(world.cache(), 5, None))
        world.attempt('unpickle', lambda: pickle.loads(pickle.dumps(WithTimeout('c', 5))))
        world.attempt('copy', lambda: copy.copy(WithTimeout('c', 5)))
    same(scenario)

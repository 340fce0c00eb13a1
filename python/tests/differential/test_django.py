"""R9, C5: the Django configuration, its two tiers, and what Django's own values do in a key."""
import datetime
import threading
import unittest.mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .observe import observe
from . import observe as observing
from . import sides

pytest.importorskip('django.conf', reason='Django is not installed in this environment: R9 is not tested')

from .allowed import an_unfit_cache_may_be_told_better, clears_may_begin_at_the_outermost_tier
from .django_caches import NOTES, configure
from .histories import histories, live

configure()
from django.core.cache import caches  # noqa: E402


def same(scenario, **options):
    """As `observe.same`, with the calls of Django's caches in the record and the caches empty at the start."""
    def in_django(world):
        for alias in ('default', 'locmem', 'plain'):
            caches[alias].clear()
        NOTES.append(world.note)
        try:
            scenario(world)
        finally:
            NOTES.clear()
    observing.same(in_django, **options)


def subject(a, b=1, force=False):
    return [a, b, force]


def get_django(world):
    return world.side.module('django_quickcache').get_django_quickcache


def probe(world, cached):
    for args in ((1,), (1,), (1, 1, True), ('é', 2)):
        world.attempt('call', cached, *args)
    world.attempt('get_cached_value', cached.get_cached_value, 1)
    world.attempt('set', lambda: cached.set_cached_value(1).to(None))
    world.attempt('call', cached, 1)
    world.attempt('clear', cached.clear, 1)
    world.attempt('call', cached, 1)


def test_c2_the_django_configuration_is_a_named_tuple():
    def scenario(world):
        get = get_django(world)
        base = get()
        world.note(type(base).__name__, base._fields, base, len(base), base.timeout, base.session_function)
        world.attempt('positional', get, 5)
        world.attempt('cache', get, cache=1)
        world.attempt('cache', lambda: get(timeout=1, memoize_timeout=1)(['a'], cache=1))
        for options in ({}, {'timeout': 5}, {'memoize_timeout': 5}, {'timeout': 5, 'memoize_timeout': 5}, {'vary_on': ['a']}):
            world.attempt('missing', get(**options))
            world.attempt('missing', lambda: get(**options)(['a']) and 'a decorator')
        world.attempt('call() skips the check', lambda: get().call() and 'a decorator')
        world.attempt('call() with timeouts', lambda: get(timeout=0, memoize_timeout=0).call() and 'a decorator')
    same(scenario)


@pytest.mark.parametrize('timeout', [5, 0, None, -1, 1.5, datetime.timedelta(seconds=5), 'soon', ..., True], ids=repr)
@pytest.mark.parametrize('memoize_timeout', [10, 0, None, -1], ids=repr)
def test_r9_a_tier_with_a_falsy_timeout_is_dropped(timeout, memoize_timeout):
    def scenario(world):
        cached = world.attempt('decorate', lambda: probe(world, get_django(world)(timeout=timeout, memoize_timeout=memoize_timeout)(['a'], 'force')(subject)))
        assert cached is None
    same(scenario, allow=clears_may_begin_at_the_outermost_tier)


def test_r9_the_tiers_are_locmem_then_default():
    def scenario(world):
        def session():
            world.note('session')
            return 's.'
        cached = get_django(world)(timeout=5, memoize_timeout=10, session_function=session)(['a'], skip_arg='force')(subject)
        probe(world, cached)
        cache = cached.clear.__self__.cache
        world.note(type(cache).__name__, [type(tier).__name__ for tier in cache.caches], [tier.timeout for tier in cache.caches], [tier.prefix_function is session for tier in cache.caches])
        world.note([tier.cache is caches[alias] for tier, alias in zip(cache.caches, ('locmem', 'default'))])
    same(scenario, allow=clears_may_begin_at_the_outermost_tier)


def test_r4_without_a_session_the_local_tier_is_passed_by():
    def scenario(world):
        def session():
            raise world.side.ForceSkipCache
        probe(world, get_django(world)(timeout=5, memoize_timeout=10, session_function=session)(['a'], skip_arg='force')(subject))
    same(scenario, allow=clears_may_begin_at_the_outermost_tier)


@given(histories(['django', 'django', 'presets of one alias']), st.booleans())
def test_any_history_over_djangos_caches(history, loud):
    def scenario(world):
        module = world.side.module('django_quickcache')
        arguments = [('locmem', 5, None), ('default', 10, lambda: 'shared.')]
        cache = module.tiered_django_cache(arguments if history.stack == 'django' else arguments[1:])
        # `backends` are asked for a plain store: the caches are emptied and planted through a stand-in.
        live(history, world, cache, [world.cache('unused')])
    same(scenario, loud=loud, allow=clears_may_begin_at_the_outermost_tier)


def test_tiered_django_cache():
    def scenario(world):
        tiered = world.side.module('django_quickcache').tiered_django_cache
        for arguments in ([], [('default', 0, None)], [('plain', 5, None), ('default', 5, None)], [('default', 5, lambda: 'p')], (('locmem', t, None) for t in (1, 0, 2))):
            cache = tiered(arguments)
            world.note(type(cache).__name__, len(cache.caches), [tier.timeout for tier in cache.caches])
            world.attempt('set', cache.set, 'k', [1])
            world.attempt('get', cache.get, 'k')
            world.attempt('delete', cache.delete, 'k')
        world.attempt('missing alias', tiered, [('nowhere', 5, None)])
        world.attempt('missing alias, no timeout', lambda: tiered([('nowhere', 0, None)]).caches)
        world.attempt('two values', tiered, [('default', 5)])
    same(scenario, allow=an_unfit_cache_may_be_told_better)


def test_r9_the_aliases_are_looked_up_when_the_decorator_is_made():
    def scenario(world):
        decorator = get_django(world)(timeout=5, memoize_timeout=10)(['a'])
        elsewhere = world.cache('elsewhere')
        with unittest.mock.patch.object(world.side.module('django_quickcache'), 'caches', {'default': elsewhere, 'locmem': elsewhere}):
            world.attempt('made before', decorator(subject), 1)
        cached = decorator(subject)
        thread = threading.Thread(target=lambda: world.attempt('in a thread', cached, 1))
        thread.start()
        thread.join()
        world.attempt('here', cached, 1)
        from django.test import override_settings
        with override_settings(CACHES={'default': {'BACKEND': 'django.core.cache.backends.dummy.DummyCache'}}):
            world.attempt('settings overridden', cached, 1)
            world.attempt('locmem is missing now', lambda: get_django(world)(timeout=5, memoize_timeout=10)(['a']) and 'a decorator')
    same(scenario, allow=an_unfit_cache_may_be_told_better)


def test_c5_the_helper_class_gets_a_tiered_cache():
    def scenario(world):
        def helper_class(fn, **options):
            world.note(sorted(options), type(options['cache']).__name__, options['vary_on'], options['skip_arg'], options['assert_function'])
            return world.side.QuickCacheHelper(fn, **options)
        cached = get_django(world)(timeout=5, memoize_timeout=10, helper_class=helper_class, assert_function=None)(['a'], 'force')(subject)
        world.attempt('call', cached, 1)
    same(scenario)


def test_k2_djangos_lazy_values():
    from django.utils.functional import SimpleLazyObject, lazy
    from django.utils.safestring import mark_safe
    from django.utils.translation import gettext_lazy

    def scenario(world):
        cached = world.decorate(subject, ['a'])
        for value in (SimpleLazyObject(lambda: 'text'), SimpleLazyObject(lambda: [1, 2]), SimpleLazyObject(lambda: 5), SimpleLazyObject(lambda: None), SimpleLazyObject(lambda: {'a': 1}),
                      SimpleLazyObject(lambda: datetime.datetime(2018, 1, 1)), gettext_lazy('text'), lazy(lambda: 'text', str)(), mark_safe('text'), [gettext_lazy('text')]):
            world.attempt('key', cached.get_cache_key, value)
    same(scenario)


def test_the_record_holds_the_calls_of_djangos_caches():
    NOTES.clear()

    def scenario(world):
        NOTES.append(world.note)
        get_django(world)(timeout=5, memoize_timeout=0)(['a'])(subject)(1)
        NOTES.clear()
    assert any(entry[0] == 'default.get' for entry in observe(sides.OURS, scenario))

"""Wrong libraries: the seed with one fault each. Every one must be found by the tests named beside it, or the harness is blind."""
import inspect
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """What is spoilt, and the test that must go red."""

    spoil: object
    caught_by: str


MUTANTS = {}


def mutant(caught_by):
    def keep(spoil):
        MUTANTS[spoil.__name__] = Mutant(spoil, caught_by)
        return spoil
    return keep


def rewrite(side, module, old, new):
    """Replace source text in one module of the seed and run the changed definitions in its place."""
    loaded = side.module(module)
    text = inspect.getsource(loaded)
    assert old in text, f'the mutant does not apply: {old!r}'
    exec(compile(text.replace(old, new), loaded.__file__, 'exec'), loaded.__dict__)
    for other in ('quickcache', 'django_quickcache') if module == 'quickcache_helper' else ():
        try:
            side.module(other).QuickCacheHelper = loaded.QuickCacheHelper
        except ImportError:
            continue
    if module == 'quickcache_helper':
        quickcache = side.module('quickcache')
        quickcache.get_quickcache = quickcache.get_quickcache(helper_class=loaded.QuickCacheHelper).but_with


@mutant('test_keys.py::test_k2_random_values_serialise_alike')
def dict_items_are_not_sorted(side):
    rewrite(side, 'quickcache_helper', "sorted(map(self._serialize_for_key, six.iteritems(value)))", "map(self._serialize_for_key, six.iteritems(value))")


@mutant('test_keys.py::test_golden_rows_of_one_value')
def lists_have_another_letter(side):
    rewrite(side, 'quickcache_helper', "return 'L'", "return 'T'")


@mutant('test_keys.py::test_k1_a_text_of_150_code_points_stays_and_151_is_hashed')
def the_text_is_hashed_from_150_on(side):
    rewrite(side, 'quickcache_helper', '> 150', '>= 150')


@mutant('test_keys.py::test_k2_random_values_serialise_alike')
def bool_is_tested_after_int(side):
    rewrite(side, 'quickcache_helper', "return 'b' + str(int(value))", "return 'n' + str(value)")


@mutant('test_keys.py::test_k2_strange_values_serialise_alike')
def the_zone_is_dropped_instead_of_converted(side):
    rewrite(side, 'quickcache_helper', 'value.astimezone(utc).isoformat()', 'value.replace(tzinfo=utc).isoformat()')


@mutant('test_binding.py::test_k3_any_call_of_any_signature')
def a_wrong_call_is_told_in_the_functions_own_words(side):
    rewrite(side, 'quickcache_helper', 'callargs = inspect.getcallargs(self.fn, *args, **kwargs)\n        values',
            'callargs = inspect.signature(self.fn).bind(*args, **kwargs); callargs.apply_defaults(); callargs = callargs.arguments\n        values')


@mutant('test_binding.py::test_k3_defaults_code_and_name_are_read_at_each_call')
def defaults_are_frozen_at_decoration(side):
    Helper = side.QuickCacheHelper
    original, init = Helper.get_cache_key, Helper.__init__

    def remember(self, fn, *args, **kwargs):
        init(self, fn, *args, **kwargs)
        self.frozen = getattr(fn, '__defaults__', None)

    def get_cache_key(self, *args, **kwargs):
        now = getattr(self.fn, '__defaults__', None)
        if now == self.frozen or not hasattr(self.fn, '__code__'):
            return original(self, *args, **kwargs)
        self.fn.__defaults__ = self.frozen
        try:
            return original(self, *args, **kwargs)
        finally:
            self.fn.__defaults__ = now
    Helper.__init__, Helper.get_cache_key = remember, get_cache_key


@mutant('test_decoration.py::test_d6_d7_every_kind_of_skip_arg_and_the_order_of_errors')
def skip_arg_is_checked_before_vary_on(side):
    rewrite(side, 'quickcache_helper', 'arg_names = getfullargspec(self.fn).args\n',
            'arg_names = getfullargspec(self.fn).args\n        if isinstance(skip_arg, str) and skip_arg not in arg_names:\n            raise ValueError(\n'
            "                'We cannot use \"{}\" as the \"skip\" parameter because the function {} has '\n                'no such argument'.format(skip_arg, fn.__name__))\n")


@mutant('test_patching.py::test_d9_a_method_patched_after_decoration_and_after_hits')
def call_is_bound_at_decoration(side):
    old = '@functools.wraps(fn)\n            def inner(*args, **kwargs):\n                return helper('
    rewrite(side, 'quickcache', old, 'bound = helper.__call__\n\n            ' + old.replace('return helper(', 'return bound('))


@mutant('test_calls.py::test_any_history_over_a_cache_object_that_fails_now_and_then')
def skip_makes_the_key_first(side):
    rewrite(side, 'quickcache_helper', 'content = self.fn(*args, **kwargs)\n            key = self.get_cache_key(*args, **kwargs)\n',
            'key = self.get_cache_key(*args, **kwargs)\n            content = self.fn(*args, **kwargs)\n')


@mutant('test_calls.py::test_any_history_over_a_cache_object_that_fails_now_and_then')
def none_is_a_miss(side):
    rewrite(side, 'quickcache_helper', 'if content is Ellipsis:', 'if content is Ellipsis or content is None:')


@mutant('test_calls.py::test_any_history_over_a_cache_object_that_fails_now_and_then')
def get_is_given_its_default_by_position(side):
    rewrite(side, 'quickcache_helper', 'content = self.cache.get(key, default=Ellipsis)', 'content = self.cache.get(key, Ellipsis)')


@mutant('test_tiered.py::test_each_kind_of_stack_by_itself')
def delete_goes_back_to_front(side):
    rewrite(side, 'cache_helpers', '        for cache in self.caches:\n            cache.delete(key)', '        for cache in reversed(list(self.caches)):\n            cache.delete(key)')


@mutant('test_tiered.py::test_any_history_over_tiers')
def a_hit_is_not_backfilled(side):
    rewrite(side, 'cache_helpers', 'missed_cache.set(key, content)', 'pass')


@mutant('test_config.py::test_c4_missing_values_are_named_in_field_order')
def missing_fields_are_sorted(side):
    rewrite(side, 'quickcache', "'for the following parameters: {}'.format(missing_values)", "'for the following parameters: {}'.format(sorted(missing_values))")

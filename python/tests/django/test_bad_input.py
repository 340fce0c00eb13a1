"""Bad input that only a Django site can give; the rest of the list is in `tests/claims/test_bad_input.py`."""
import pytest
from django.core.cache import InvalidCacheBackendError, caches
from django.test import override_settings

from quickcache.django_quickcache import get_django_quickcache

LOCMEM = 'django.core.cache.backends.locmem.LocMemCache'
MEMORY = 'quickcache.django_backends.MemoryCache'
HELP = (" get_django_quickcache keeps values in the aliases 'locmem' (for memoize_timeout) and 'default' (for timeout): add {!r} "
        'to CACHES in the settings, or give 0 as its timeout to go without it')


def aliases(*names, backend=LOCMEM):
    return override_settings(CACHES={name: {'BACKEND': backend, 'LOCATION': name} for name in names})


def decorated(**timeouts):
    @get_django_quickcache(**timeouts)(['key'])
    def look_up(key):
        return [key]
    return look_up


@pytest.mark.parametrize('there, missing', [('default', 'locmem'), ('locmem', 'default')])
def test_a_missing_alias_is_one_error_that_names_it(there, missing):
    # Django insists on an alias 'default', when it reads its settings at all: before, it is missing as any other is.
    with aliases(there, 'other'):
        caches.settings.pop(missing, None)
        caches[there].set('by text', 'kept')
        with pytest.raises(InvalidCacheBackendError) as raised:
            decorated(memoize_timeout=10, timeout=300)
        assert type(raised.value) is InvalidCacheBackendError
        assert str(raised.value) == f"The connection {missing!r} doesn't exist." + HELP.format(missing)
        # What the error says to do is done.
        timeouts = {'memoize_timeout': 10, 'timeout': 300} | {{'locmem': 'memoize_timeout', 'default': 'timeout'}[missing]: 0}
        look_up = decorated(**timeouts)
        assert look_up(1) == look_up(1) == [1]
        assert caches[there].get(look_up.get_cache_key(1)) == [1] and caches[there].get('by text') == 'kept'


def test_a_backend_that_cannot_be_imported_is_told_in_djangos_words():
    with override_settings(CACHES={'default': {'BACKEND': LOCMEM}, 'locmem': {'BACKEND': 'nowhere.Cache'}}):
        with pytest.raises(InvalidCacheBackendError) as raised:
            decorated(memoize_timeout=10, timeout=300)
    assert str(raised.value) == "Could not find backend 'nowhere.Cache': No module named 'nowhere'"


def test_an_unknown_option_is_told_as_ever():
    with aliases('default', 'locmem'):
        with pytest.raises((ValueError, TypeError)) as raised:
            decorated(memoize_timeout=10, timeout=300, cache=caches['default'])
    assert str(raised.value) == "Got unexpected field names: ['cache']"


def test_a_timeout_that_is_no_number_is_an_error_of_the_backend_and_costs_nothing():
    """As ever: the backend is asked with what was given (drop-in.md R9)."""
    with aliases('default', 'locmem', backend=MEMORY):
        good, bad = decorated(memoize_timeout=10, timeout=0), decorated(memoize_timeout='10', timeout=0)
        good(1)
        with pytest.raises(TypeError) as raised:
            bad(2)
        assert str(raised.value) == "Memory: timeout must be a number of seconds, a timedelta or None, not '10'"
        assert good.get_cached_value(1) == [1]


def test_a_value_that_cannot_be_pickled_is_returned_and_said_once(caplog):
    with aliases('default', 'locmem', backend=MEMORY):
        @get_django_quickcache(memoize_timeout=10, timeout=0)(['key'])
        def gives_a_function(key):
            return (lambda: key) if key else 'plain'
        assert (gives_a_function(0), gives_a_function(1)(), gives_a_function(1)()) == ('plain', 1, 1)
        assert gives_a_function.get_cached_value(0) == 'plain'
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and said[0].startswith('gives_a_function: a value of type function cannot be copied (')
    assert said[0].endswith('so it is not cached; return another type, or use Memory(copy=False) to share one object among all callers')

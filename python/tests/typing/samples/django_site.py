"""Over Django's caches."""
from django.core.cache import caches
from typing_extensions import assert_type

from quickcache import get_quickcache
from quickcache.cache_helpers import CacheWithPresets
from quickcache.django_quickcache import get_django_quickcache, tiered_django_cache

quickcache = get_django_quickcache(memoize_timeout=10, timeout=5 * 60, session_function=lambda: 'session.')


class Person:
    id: int


@quickcache(['person.id'], skip_arg='force', timeout=60)
def get_all_posts(person: Person, force: bool = False) -> list[str]:
    return []


assert_type(get_all_posts(Person()), list[str])
get_all_posts.clear(Person())
get_all_posts.clear_on_commit(Person())
get_all_posts.clear(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

get_quickcache(cache=caches['default'])
get_quickcache(cache=CacheWithPresets(caches['default'], 300))
get_quickcache(cache=tiered_django_cache([('locmem', 10, None), ('default', 300, lambda: 'prefix')]))

# A Django configuration takes no cache, and its timeouts are numbers.
get_django_quickcache(cache=caches['default'])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
get_django_quickcache(timeout='5m')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

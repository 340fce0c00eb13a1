"""The three stages, and what may be a cache."""
from typing import Any

from quickcache import ForceSkipCache, Memory, QuickCacheHelper, TieredCache, get_quickcache
from quickcache.cache_helpers import CacheWithPresets


class Mine:
    """A user's cache."""

    def get(self, key: str, default: Any = None) -> Any:
        return default

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        raise ForceSkipCache

    def delete(self, key: str) -> None:
        pass


class WithoutDelete:
    def get(self, key: str, default: Any = None) -> Any:
        return default

    def set(self, key: str, value: Any) -> None:
        pass


class Helper(QuickCacheHelper):
    def get_cache_key(self, *args: Any, **kwargs: Any) -> str:
        return 'mine' + super().get_cache_key(*args, **kwargs)


local = get_quickcache(cache=Memory(timeout=10, max_entries=None, copy=True))
tiers = TieredCache([Memory(), CacheWithPresets(Mine(), 300), CacheWithPresets(Mine(), 300, lambda: 'session.')])
get_quickcache(cache=tiers, helper_class=Helper, assert_function=lambda assertion, message: None)
skippable = local.but_with(skip_arg='force', cache=Mine())


def key_values(a: int, force: bool) -> list[int]:
    return [a]


def is_large(a: int, b: Any) -> bool:
    return a > 1


@skippable(key_values)
def f(a: int, force: bool) -> int:
    return a


@skippable(vary_on=('a', 'b.c'), skip_arg=is_large, cache=tiers)
def g(a: int, b: Any) -> int:
    return a


f(1, True)
g(1, None)

# Positional where only names are taken, an unknown option, a wrong type.
get_quickcache(Memory())  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
get_quickcache(cache=Memory(), timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
local.but_with(varyon=['a'])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
local(['a'], skipp='force')  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
local(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
local(['a'], skip_arg=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
get_quickcache(cache=WithoutDelete())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
get_quickcache(cache={})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Memory(timeout='10')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Memory(10, 100)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

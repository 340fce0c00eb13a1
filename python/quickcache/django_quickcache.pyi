from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import NamedTuple, type_check_only

from django.core.cache import caches as caches

from ._native import _Decorator
from .cache_helpers import CacheWithPresets as CacheWithPresets, TieredCache as TieredCache
from .quickcache import (
    ConfigMixin as ConfigMixin,
    _AssertFunction,
    _HelperClass,
    _SkipArg,
    _VaryOn,
    assert_function as assert_function,
    get_quickcache as get_quickcache,
)
from .quickcache_helper import QuickCacheHelper as QuickCacheHelper

@type_check_only
class _DjangoQuickCache(NamedTuple):
    vary_on: _VaryOn
    skip_arg: _SkipArg
    timeout: float | EllipsisType | None
    memoize_timeout: float | EllipsisType | None
    helper_class: _HelperClass
    assert_function: _AssertFunction
    session_function: Callable[[], str] | None

class DjangoQuickCache(_DjangoQuickCache, ConfigMixin):
    def but_with(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        vary_on: _VaryOn = ...,
        skip_arg: _SkipArg = ...,
        timeout: float | EllipsisType | None = ...,
        memoize_timeout: float | EllipsisType | None = ...,
        helper_class: _HelperClass = ...,
        assert_function: _AssertFunction = ...,
        session_function: Callable[[], str] | None = ...,
    ) -> DjangoQuickCache: ...
    def __call__(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        vary_on: _VaryOn = ...,
        skip_arg: _SkipArg = ...,
        *,
        timeout: float | EllipsisType | None = ...,
        memoize_timeout: float | EllipsisType | None = ...,
        helper_class: _HelperClass = ...,
        assert_function: _AssertFunction = ...,
        session_function: Callable[[], str] | None = ...,
    ) -> _Decorator: ...

def tiered_django_cache(
    cache_with_preset_arg_lists: Iterable[tuple[str, float | None, Callable[[], str] | None]],
) -> TieredCache: ...
def get_django_quickcache(
    *,
    vary_on: _VaryOn = ...,
    skip_arg: _SkipArg = ...,
    timeout: float | EllipsisType | None = ...,
    memoize_timeout: float | EllipsisType | None = ...,
    helper_class: _HelperClass = ...,
    assert_function: _AssertFunction = ...,
    session_function: Callable[[], str] | None = ...,
) -> DjangoQuickCache: ...

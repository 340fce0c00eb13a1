from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import Any, NamedTuple, TypeAlias, type_check_only

from typing_extensions import Self

from ._native import _Decorator
from .cache_helpers import _Cache
from .logger import assert_function as assert_function
from .quickcache_helper import QuickCacheHelper as QuickCacheHelper

# `Ellipsis` means: not given yet.
_VaryOn: TypeAlias = Iterable[str] | Callable[..., Iterable[Any]] | EllipsisType
_SkipArg: TypeAlias = str | Callable[..., object] | EllipsisType | None
_HelperClass: TypeAlias = Callable[..., Any]
_AssertFunction: TypeAlias = Callable[[bool, str], Any] | None

class ConfigMixin:
    def but_with(self, **defaults: Any) -> Self: ...
    def __call__(self, vary_on: _VaryOn = ..., skip_arg: _SkipArg = ..., **new_values: Any) -> _Decorator: ...
    def call(self) -> _Decorator: ...

def decorate(fn: Callable[..., Any], helper: Any) -> Any: ...

@type_check_only
class _QuickCache(NamedTuple):
    vary_on: _VaryOn
    cache: _Cache | EllipsisType
    skip_arg: _SkipArg
    helper_class: _HelperClass
    assert_function: _AssertFunction

class QuickCache(_QuickCache, ConfigMixin):
    def but_with(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        vary_on: _VaryOn = ...,
        cache: _Cache | EllipsisType = ...,
        skip_arg: _SkipArg = ...,
        helper_class: _HelperClass = ...,
        assert_function: _AssertFunction = ...,
    ) -> QuickCache: ...
    def __call__(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        vary_on: _VaryOn = ...,
        skip_arg: _SkipArg = ...,
        *,
        cache: _Cache | EllipsisType = ...,
        helper_class: _HelperClass = ...,
        assert_function: _AssertFunction = ...,
    ) -> _Decorator: ...

def get_quickcache(
    *,
    vary_on: _VaryOn = ...,
    cache: _Cache | EllipsisType = ...,
    skip_arg: _SkipArg = ...,
    helper_class: _HelperClass = ...,
    assert_function: _AssertFunction = ...,
) -> QuickCache: ...

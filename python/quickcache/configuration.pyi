from collections.abc import Callable, Iterable
from datetime import timedelta
from types import EllipsisType
from typing import Any, TypeAlias

from ._native import Memory, _Decorator
from .cache_helpers import _Cache

_VaryOn: TypeAlias = Iterable[str] | Callable[..., Iterable[Any]]
_SkipArg: TypeAlias = str | Callable[..., object] | None
_Timeout: TypeAlias = float | timedelta | None

class Configuration:
    def __init__(self, memory: Memory, shared: _Cache, own: dict[str, float | None], options: dict[str, Any]) -> None: ...
    def but_with(
        self,
        *,
        vary_on: _VaryOn = ...,
        skip_arg: _SkipArg = ...,
        memoize_timeout: _Timeout = ...,
        timeout: _Timeout = ...,
        version: int | None = ...,
        stale_timeout: _Timeout = ...,
    ) -> Configuration: ...
    def __call__(
        self,
        vary_on: _VaryOn | EllipsisType = ...,
        skip_arg: _SkipArg | EllipsisType = ...,
        *,
        memoize_timeout: _Timeout = ...,
        timeout: _Timeout = ...,
        version: int | None = ...,
        stale_timeout: _Timeout = ...,
        name: str | None = ...,
    ) -> _Decorator: ...

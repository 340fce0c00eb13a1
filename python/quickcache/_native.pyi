"""The Rust half: the memory tier, and what a decorated function is. Everything else in it is the package's own affair."""
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from os import PathLike
from pathlib import Path
from types import CodeType, EllipsisType
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    final,
    overload,
    type_check_only,
)

from .reports import Explanation, Stats

_C = TypeVar('_C')
_P = ParamSpec('_P')
_Q = ParamSpec('_Q')
_R = TypeVar('_R')
_S = TypeVar('_S')
_T = TypeVar('_T')

__version__: str

def register(cls: type[_C], /, name: str | None = None) -> type[_C]: ...

@final
class Memory:
    def __new__(
        cls,
        timeout: float | timedelta | None = 300,
        *,
        max_entries: int | None = 10000,
        max_bytes: int | None = 67108864,
        copy: bool | None = None,
    ) -> Memory: ...
    @overload
    def get(self, key: str, default: None = None) -> Any | None: ...
    @overload
    def get(self, key: str, default: _T) -> Any | _T: ...
    def set(self, key: str, value: object, timeout: float | timedelta | EllipsisType | None = ...) -> None: ...
    def delete(self, key: str) -> bool: ...
    def touch(self, key: str, timeout: float | timedelta | EllipsisType | None = ...) -> bool: ...
    def time_left(self, key: str) -> float | None: ...
    def __contains__(self, key: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def sweep(self) -> int: ...
    def shrink(self, count: int) -> None: ...
    @property
    def bytes(self) -> int: ...
    @property
    def timeout(self) -> float | None: ...

class Store:
    def __new__(
        cls,
        path: str | PathLike[str] | None = None,
        timeout: float | timedelta | None = 300,
        *,
        max_bytes: int = 268435456,
    ) -> Store: ...
    @overload
    def get(self, key: str, default: None = None) -> Any | None: ...
    @overload
    def get(self, key: str, default: _T) -> Any | _T: ...
    def set(self, key: str, value: object, timeout: float | timedelta | EllipsisType | None = ...) -> None: ...
    def add(self, key: str, value: object, timeout: float | timedelta | EllipsisType | None = ...) -> bool: ...
    def incr(self, key: str, delta: Any = 1) -> Any: ...
    def delete(self, key: str) -> bool: ...
    def touch(self, key: str, timeout: float | timedelta | EllipsisType | None = ...) -> bool: ...
    def time_left(self, key: str) -> float | None: ...
    def __contains__(self, key: str, /) -> bool: ...
    def clear(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    @property
    def path(self) -> Path: ...
    @property
    def timeout(self) -> float | None: ...

class Redis:
    def __new__(
        cls,
        url: str | Iterable[str] = 'redis://localhost:6379/0',
        timeout: float | timedelta | None = 300,
        *,
        namespace: str = 'qc',
        budget: float | timedelta = 0.1,
        staleness: float | timedelta = 0.25,
        connections: int = 8,
        folder: str | PathLike[str] | None = None,
        ca_file: str | PathLike[str] | None = None,
        client_cert: tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        primary: str | None = None,
        sentinel_password: str | None = None,
        cluster: bool = False,
        secret: bytes | Iterable[bytes] | None = None,
        serve_while_unreachable: bool = False,
    ) -> Redis: ...
    @overload
    def get(self, key: str, default: None = None) -> Any | None: ...
    @overload
    def get(self, key: str, default: _T) -> Any | _T: ...
    def set(self, key: str, value: object, timeout: float | timedelta | EllipsisType | None = ...) -> None: ...
    def add(self, key: str, value: object, timeout: float | timedelta | EllipsisType | None = ...) -> bool: ...
    def incr(self, key: str, delta: Any = 1) -> Any: ...
    def delete(self, key: str) -> bool: ...
    def touch(self, key: str, timeout: float | timedelta | EllipsisType | None = ...) -> bool: ...
    def time_left(self, key: str) -> float | None: ...
    def __contains__(self, key: str, /) -> bool: ...
    def clear(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def staleness(self) -> float: ...

# The companions are attributes of each decorated object. They take the function's own parameters (`_P`); so they do on a method,
# where a call takes those that are left (`_Q`): `person.look_up_friends()`, `person.look_up_friends.clear(person)`.

@type_check_only
class _Settable(NamedTuple, Generic[_R]):
    to: Callable[[_R], Any]

@type_check_only
class _AwaitableSettable(NamedTuple, Generic[_R]):
    to: Callable[[_R], Awaitable[Any]]

@type_check_only
class _ClearWith(Protocol[_P]):
    def __call__(
        self, wait: bool = False, strict: bool = False, settle: float = 0
    ) -> Callable[_P, Literal['applied', 'pending']]: ...

@type_check_only
class _AsyncClearWith(Protocol[_P]):
    def __call__(
        self, wait: bool = False, strict: bool = False, settle: float = 0
    ) -> Callable[_P, Awaitable[Literal['applied', 'pending']]]: ...

@type_check_only
class _Companions(Generic[_P, _R]):
    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, _R]
    prefix: str
    clear: Callable[_P, None]
    get_cache_key: Callable[_P, str]
    get_cached_value: Callable[_P, _R | EllipsisType]
    set_cached_value: Callable[_P, _Settable[_R]]
    refresh: Callable[_P, _R]
    clear_all: Callable[[], None]
    clear_with: _ClearWith[_P]
    clear_on_commit: Callable[_P, None]
    stats: Callable[[], Stats]
    explain: Callable[_P, Explanation]

@type_check_only
class _AsyncCompanions(Generic[_P, _R]):
    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, Coroutine[Any, Any, _R]]
    prefix: str
    clear: Callable[_P, Awaitable[None]]
    get_cache_key: Callable[_P, str]
    get_cached_value: Callable[_P, Awaitable[_R | EllipsisType]]
    set_cached_value: Callable[_P, _AwaitableSettable[_R]]
    refresh: Callable[_P, Coroutine[Any, Any, _R]]
    clear_all: Callable[[], Awaitable[None]]
    clear_with: _AsyncClearWith[_P]
    clear_on_commit: Callable[_P, Awaitable[None]]
    stats: Callable[[], Awaitable[Stats]]
    explain: Callable[_P, Awaitable[Explanation]]

@final
class CachedFunction(_Companions[_P, _R], Generic[_P, _R]):
    __code__: CodeType
    __defaults__: tuple[Any, ...] | None
    __kwdefaults__: dict[str, Any] | None
    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    # By the class: of a class method. mypy does not look at the type of the first parameter, and comes here always.
    @overload
    def __get__(
        self: CachedFunction[Concatenate[type[_S], _Q], _R], instance: None, owner: type[_S], /
    ) -> _CachedFunctionOfClass[_Q, _P, _R]: ...
    # By the class: of a method or a static method.
    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None, /) -> CachedFunction[_P, _R]: ...
    # By an object: of a method, of a class method, of a static method.
    @overload
    def __get__(
        self: CachedFunction[Concatenate[_S, _Q], _R], instance: _S, owner: type[Any] | None = None, /
    ) -> _BoundCachedFunction[_Q, _P, _R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[type[_S], _Q], _R], instance: _S, owner: type[Any] | None = None, /
    ) -> _BoundCachedFunction[_Q, _P, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> CachedFunction[_P, _R]: ...

@type_check_only
class _BoundCachedFunction(_Companions[_P, _R], Generic[_Q, _P, _R]):
    def __call__(self, /, *args: _Q.args, **kwargs: _Q.kwargs) -> _R: ...

@type_check_only
class _CachedFunctionOfClass(_Companions[_P, _R], Generic[_Q, _P, _R]):
    @overload
    def __call__(self, /, *args: _Q.args, **kwargs: _Q.kwargs) -> _R: ...
    @overload
    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...

@type_check_only
class _AsyncCachedFunction(_AsyncCompanions[_P, _R], Generic[_P, _R]):
    __code__: CodeType
    __defaults__: tuple[Any, ...] | None
    __kwdefaults__: dict[str, Any] | None
    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R]: ...
    # By the class: of a class method. mypy does not look at the type of the first parameter, and comes here always.
    @overload
    def __get__(
        self: _AsyncCachedFunction[Concatenate[type[_S], _Q], _R], instance: None, owner: type[_S], /
    ) -> _AsyncCachedFunctionOfClass[_Q, _P, _R]: ...
    # By the class: of a method or a static method.
    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None, /) -> _AsyncCachedFunction[_P, _R]: ...
    # By an object: of a method, of a class method, of a static method.
    @overload
    def __get__(
        self: _AsyncCachedFunction[Concatenate[_S, _Q], _R], instance: _S, owner: type[Any] | None = None, /
    ) -> _BoundAsyncCachedFunction[_Q, _P, _R]: ...
    @overload
    def __get__(
        self: _AsyncCachedFunction[Concatenate[type[_S], _Q], _R], instance: _S, owner: type[Any] | None = None, /
    ) -> _BoundAsyncCachedFunction[_Q, _P, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> _AsyncCachedFunction[_P, _R]: ...

@type_check_only
class _BoundAsyncCachedFunction(_AsyncCompanions[_P, _R], Generic[_Q, _P, _R]):
    def __call__(self, /, *args: _Q.args, **kwargs: _Q.kwargs) -> Coroutine[Any, Any, _R]: ...

@type_check_only
class _AsyncCachedFunctionOfClass(_AsyncCompanions[_P, _R], Generic[_Q, _P, _R]):
    @overload
    def __call__(self, /, *args: _Q.args, **kwargs: _Q.kwargs) -> Coroutine[Any, Any, _R]: ...
    @overload
    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R]: ...

@type_check_only
class _Decorator(Protocol):
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> _AsyncCachedFunction[_P, _R]: ...
    @overload
    def __call__(self, fn: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...

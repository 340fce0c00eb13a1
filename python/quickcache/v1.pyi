from collections.abc import Callable, Iterable
from typing import Any

from .cache_helpers import _Cache
from .quickcache_helper import QuickCacheHelper

class V1Function(QuickCacheHelper):
    keys: Any
    stale_timeout: float | None
    def __init__(
        self,
        fn: Callable[..., Any],
        vary_on: Iterable[str] | Callable[..., Iterable[Any]],
        cache: _Cache,
        skip_arg: str | Callable[..., object] | None = None,
        name: str | None = None,
        version: int | None = None,
        stale_timeout: float | None = None,
    ) -> None: ...
    def get_cache_key(self, /, *args: Any, **kwargs: Any) -> str: ...

def check_function(fn: object) -> None: ...

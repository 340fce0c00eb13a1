from typing import Any

from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT as DEFAULT_TIMEOUT,
    BaseCache,
    default_key_func as default_key_func,
)

class MemoryCache(BaseCache):
    def __init__(self, name: str, params: dict[str, Any]) -> None: ...

class StoreCache(BaseCache):
    def __init__(self, path: str, params: dict[str, Any]) -> None: ...

from typing import Any

from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT as DEFAULT_TIMEOUT,
    BaseCache,
    InvalidCacheBackendError as InvalidCacheBackendError,
    default_key_func as default_key_func,
)
from django.utils.encoding import force_bytes as force_bytes

class MemoryCache(BaseCache):
    def __init__(self, name: str, params: dict[str, Any]) -> None: ...

class _TierCache(BaseCache): ...

class StoreCache(_TierCache):
    def __init__(self, path: str, params: dict[str, Any]) -> None: ...

class RedisCache(_TierCache):
    def __init__(self, location: str | list[str], params: dict[str, Any]) -> None: ...

from collections.abc import Iterable
from datetime import timedelta
from os import PathLike

from .configuration import Configuration, _SkipArg, _VaryOn

def get_redis_quickcache(
    url: str | Iterable[str] = 'redis://localhost:6379/0',
    memoize_timeout: float | timedelta | None = 10,
    timeout: float | timedelta | None = 300,
    *,
    namespace: str = ...,
    budget: float | timedelta = ...,
    staleness: float | timedelta = ...,
    connections: int = ...,
    folder: str | PathLike[str] | None = ...,
    ca_file: str | PathLike[str] | None = ...,
    client_cert: tuple[str | PathLike[str], str | PathLike[str]] | None = ...,
    primary: str | None = ...,
    sentinel_password: str | None = ...,
    cluster: bool = ...,
    secret: bytes | Iterable[bytes] | None = ...,
    serve_while_unreachable: bool = ...,
    vary_on: _VaryOn = ...,
    skip_arg: _SkipArg = ...,
    version: int | None = ...,
    stale_timeout: float | timedelta | None = ...,
) -> Configuration: ...

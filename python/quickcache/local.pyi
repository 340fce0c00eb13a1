from datetime import timedelta
from os import PathLike

from .configuration import Configuration, _SkipArg, _VaryOn

def get_local_quickcache(
    memoize_timeout: float | timedelta | None = 10,
    timeout: float | timedelta | None = 300,
    path: str | PathLike[str] | None = None,
    *,
    max_bytes: int = 268435456,
    vary_on: _VaryOn = ...,
    skip_arg: _SkipArg = ...,
    version: int | None = ...,
    stale_timeout: float | timedelta | None = ...,
) -> Configuration: ...

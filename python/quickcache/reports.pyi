from dataclasses import dataclass
from typing import Any

@dataclass(frozen=True)
class Stats:
    memory_hits: int = 0
    store_hits: int = 0
    redis_hits: int = 0
    outer_hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    fills: int = 0
    refused_fills: int = 0
    executions: int = 0
    followers: int = 0
    skips: int = 0
    clears: int = 0
    pending_clears: int = 0
    unstored: int = 0
    rejected: int = 0
    compute_seconds: float = 0.0
    entries: int = 0
    bytes: int = 0
    redis_failures: int = 0
    redis_lag: float | None = None
    @classmethod
    def of(cls, helper: Any) -> Stats: ...
    @property
    def hits(self) -> int: ...
    @property
    def hit_ratio(self) -> float: ...

@dataclass(frozen=True)
class Explanation:
    key: str
    parts: tuple[Any, ...] = ()
    tier: str | None = None
    age: float | None = None
    time_left: float | None = None
    bytes: int | None = None
    last_miss: str | None = None
    stale: bool = False
    @classmethod
    def of(cls, helper: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explanation: ...

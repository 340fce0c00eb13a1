"""What `f.stats()` and `f.explain()` give."""
from dataclasses import dataclass
from typing import Optional

from . import _native


@dataclass(frozen=True)
class Stats:
    """Counters of one decorated function, since it was decorated, in this process."""
    #: Calls served by the memory tier.
    memory_hits: int = 0
    #: Calls served by the machine's store.
    store_hits: int = 0
    #: Calls served by a Redis.
    redis_hits: int = 0
    #: Calls served by the other tiers.
    outer_hits: int = 0
    #: Calls whose function raised, and that gave the last value: see `stale_timeout`. Each is no hit, and a miss besides.
    stale_hits: int = 0
    #: Calls that no tier served and that led an execution.
    misses: int = 0
    #: Values that were stored: of executions, and from the store in the memory tier.
    fills: int = 0
    #: Values that were returned and not stored: the key was cleared meanwhile, or they could not be stored.
    refused_fills: int = 0
    #: How often the function ran.
    executions: int = 0
    #: Calls that waited for another call's execution.
    followers: int = 0
    #: Calls that `skip_arg` sent past the cache.
    skips: int = 0
    #: Clears of single keys.
    clears: int = 0
    #: Clears that other processes were not told of, since the store could not be opened or the Redis could not be reached.
    pending_clears: int = 0
    #: Values that the store or the Redis did not take: without a form outside the process, too large, or the disk was full.
    unstored: int = 0
    #: Values there that were damaged or could not be read: each was a miss.
    rejected: int = 0
    #: Seconds spent in the function.
    compute_seconds: float = 0.0
    #: Entries of this function in the memory tier now.
    entries: int = 0
    #: What they weigh, in bytes.
    bytes: int = 0
    #: What went wrong with the Redis in this process, whichever function asked it.
    redis_failures: int = 0
    #: Seconds that a clear took lately to be heard of on this machine; None while nobody listens.
    redis_lag: Optional[float] = None

    @classmethod
    def of(cls, helper):
        return cls(**_native.stats(helper))

    @property
    def hits(self):
        return self.memory_hits + self.store_hits + self.redis_hits + self.outer_hits

    @property
    def hit_ratio(self):
        """Hits per call that asked the cache; 0.0 before the first one."""
        calls = self.hits + self.misses + self.followers
        return self.hits / calls if calls else 0.0


@dataclass(frozen=True)
class Explanation:
    """What is known of the key of one call."""
    #: The text key.
    key: str
    #: Its parts, one for each value that the call varies on.
    parts: tuple = ()
    #: The first tier that holds it: 'memory', 'store', 'redis', the class name of another tier, or None.
    tier: Optional[str] = None
    #: Seconds since its execution began; None where the tier does not know.
    age: Optional[float] = None
    #: Seconds until it expires; None where the tier does not know, or it never does.
    time_left: Optional[float] = None
    #: What it weighs in the memory tier.
    bytes: Optional[int] = None
    #: Why the memory tier of this process missed this key last, whether or not another tier had it: 'new', 'expired', 'cleared',
    #: 'refused' (computed and not stored), 'evicted'; None if it is not among the last 256, or its function raised.
    last_miss: Optional[str] = None
    #: Its time is over: a call runs the function, and gives this value if that raises. `time_left` says for how long yet.
    stale: bool = False

    @classmethod
    def of(cls, helper, args, kwargs):
        known = _native.explain(helper, args, kwargs)
        return cls(**known) if known else cls(key=helper.get_cache_key(*args, **kwargs))

"""A Redis: its options, and that it is an ordinary cache."""
from datetime import timedelta
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from quickcache import Memory, Redis, TieredCache, get_quickcache, get_redis_quickcache
from quickcache.configuration import Configuration

redis = Redis('redis://localhost:6379/0', timedelta(minutes=5), budget=.2, staleness=timedelta(seconds=1), secret=[b'new', b'old'])
Redis(['redis://one', 'redis://two'], cluster=True)
Redis(['redis://one', 'redis://two'], primary='mymaster', folder='/tmp/a', ca_file=None, connections=2, namespace='site',
      sentinel_password='word')
Redis('rediss://one', client_cert=('client.crt', Path('client.key')))
assert_type(redis.get('key'), Any | None)
assert_type(redis.get('key', 5), Any | int)
assert_type(redis.add('key', 1, None), bool)
assert_type(redis.delete('key'), bool)
assert_type(redis.time_left('key'), float | None)
assert_type(redis.staleness, float)

quickcache = get_quickcache(cache=TieredCache([Memory(timeout=10), redis]))
assert_type(get_redis_quickcache('redis://localhost', 10, None, namespace='site', secret=b'ours', version=2, stale_timeout=60,
                                 serve_while_unreachable=True), Configuration)


@get_redis_quickcache()(['n'])
def double(n: int) -> int:
    return 2 * n


assert_type(double.stats().redis_hits, int)
assert_type(double.stats().redis_lag, float | None)
assert_type(double.stats().stale_hits, int)
assert_type(double.explain(1).stale, bool)

Redis(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Redis(serve_while_unreachable=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Redis(secret='text')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Redis(client_cert='client.pem')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Redis(namespac='a')  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
get_redis_quickcache(max_bytes=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
redis.set(5, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

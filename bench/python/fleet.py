"""The Redis tier beside the clients and the caches that one would use instead, on a real server on loopback.

    python bench/python/fleet.py            exits with 1 when a bound is passed by more than ten per cent

Time of the wall: most of it is spent waiting. The memory tier is cold: each call goes to the server, and fills it where there
is one. The contestants take turns; medians are of paired samples.
"""
import asyncio
import contextlib
import itertools
import pickle
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sampling import all_that_run, compile_loop, interleave, ratio

from quickcache import Memory, Redis, TieredCache, get_quickcache

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
HOUR = 3600
TEXT = 'x' * 200
KEYS = 10_000
TASKS = 64
FAILED = []


def main():
    sys.path[:0] = [str(TOOLS), str(TOOLS / 'setup')]
    import servers
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(servers.redis()).url
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='bench-')))
        blocking(url, folder)
        asyncio.run(concurrent(url, folder))
    return bool(FAILED)


def bound(what, ours, theirs, most=None, least=None):
    """Of calls a second `least`, of times `most`."""
    r, q1, q3 = ratio(ours, theirs)
    over = r > most * 1.1 if most is not None else r < least / 1.1
    if over:
        FAILED.append(what)
    limit = f'at most {most:.3g}' if most is not None else f'at least {least:.3g}'
    print(f'  {what}: {r:.3g}  ({q1:.3g} - {q3:.3g})  bound: {limit}{"  OVER" if over else ""}')


def text_of(key):
    return TEXT


async def text_of_async(key):
    return TEXT


# ---- what both halves ask ----

def ours_bare(url, folder):
    return get_quickcache(cache=TieredCache([Redis(url, timeout=HOUR, folder=folder / 'bare')]))(['key'])


def ours_filling(url, folder):
    """Behind a memory tier that is too small for what is asked."""
    tiers = [Memory(timeout=HOUR, max_entries=16), Redis(url, timeout=HOUR, folder=folder / 'filling', namespace='filling')]
    return get_quickcache(cache=TieredCache(tiers))(['key'])


def client_without_hiredis(url):
    import redis
    from redis.connection import Connection
    try:
        from redis._parsers import _RESP2Parser as parser
    except ImportError:
        from redis.connection import PythonParser as parser
    pool = redis.ConnectionPool.from_url(url, connection_class=Connection, parser_class=parser, protocol=2)
    return redis.Redis(connection_pool=pool)


# ---- blocking ----

def blocking(url, folder):
    def client(of):
        value = pickle.dumps(TEXT)
        for key in range(KEYS):
            of.set(f'key-{key}', value, HOUR)
        get, loads = of.get, pickle.loads
        return lambda key: loads(get(f'key-{key}'))

    def hiredis():
        import redis
        from redis.connection import HIREDIS_AVAILABLE
        if not HIREDIS_AVAILABLE:
            raise ImportError('hiredis')
        return client(redis.Redis.from_url(url))

    def seed():
        from django.conf import settings
        from seed import load_seed
        if not settings.configured:
            settings.configure(CACHES={})
        from django_redis.cache import RedisCache
        return load_seed().get_quickcache(cache=RedisCache(url, {'TIMEOUT': HOUR}))(['key'])(text_of)

    def dogpile():
        from dogpile.cache import make_region
        region = make_region().configure('dogpile.cache.redis', expiration_time=HOUR, arguments={'url': url})
        return region.cache_on_arguments()(text_of)

    calls = all_that_run({
        'redis-py GET and loads': lambda: client(client_without_hiredis(url)),
        'redis-py with hiredis, GET and loads': hiredis,
        'quickcache-rs, Redis': lambda: ours_bare(url, folder)(text_of),
        'quickcache-rs, Memory (filling) and Redis': lambda: ours_filling(url, folder)(text_of),
        'quickcache 0.5.4 on django-redis': seed,
        'dogpile.cache.redis': dogpile,
    })
    keys = list(range(KEYS))
    random.Random(1).shuffle(keys)
    loops = {}
    for name, call in calls.items():
        for key in keys:
            call(key)
        loops[name] = compile_loop('f(next(keys))', {'f': call, 'keys': itertools.cycle(keys), 'next': next})
    print('\nA hit of the server, 200 bytes, one thread')
    base = 'redis-py GET and loads'
    got = interleave(loops, samples=41, seconds=0.01, clock=time.perf_counter_ns)
    for name, of in got.items():
        times, q1, q3 = ratio(of, got[base])
        print(f'  {name:44}{statistics.median(of) / 1000:9.1f} us   x {times:6.2f}   ({q1:.2f} - {q3:.2f})')
    for name in ('quickcache-rs, Redis', 'quickcache-rs, Memory (filling) and Redis'):
        bound(f'{name} / {base}', got[name], got[base], most=0.7)


# ---- asyncio ----

async def concurrent(url, folder):
    """Calls a second, of so many tasks at once."""
    def client():
        import redis.asyncio
        # As many connections as there are tasks: its own choice too, if it may make as many as it likes.
        of = redis.asyncio.Redis.from_url(url)
        loads = pickle.loads

        async def get(key):
            return loads(await of.get(f'key-{key}'))
        return get

    def cashews():
        from cashews import Cache
        cache = Cache()
        cache.setup(url)
        return cache(ttl=HOUR, key='text:{key}')(text_of_async)

    def aiocache():
        from urllib.parse import urlsplit

        from aiocache import Cache, cached
        from aiocache.serializers import PickleSerializer
        at = urlsplit(url)
        decorate = cached(ttl=HOUR, cache=Cache.REDIS, endpoint=at.hostname, port=at.port, serializer=PickleSerializer(),
                          key_builder=lambda function, key: f'aiocache-{key}')
        return decorate(text_of_async)

    calls = all_that_run({
        'redis.asyncio GET and loads': client,
        'quickcache-rs, Redis': lambda: ours_bare(url, folder)(text_of_async),
        'quickcache-rs, Memory (filling) and Redis': lambda: ours_filling(url, folder)(text_of_async),
        'cashews': cashews,
        'aiocache': aiocache,
    })

    async def rate(call, each, seed):
        async def task(number):
            some = random.Random(seed + number)
            for _ in range(each):
                await call(some.randrange(KEYS))
        begun = time.perf_counter()
        await asyncio.gather(*(task(number) for number in range(TASKS)))
        return TASKS * each / (time.perf_counter() - begun)

    for call in calls.values():
        for first in range(0, KEYS, TASKS):
            await asyncio.gather(*(call(key) for key in range(first, min(first + TASKS, KEYS))))
    got = {name: [] for name in calls}
    for sample in range(21):
        for name, call in calls.items():
            got[name].append(await rate(call, 10, sample * TASKS))
    base = 'redis.asyncio GET and loads'
    print(f'\nHits of the server, 200 bytes, asyncio, {TASKS} calls at once')
    for name, of in got.items():
        times, q1, q3 = ratio(of, got[base])
        print(f'  {name:44}{statistics.median(of):9.0f} calls/s   x {times:6.2f}   ({q1:.2f} - {q3:.2f})')
    for other in ('cashews', base):
        if other in got:
            bound(f'ours / {other}', got['quickcache-rs, Redis'], got[other], least=3)
            bound(f'ours, filling memory / {other}', got['quickcache-rs, Memory (filling) and Redis'], got[other], least=3)


if __name__ == '__main__':
    sys.exit(main())

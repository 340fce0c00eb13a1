"""One hit, ours and everybody's, in one process, interleaved: ns of CPU per call, and how many times ours that is.

    python bench/python/peers.py        exits with 1 when a bound is passed
"""
import asyncio
import functools
import sys
import tempfile
from pathlib import Path

from sampling import all_that_run, compile_loop, interleave, ratio

from quickcache import Memory, get_quickcache

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools' / 'setup'))


def body(a):
    return a


class Dictionary:
    """A user's own cache object, as cheap as one can be."""

    def __init__(self):
        self.store = {}

    def get(self, key, default=None):
        return self.store.get(key, default)

    def set(self, key, value):
        self.store[key] = value

    def delete(self, key):
        self.store.pop(key, None)


def peers():
    """{name: the cached function}; a peer that does not import is named and left out."""
    def fresh():
        return functools.wraps(body)(lambda a: a)

    def django():
        from django.conf import settings
        if not settings.configured:
            settings.configure(CACHES={'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}})
        from django.core.cache import cache
        cache.set('key', 1, 3600)
        return lambda a: cache.get('key')

    def dogpile():
        from dogpile.cache import make_region
        region = make_region().configure('dogpile.cache.memory', expiration_time=3600)
        return region.cache_on_arguments()(body)

    def cachetools():
        from cachetools import TTLCache, cached
        return cached(TTLCache(10_000, 3600))(fresh())

    def cachebox():
        from cachebox import TTLCache, cached
        return cached(TTLCache(10_000, 3600))(fresh())

    def theine():
        from datetime import timedelta

        from theine import Memoize
        return Memoize(10_000, timedelta(hours=1))(fresh())

    def diskcache():
        import diskcache
        return diskcache.Cache(tempfile.mkdtemp(prefix='bench-')).memoize(expire=3600)(body)

    def seed():
        from seed import load_seed
        return load_seed().get_quickcache(cache=Dictionary())(['a'])(body)

    makers = {
        'quickcache-rs, Memory': lambda: get_quickcache(cache=Memory(timeout=3600))(['a'])(body),
        'quickcache-rs, a dict': lambda: get_quickcache(cache=Dictionary())(['a'])(body),
        'lru_cache': lambda: functools.lru_cache(None)(fresh()),
        'cachetools TTL': cachetools,
        'cachebox TTL': cachebox,
        'theine': theine,
        'dogpile memory': dogpile,
        'Django locmem get': django,
        'diskcache memoize': diskcache,
        'quickcache 0.5.4, a dict': seed,
    }
    return all_that_run(makers)


def table(title, loops, base, samples=41):
    """{name: [sample, ...]}, printed as medians with how many times `base` they take."""
    print(f'\n{title}')
    got = interleave(loops, samples=samples)
    for name, samples_of in got.items():
        times, q1, q3 = ratio(samples_of, got[base])
        median = sorted(samples_of)[len(samples_of) // 2]
        print(f'  {name:28}{median:12.1f} ns   x {times:8.2f}   ({q1:.2f} - {q3:.2f})')
    return got


def bound(what, ours, theirs, most=None, least=None):
    """Prints a ratio beside its bound; whether it is over."""
    r, q1, q3 = ratio(ours, theirs)
    over = r > most if most is not None else r < least
    limit = f'at most {most:.3g}' if most is not None else f'at least {least:.3g}'
    print(f'  {what}: {r:.3g}  ({q1:.3g} - {q3:.3g})  bound: {limit}{"  OVER" if over else ""}')
    return over


def asynchronous():
    """Loops that await, each in the same event loop; a peer that has only coroutine functions stands beside ours here."""
    event_loop = asyncio.new_event_loop()

    @get_quickcache(cache=Memory(timeout=3600))(['a'])
    async def ours(a):
        return a

    async def plain(a):
        return a

    def cashews():
        from cashews import Cache
        cache = Cache()
        cache.setup('mem://', size=10_000, check_interval=3600)
        return cache(ttl=3600)(plain)

    sync = get_quickcache(cache=Memory(timeout=3600))(['a'])(body)
    calls = {'await a coroutine': ('await f(1)', plain), 'a hit, not awaited': ('f(1)', sync),
             'await a hit': ('await f(1)', ours)}
    try:
        calls['await a hit, cashews'] = ('await f(1)', cashews())
    except Exception as error:  # as in `peers`
        print(f'cashews: left out: {type(error).__name__}: {error}')

    async def must_not_suspend():
        await ours(1)
    event_loop.run_until_complete(must_not_suspend())
    try:
        must_not_suspend().send(None)
    except StopIteration:
        pass
    else:
        raise RuntimeError('a hit must not suspend')

    loops = {}
    for name, (call, f) in calls.items():
        scope = {}
        exec('def make(f):\n    async def loop(n):\n        for _ in range(n):\n            ' + '; '.join([call] * 10)
             + '\n    return loop', scope)
        loop = scope['make'](f)
        loops[name] = lambda n, loop=loop: event_loop.run_until_complete(loop(n))
        loops[name](1)
    return loops


def main():
    failed = False
    cached = peers()
    for f in cached.values():
        f(12345)
    loops = {name: compile_loop('f(x)', dict(f=f, x=12345)) for name, f in cached.items()}
    backend = Dictionary()
    backend.set('key', 1)
    loops['the dict alone'] = compile_loop('g("key", default=...)', dict(g=backend.get))
    got = table('A hit on one int', loops, 'quickcache-rs, Memory')
    seed = got.get('quickcache 0.5.4, a dict')
    if seed:
        def own(name):
            return [a - b for a, b in zip(got[name], got['the dict alone'], strict=True)]
        failed |= bound('0.5.4 / ours', seed, got['quickcache-rs, Memory'], least=350)
        failed |= bound("over a user's cache, backend excluded: ours / 0.5.4",
                        own('quickcache-rs, a dict'), own('quickcache 0.5.4, a dict'), most=1 / 8)
    got = table('asyncio', asynchronous(), 'await a coroutine')
    parts = [a + b for a, b in zip(got['a hit, not awaited'], got['await a coroutine'], strict=True)]
    failed |= bound('await a hit / (a hit, not awaited + await a coroutine)', got['await a hit'], parts, most=3)
    return failed


if __name__ == '__main__':
    sys.exit(main())

"""One hit, ours and everybody's, in one process, interleaved: ns of CPU per call, and how many times ours that is."""
import asyncio
import functools
import sys
import tempfile
from pathlib import Path

from sampling import compile_loop, interleave, ratio

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
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except Exception as error:  # a peer that cannot run here is a fact to print, not the end of the bench
            print(f'{name}: left out: {type(error).__name__}: {error}')
    return made


def table(title, loops, base, samples=41):
    print(f'\n{title}')
    got = interleave(loops, samples=samples)
    for name, samples_of in got.items():
        times, q1, q3 = ratio(samples_of, got[base])
        median = sorted(samples_of)[len(samples_of) // 2]
        print(f'  {name:28}{median:12.1f} ns   x {times:8.2f}   ({q1:.2f} - {q3:.2f})')
    return {name: sorted(s)[len(s) // 2] for name, s in got.items()}


async def asynchronous():
    @get_quickcache(cache=Memory(timeout=3600))(['a'])
    async def ours(a):
        return a

    async def plain(a):
        return a

    await ours(1)
    loops = {}
    for name, f in {'await a coroutine': plain, 'await a hit': ours}.items():
        scope = {}
        exec('def make(f):\n    async def loop(n):\n        for _ in range(n):\n            ' + '; '.join(['await f(1)'] * 10)
             + '\n    return loop', scope)
        loop = scope['make'](f)
        loops[name] = lambda n, loop=loop: loop(n).send(None) if n == 0 else _run(loop, n)
    return loops


def _run(loop, n):
    try:
        loop(n).send(None)
    except StopIteration:
        return
    raise RuntimeError('a hit must not suspend')


def main():
    cached = peers()
    for f in cached.values():
        f(12345)
    loops = {name: compile_loop('f(x)', dict(f=f, x=12345)) for name, f in cached.items()}
    medians = table('A hit on one int', loops, 'quickcache-rs, Memory')
    if 'quickcache 0.5.4, a dict' in medians:
        backend = Dictionary()
        backend.set('key', 1)
        own = table('The backend alone', {'dict get': compile_loop('g("key", default=...)', dict(g=backend.get))}, 'dict get')
        ours = medians['quickcache-rs, a dict'] - own['dict get']
        theirs = medians['quickcache 0.5.4, a dict'] - own['dict get']
        print(f"  own time over a user's cache: 1/{theirs / ours:.1f} of 0.5.4's")
    table('asyncio', asyncio.run(asynchronous()), 'await a coroutine')


if __name__ == '__main__':
    main()

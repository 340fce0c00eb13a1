"""How long a store keeps asyncio's loop from turning: gaps between turns while an async function fills it, and what a hit takes.

    python bench/python/loop.py

There is no bound here: what else runs on the machine is in these figures too. The first call of a process also imports what async
calls need.
"""
import asyncio
import os
import random
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from quickcache import get_local_quickcache

SIZES = {200: 20_000, 100_000: 2_000}


async def gaps(work):
    """Microseconds between two turns of the loop while `work` runs, in order of length."""
    found, last, over = [], time.perf_counter(), False

    async def ticker():
        nonlocal last
        while not over:
            await asyncio.sleep(0)
            now = time.perf_counter()
            found.append((now - last) * 1e6)
            last = now
    ticking = asyncio.create_task(ticker())
    await work
    over = True
    await ticking
    return sorted(found)


def show(name, found):
    at = len(found)
    print(f'  {name:28} {found[at // 2]:8.1f} {found[at * 999 // 1000]:8.1f} {found[-1]:9.1f}')


async def measure(size, calls, folder):
    async def text(a):
        await asyncio.sleep(0)
        return 'x' * size
    # The memory tier has forgotten a value by the next round.
    stored = get_local_quickcache(path=folder, memoize_timeout=0.005)(['a'], name='text', version=1)(text)

    async def round_of(f, n):
        for a in range(n):
            await f(a)
    print(f'values of {size:,} bytes           p50 us    p99.9   longest')
    show('no cache', await gaps(round_of(text, calls)))
    show('the first call', await gaps(round_of(stored, 1)))
    show('calls that fill', await gaps(round_of(stored, calls)))
    before, taken = (await stored.stats()).store_hits, []
    for a in range(calls):
        start = time.perf_counter()
        await stored(a)
        taken.append((time.perf_counter() - start) * 1e6)
    show('hits of the store, each', sorted(taken))
    assert (await stored.stats()).store_hits - before > calls // 2, 'these were to be hits of the store'


def noise(a):
    return random.Random(a).randbytes(100_000)


def stored_noise(folder):
    return get_local_quickcache(path=folder)(['a'], name='noise', version=1)


def fill(folder, calls):
    f = stored_noise(folder)(noise)
    for a in range(calls):
        f(a)


async def measure_disk(calls, folder):
    """Values that another process has stored, and that are in nobody's memory."""
    @stored_noise(folder)
    async def f(a):
        raise AssertionError('it is not in the store')
    f.clear(0)
    filling = get_context('spawn').Process(target=fill, args=(folder, calls))
    filling.start()
    filling.join()
    with open(folder / 'values-1', 'rb') as values:
        os.fsync(values.fileno())
        os.posix_fadvise(values.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    async def in_no_order():
        for a in random.sample(range(calls), calls):
            await f(a)
            # A hit of what is in memory is awaited without a turn of the loop.
            await asyncio.sleep(0)
    # The first call is told of above.
    await f(0)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
    show('hits that the disk is read for', await gaps(in_no_order()))
    waits = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt - before
    print(f'  (the loop itself waited for the disk {waits} times)')


def main():
    for size, calls in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(size, calls, Path(folder) / 'store'))
    if hasattr(os, 'posix_fadvise'):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure_disk(1_000, Path(folder) / 'store'))


if __name__ == '__main__':
    main()

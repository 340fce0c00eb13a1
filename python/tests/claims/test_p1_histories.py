"""P1 over histories of many threads and tasks, checked by a floor.

A writer changes the source, clears, and only then raises the floor to its value. A reader notes the floor, calls, and must
not get less: whatever was computed before the clear is below it.
"""
import asyncio
import threading
import time

from .tools import Gate, UserCache, cached, eager_switching, every_cache, in_child, some_caches, start

KEYS = (1, 2)
ENOUGH = 100


class History:
    def __init__(self):
        self.source = dict.fromkeys(KEYS, 0)
        self.floor = dict.fromkeys(KEYS, 0)
        self.lock = threading.Lock()
        self.writers = 0
        self.checked = 0
        # Whether the cache has served anything yet: without that a history shows nothing.
        self.served = lambda: True
        self.stale = []

    def write(self, f, key):
        with self.lock:
            self.source[key] += 1
            version = self.source[key]
        f.clear(key)
        self.wrote(key, version)

    def wrote(self, key, version):
        with self.lock:
            self.floor[key] = max(self.floor[key], version)

    def check(self, key, floor, got):
        self.checked += 1
        if got < floor:
            self.stale.append((key, floor, got))

    def turns(self, count):
        """At least `count`, and on until the readers, who may get little of a busy machine, have checked enough and been served."""
        n = 0
        while n < count or (self.checked <= ENOUGH or not self.served()) and n < 1_000_000:
            yield n
            n += 1

    def write_all(self, f, count):
        for n in self.turns(count):
            self.write(f, KEYS[n % len(KEYS)])
            # Let the readers have their turn with what is there now.
            time.sleep(0)
        self.writers -= 1

    def read_all(self, f):
        while self.writers:
            for key in KEYS:
                floor = self.floor[key]
                self.check(key, floor, f(key))

    async def read_all_async(self, f):
        while self.writers:
            for key in KEYS:
                floor = self.floor[key]
                self.check(key, floor, await f(key))
                await asyncio.sleep(0)

    async def write_all_async(self, f, count):
        for n in self.turns(count):
            key = KEYS[n % len(KEYS)]
            with self.lock:
                self.source[key] += 1
                version = self.source[key]
            await f.clear(key)
            self.wrote(key, version)
            await asyncio.sleep(0)
        self.writers -= 1

    def verdict(self):
        assert not self.stale, f'{len(self.stale)} of {self.checked} reads were stale: (key, floor, got) {self.stale[:5]}'
        assert self.checked > ENOUGH


def yielding_user_cache():
    """A user's cache whose every step lets another thread in."""
    cache = UserCache()
    cache.before_set = cache.after_get = cache.before_delete = lambda: time.sleep(0)
    return cache


def functions(history, cache):
    @cached(cache)
    def f(key):
        value = history.source[key]
        time.sleep(0)
        return value

    @cached(cache)
    async def g(key):
        value = history.source[key]
        await asyncio.sleep(0)
        return value
    return f, g


def run_threads(history, f, count, readers=3, writers=2):
    history.writers = writers
    with eager_switching():
        threads = [start(history.write_all, f, count) for _ in range(writers)]
        threads += [start(history.read_all, f) for _ in range(readers)]
        for thread in threads:
            thread.result()


@every_cache
def test_threads(make_cache):
    history = History()
    f, _ = functions(history, make_cache())
    history.served = lambda: f.stats().hits > 0
    run_threads(history, f, 300)
    history.verdict()
    assert f.stats().hits > 0, 'nothing was ever served from the cache: the history shows nothing'


def test_threads_over_a_cache_that_lets_others_in():
    history = History()
    f, _ = functions(history, yielding_user_cache())
    run_threads(history, f, 300)
    history.verdict()


@some_caches('memory', 'user', 'memory+user')
def test_tasks(make_cache):
    history = History()
    _, g = functions(history, make_cache())

    async def main():
        history.writers = 2
        await asyncio.gather(*[history.write_all_async(g, 1000) for _ in range(2)],
                             *[history.read_all_async(g) for _ in range(4)])
    asyncio.run(main())
    history.verdict()


@some_caches('memory', 'user', 'memory+user')
def test_threads_and_the_loops_of_two_threads_mixed(make_cache):
    """One coroutine function, called on two loops, cleared from a thread besides; and clears from inside a loop."""
    history = History()
    _, g = functions(history, make_cache())
    history.writers = 2

    async def readers():
        await asyncio.gather(*[history.read_all_async(g) for _ in range(2)])

    async def readers_and_writer():
        await asyncio.gather(readers(), history.write_all_async(g, 200))

    with eager_switching():
        threads = [start(asyncio.run, readers()), start(asyncio.run, readers_and_writer()),
                   start(history.write_all, g, 200)]
        for thread in threads:
            thread.result()
    history.verdict()


@some_caches('memory', 'user', 'memory+user')
def test_threads_of_a_forked_child(make_cache):
    history = History()
    f, _ = functions(history, make_cache())
    history.writers = 1
    reading = start(history.read_all, f)

    def check():
        history.lock = threading.Lock()
        run_threads(history, f, 100)
        history.verdict()
    in_child(check)
    history.writers = 0
    reading.result()


@some_caches('memory', 'user', 'memory+user')
def test_refreshes_among_clears(make_cache):
    history = History()
    f, _ = functions(history, make_cache())

    def refreshing():
        while history.writers:
            for key in KEYS:
                f.refresh(key)
    history.writers = 2
    with eager_switching():
        threads = [start(history.write_all, f, 300) for _ in range(2)]
        threads += [start(history.read_all, f), start(refreshing)]
        for thread in threads:
            thread.result()
    history.verdict()


def test_the_checker_can_fail():
    """A cache without the protocol loses: get and set by hand, with a clear between what was read and its store."""
    history, store, gate = History(), {}, Gate()
    key = KEYS[0]

    def f(key):
        value = store.get(key)
        if value is None:
            value = history.source[key]
            gate()
            store[key] = value
        return value
    f.clear = lambda key: store.pop(key, None)
    reader = start(f, key)
    gate.reached()
    history.write(f, key)
    gate.open()
    reader.result()
    history.check(key, history.floor[key], f(key))
    assert history.stale == [(key, 1, 0)]

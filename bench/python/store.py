"""The machine's store: hits, fills and clears, ours and everybody's, interleaved; and several processes on one store.

    python bench/python/store.py            exits with 1 when a bound is passed by more than ten per cent
    python bench/python/store.py clears     that part only

CPU time of the thread; beside a server, which one waits for, time of the wall. Folders are made where the platform
keeps temporary files; `TMPDIR` says otherwise.
"""
import contextlib
import itertools
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

from sampling import all_that_run, compile_loop, interleave, ratio

from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
HOUR = 3600
TEXT = 'x' * 200
POST = {'id': 12345, 'title': 'The one about caches', 'author': 'somebody', 'tags': ['python', 'rust', 'cache'],
        'body': 'It was found to be right, and then to be fast.', 'views': 1024, 'rating': 4.5, 'published': True}
KEYS = 10_000
FAILED = []


def main():
    with tempfile.TemporaryDirectory(prefix='bench-') as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        if 'clears' in sys.argv[1:]:
            clears(folder)
            return bool(FAILED)
        coherence(folder)
        peers = make_peers(folder, stack)
        hits(folder, peers)
        fills(folder, peers)
        clears(folder)
        processes(folder)
    return bool(FAILED)


def bound(what, ours, theirs, most):
    r, q1, q3 = ratio(ours, theirs)
    over = r > most * 1.1
    if over:
        FAILED.append(what)
    print(f'  {what}: {r:.3g}  ({q1:.3g} - {q3:.3g})  bound: {most:.3g}{"  OVER" if over else ""}')


def table(title, loops, base, samples=41, seconds=0.002, clock=time.thread_time_ns):
    print(f'\n{title}')
    got = interleave(loops, samples=samples, seconds=seconds, clock=clock)
    for name, of in got.items():
        times, q1, q3 = ratio(of, got[base])
        print(f'  {name:44}{median(of):12.1f} ns   x {times:8.2f}   ({q1:.2f} - {q3:.2f})')
    return got


def median(values):
    return sorted(values)[len(values) // 2]


# ---- a hit in memory, with a store behind it ----

def coherence(folder):
    """The same hit over `Memory` alone and over `Memory` with a store behind it."""
    def one(a):
        return a

    def two(a, b):
        return a

    stacks = {'Memory': get_quickcache(cache=Memory(timeout=HOUR)),
              'and a Store': get_quickcache(cache=TieredCache([Memory(timeout=HOUR), Store(folder / 'ours', HOUR)]))}
    text = 'a string of 26 characters!'
    calls = {'int': ('f(x)', ['a'], one, dict(x=12345)), 'str': ('f(x)', ['a'], one, dict(x=text)),
             'two arguments': ('f(a, b)', ['a', 'b'], two, dict(a=1, b='two'))}
    loops = {}
    for (name, (call, vary_on, fn, given)), (tiers, qc) in itertools.product(calls.items(), stacks.items()):
        loops[f'{name}, {tiers}'] = compile_loop(call, dict(f=qc(vary_on)(fn), **given))
    got = table('A hit in memory, and the same with a store behind it', loops, 'int, Memory', 101)
    for name in calls:
        bound(name, got[f'{name}, and a Store'], got[f'{name}, Memory'], 1.15)


# ---- hits and fills of the store, beside peers ----

class Sqlite:
    """A plain table: what one writes who wants no library."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None)
        for statement in ('PRAGMA journal_mode = WAL', 'PRAGMA synchronous = NORMAL',
                          'CREATE TABLE cache (key TEXT PRIMARY KEY, value BLOB, expires REAL) WITHOUT ROWID'):
            self.connection.execute(statement)

    def get(self, key):
        row = self.connection.execute('SELECT value, expires FROM cache WHERE key = ?', (key,)).fetchone()
        return pickle.loads(row[0]) if row and row[1] > time.time() else None

    def set(self, key, value, timeout):
        self.connection.execute('INSERT OR REPLACE INTO cache VALUES (?, ?, ?)',
                                (key, pickle.dumps(value, pickle.HIGHEST_PROTOCOL), time.time() + timeout))


def make_peers(folder, stack):
    """{name: (get(key), set(key, value))}; a peer that cannot run here is named and left out."""
    def diskcache():
        import diskcache
        cache = stack.enter_context(diskcache.Cache(str(folder / 'diskcache')))
        return cache.get, lambda key, value: cache.set(key, value, HOUR)

    def redis():
        import redis
        from redis.connection import Connection
        try:
            from redis._parsers import _RESP2Parser as parser
        except ImportError:
            from redis.connection import PythonParser as parser
        pool = redis.ConnectionPool.from_url(server().url, connection_class=Connection, parser_class=parser, protocol=2)
        client = redis.Redis(connection_pool=pool)
        return client.get, lambda key, value: client.set(key, value, HOUR)

    def hiredis():
        import redis
        from redis.connection import HIREDIS_AVAILABLE
        if not HIREDIS_AVAILABLE:
            raise ImportError('hiredis')
        client = redis.Redis.from_url(server().url)
        return client.get, lambda key, value: client.set(key, value, HOUR)

    @contextlib.contextmanager
    def one_server():
        sys.path.insert(0, str(TOOLS))
        import servers
        with servers.redis() as running:
            yield running

    started = []

    def server():
        if not started:
            started.append(stack.enter_context(one_server()))
        return started[0]

    def django(backend, location):
        from django.conf import settings
        if not settings.configured:
            settings.configure(CACHES={})
        cache = getattr(__import__(backend.rpartition('.')[0], fromlist=['x']), backend.rpartition('.')[2])(location, {})
        return cache.get, lambda key, value: cache.set(key, value, HOUR)

    def sqlite():
        cache = Sqlite(folder / 'plain.sqlite')
        stack.callback(cache.connection.close)
        return cache.get, lambda key, value: cache.set(key, value, HOUR)

    makers = {
        'diskcache': diskcache,
        'redis-py': redis,
        'redis-py with hiredis': hiredis,
        'django-redis': lambda: django('django_redis.cache.RedisCache', server().url),
        'SQLite, a plain table, WAL': sqlite,
        "Django's FileBasedCache": lambda: django('django.core.cache.backends.filebased.FileBasedCache', str(folder / 'files')),
        'quickcache-rs, Store': lambda: own(Store(folder / 'ours', HOUR)),
        'quickcache-rs, StoreCache of Django': lambda: django('quickcache.django_backends.StoreCache', str(folder / 'ours')),
    }

    def own(store):
        return store.get, store.set
    return all_that_run(makers)


def text_of(a):
    return TEXT


def post_of(a):
    return dict(POST)


def round_and_round(f):
    """A loop over all keys in turn."""
    return compile_loop('f(next(keys))', dict(f=f, keys=itertools.cycle(range(KEYS)), next=next))


def of_one_key(f, key=12345):
    return compile_loop('f(key)', dict(f=f, key=key))


def hits(folder, peers):
    def store_only(timeout=HOUR):
        return get_quickcache(cache=TieredCache([Store(folder / 'ours', timeout)]))

    # A memory tier whose entries have expired when their turn comes again.
    cold = get_local_quickcache(memoize_timeout=0.01, timeout=HOUR, path=folder / 'ours')
    behind = cold(['a'])(text_of)
    loops = {'quickcache-rs, store only, str': of_one_key(store_only()(['a'])(text_of)),
             'quickcache-rs, store only, dict': of_one_key(store_only()(['a'])(post_of)),
             'quickcache-rs, memory expired, 10,000 keys': round_and_round(behind)}
    for key in range(KEYS):
        behind(key)
    before = behind.stats()
    try:
        import diskcache
        memoize = diskcache.Cache(str(folder / 'memoize')).memoize(expire=HOUR)
        loops['diskcache memoize, str'] = of_one_key(memoize(text_of))
        loops['diskcache memoize, dict'] = of_one_key(memoize(post_of))
    except ImportError as error:
        print(f'diskcache memoize: left out: {error}')
    at_servers = {}
    for name, (get, set) in peers.items():
        set('key', TEXT)
        assert get('key') in (TEXT, TEXT.encode()), name
        (at_servers if 'redis' in name else loops)[f'{name} get'] = of_one_key(get, 'key')
    ours = 'quickcache-rs, store only, '
    got = table('A hit of the store, 200 bytes', loops, ours + 'str')
    after = behind.stats()
    share = (after.store_hits - before.store_hits) / (after.hits - before.hits)
    print(f'  (of the calls with memory expired {share:.0%} were hits of the store)')
    for of in ('str', 'dict'):
        if f'diskcache memoize, {of}' in got:
            bound(f'ours / diskcache memoize, {of}', got[ours + of], got[f'diskcache memoize, {of}'], 1 / 8)
    if at_servers:
        beside = {ours + 'str': loops[ours + 'str'], **at_servers}
        got = table('Beside a server, time of the wall', beside, ours + 'str', clock=time.perf_counter_ns)
        if 'redis-py get' in got:
            bound('ours / redis-py GET', got[ours + 'str'], got['redis-py get'], 1 / 15)


def fills(folder, peers):
    new = itertools.count()
    fill = get_quickcache(cache=TieredCache([Store(folder / 'ours', HOUR)]))(['a'])(text_of)
    loops = {'quickcache-rs, a call that fills': compile_loop('f(next(new))', dict(f=fill, new=new, next=next))}
    for name, (_, set) in peers.items():
        if 'redis' in name:
            continue
        call = 'set("key-%d" % next(new), value)'
        loops[f'{name} set'] = compile_loop(call, dict(set=set, new=new, value=TEXT, next=next))
    got = table('A fill, 200 bytes, keys that are new', loops, 'quickcache-rs, a call that fills', seconds=0.004)
    if 'diskcache set' in got:
        bound('ours / diskcache set', got['quickcache-rs, a call that fills'], got['diskcache set'], 1 / 3)


def clears(folder):
    def one(a):
        return a

    memory, tiered = Memory(timeout=HOUR), TieredCache([Memory(timeout=HOUR), Store(folder / 'ours', HOUR)])
    local = get_local_quickcache(path=folder / 'ours')
    loops = {}
    for name, qc in {'Memory': get_quickcache(cache=memory), 'Memory, Store': get_quickcache(cache=tiered),
                     'get_local_quickcache': local}.items():
        f = qc(['a'])(one)
        f(1)
        loops[f'f.clear(x), {name}'] = compile_loop('clear(x)', dict(clear=f.clear, x=1))
    got = table('A clear', loops, 'f.clear(x), Memory')
    for name in ('Memory, Store', 'get_local_quickcache'):
        taken = median(got[f'f.clear(x), {name}'])
        over = taken > 600 * 1.1
        if over:
            FAILED.append(name)
        print(f'  {name}: {taken:.0f} ns  bound: 600{"  OVER" if over else ""}')


# ---- several processes ----

SECONDS = 0.5


def worker(system, folder, writes, seed):
    """Calls for half a second, over keys at random; writes one time in `100 / writes`. Sends its latencies to who started it."""
    if system == 'ours':
        f = get_quickcache(cache=TieredCache([Store(Path(folder) / 'many', HOUR)]))(['a'])(text_of)

        def write(key):
            f.set_cached_value(key).to(TEXT)
    else:
        import diskcache
        cache = diskcache.Cache(str(Path(folder) / 'many-diskcache'))
        f = cache.memoize(expire=HOUR)(text_of)

        def write(key):
            cache.set(f.__cache_key__(key), TEXT, HOUR)
    choose = random.Random(seed)
    keys = [choose.randrange(KEYS) for _ in range(4096)]
    chosen = [(write if choose.randrange(100) < writes else f, key) for key in keys]
    f(0)
    sys.stdout.buffer.write(b'r')
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read(1)
    samples = array('Q')
    add, clock = samples.append, time.perf_counter_ns
    end = clock() + int(SECONDS * 1e9)
    now = clock()
    for call, key in itertools.cycle(chosen):
        call(key)
        then, now = now, clock()
        add(now - then)
        if now > end:
            break
    sys.stdout.buffer.write(samples.tobytes())


def processes(folder):
    print(f'\nSeveral processes on one store: {KEYS} keys, 200 bytes, {os.cpu_count()} cores')
    print(f'  {"":12}{"processes":>10}{"writes":>8}{"calls/s":>12}   of one   {"p50 us":>8}{"p99":>9}{"p99.9":>9}{"longest":>10}')
    for system in ('ours', 'diskcache'):
        try:
            fill_for_workers(system, folder)
        except ImportError as error:
            print(f'{system}: left out: {error}')
            continue
        for writes in (0, 10):
            alone = None
            for count in (1, 2, 4, 8):
                samples = together(system, folder, writes, count)
                rate = len(samples) / SECONDS
                alone = alone or rate
                at = [samples[min(int(len(samples) * share), len(samples) - 1)] / 1e3 for share in (.5, .99, .999, 1)]
                print(f'  {system:12}{count:10}{writes:7}%{rate:12,.0f}{rate / alone:9.2f}   '
                      f'{at[0]:8.2f}{at[1]:9.1f}{at[2]:9.0f}{at[3]:10.0f}', flush=True)


def fill_for_workers(system, folder):
    if system == 'ours':
        f = get_quickcache(cache=TieredCache([Store(folder / 'many', HOUR)]))(['a'])(text_of)
    else:
        import diskcache
        f = diskcache.Cache(str(folder / 'many-diskcache')).memoize(expire=HOUR)(text_of)
    for key in range(KEYS):
        f(key)


def together(system, folder, writes, count):
    """The latencies of all of them, sorted."""
    command = [sys.executable, __file__, 'worker', system, str(folder), str(writes)]
    workers = [subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for seed in range(count)]
    for each in workers:
        each.stdout.read(1)
    for each in workers:
        each.stdin.write(b'g')
        each.stdin.flush()
    samples = array('Q')
    for each in workers:
        samples.frombytes(each.stdout.read())
        if each.wait():
            raise RuntimeError(f'a worker of {system} ended with {each.returncode}')
    return sorted(samples)


if __name__ == '__main__':
    if sys.argv[1:2] == ['worker']:
        system, folder, writes, seed = sys.argv[2:]
        worker(system, folder, int(writes), int(seed))
    else:
        sys.exit(main())

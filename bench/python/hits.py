"""A hit, by the kind of key: ours against functools.lru_cache on the same call, interleaved in one process.

The last column: the same function with keys of scheme v1, as a ratio to ours with keys of scheme seed.

    python bench/python/hits.py        exits with 1 when a ratio is over its bound by more than ten per cent
"""
import functools
import sys
import sysconfig

from sampling import compile_loop, interleave, ratio

from quickcache import Memory, get_quickcache
from quickcache.quickcache import decorate
from quickcache.v1 import V1Function

MEMORY = Memory(timeout=3600)

# A hit by v1 in terms of one by seed.
V1_BOUND = 1.0
# Bounds for a plain build and for one with profile-guided optimisation.
BOUNDS = {
    'int': (.50, .70),
    'str': (.48, .70),
    'str, equal copy': (.52, .80),
    'person.id': (.50, .70),
    'f(a, b=b)': (.16, .31),
    'no argument': (.65, .67),
    'method': (.35, .55),
}


class Person:
    def __init__(self, id):
        self.id = id

    def __hash__(self):
        return hash(self.id)

    def __eq__(self, other):
        return self.id == other.id


def seed(vary_on):
    return get_quickcache(cache=MEMORY)(vary_on)


def v1(vary_on):
    return lambda fn: decorate(fn, V1Function(fn, vary_on, MEMORY))


def cases(qc):
    """{name: (call, our names, their names)}, ours decorated by `qc`"""
    lru = functools.lru_cache(None)

    def one(a):
        return a

    def two(a, b):
        return a

    def none():
        return 1

    def by_id(p):
        return p.id

    class Ours:
        @qc(['x'])
        def m(self, x):
            return x

    class Theirs:
        @lru
        def m(self, x):
            return x

    def pair(vary_on, fn, their=None):
        return qc(vary_on)(fn), lru(their or fn)

    f1, g1 = pair(['a'], one)
    f2, g2 = pair(['a', 'b'], two)
    f0, g0 = pair([], none)
    fp, gp = pair(['p.id'], by_id, lambda id: id)
    text = 'a string of 26 characters!'
    copy = ''.join(list(text))
    hash(copy)
    person = Person(12345)
    f1(text), g1(text)
    return {
        'int': ('f(x)', dict(f=f1, x=12345), dict(f=g1, x=12345)),
        'str': ('f(x)', dict(f=f1, x=text), dict(f=g1, x=text)),
        'str, equal copy': ('f(x)', dict(f=f1, x=copy), dict(f=g1, x=copy)),
        'person.id': (('f(p)', 'f(p.id)'), dict(f=fp, p=person), dict(f=gp, p=person)),
        'f(a, b=b)': ('f(a, b=b)', dict(f=f2, a=1, b='two'), dict(f=g2, a=1, b='two')),
        'no argument': ('f()', dict(f=f0), dict(f=g0)),
        'method': ('o.m(x)', dict(o=Ours(), x=7), dict(o=Theirs(), x=7)),
    }


def pgo():
    # Debian builds its own with profiles, by its packaging and not by the option.
    return sys.base_prefix == '/usr' or '--enable-optimizations' in (sysconfig.get_config_var('CONFIG_ARGS') or '')


def main():
    print(f'CPython {sys.version.split()[0]}, {"PGO" if pgo() else "plain"} build')
    print(f'{"":18}{"ours ns":>9}{"lru ns":>9}{"ratio":>8}  quartiles    bound   v1 / seed')
    failed = False
    of_v1 = cases(v1)
    for name, (call, ours, theirs) in cases(seed).items():
        our_call, their_call = call if isinstance(call, tuple) else (call, call)
        loops = {'ours': compile_loop(our_call, ours), 'lru': compile_loop(their_call, theirs),
                 'v1': compile_loop(our_call, of_v1[name][1])}
        got = interleave(loops)
        r, q1, q3 = ratio(got['ours'], got['lru'])
        bound = BOUNDS[name][pgo()]
        same, _, _ = ratio(got['v1'], got['ours'])
        over = r > bound * 1.1 or same > V1_BOUND * 1.1
        failed |= over
        mid = {k: sorted(v)[len(v) // 2] for k, v in got.items()}
        print(f'{name:18}{mid["ours"]:9.1f}{mid["lru"]:9.1f}{r:8.2f}  {q1:.2f} - {q3:.2f}  {bound:6.2f}{same:12.2f}'
              f'{"  OVER" if over else ""}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

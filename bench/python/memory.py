"""Bytes per entry at a million ints, and the time that importing takes. Each in a process of its own."""
import subprocess
import sys

N = 1_000_000


def rss():
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) * 4096


def bytes_per_entry():
    import gc

    from quickcache import Memory, get_quickcache

    @get_quickcache(cache=Memory(timeout=3600, max_entries=2 * N, max_bytes=None))(['a'])
    def f(a):
        return None

    gc.disable()
    f(-1)
    before = rss()
    for i in range(N):
        f(i)
    return (rss() - before) / N


BOUND = {'bytes': 80, 'import ms': 15}


def run(*args):
    return subprocess.run([sys.executable, *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def import_ms(rounds=21):
    """The median of what importing adds to starting the interpreter, in CPU time of the whole process."""
    code = 'import time; a = time.process_time(); import quickcache; print((time.process_time() - a) * 1e3)'
    return sorted(float(run('-c', code)) for _ in range(rounds))[rounds // 2]


def main():
    figures = {'bytes': float(run(__file__, 'bytes')), 'import ms': import_ms()}
    for name, value in figures.items():
        print(f'{name:12}{value:8.1f}   bound {BOUND[name]}')
    return any(value > BOUND[name] for name, value in figures.items())


if __name__ == '__main__':
    if sys.argv[1:] == ['bytes']:
        print(bytes_per_entry())
    else:
        sys.exit(main())

"""Bytes per entry at a million ints, and the time that importing takes. Each in a process of its own."""
import subprocess
import sys
import tempfile
from pathlib import Path

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


def cpu_ms(program, rounds=21):
    """The median of what a program adds to starting the interpreter, in CPU time of the whole process."""
    code = f'import time; a = time.process_time()\n{program}\nprint((time.process_time() - a) * 1e3)'
    return sorted(float(run('-c', code)) for _ in range(rounds))[rounds // 2]


def decorating():
    """The import and one decorated function: what `inspect` and the source of the function cost comes with the first."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / 'decorated.py'
        program.write_text('from quickcache import Memory, get_quickcache\n@get_quickcache(cache=Memory())(["key"])\n'
                           'def f(key):\n    return key\n')
        return cpu_ms(f'import sys; sys.path.insert(0, {folder!r}); import decorated')


def main():
    figures = {'bytes': float(run(__file__, 'bytes')), 'import ms': cpu_ms('import quickcache'),
               'import and decorate ms': decorating(), 'import logging, inspect ms': cpu_ms('import logging, inspect')}
    failed = False
    for name, value in figures.items():
        bound = BOUND.get(name)
        over = bound is not None and value > bound
        failed |= over
        print(f'{name:28}{value:8.1f}{f"   bound {bound}" if bound else ""}{"  OVER" if over else ""}')
    return failed


if __name__ == '__main__':
    if sys.argv[1:] == ['bytes']:
        print(bytes_per_entry())
    else:
        sys.exit(main())

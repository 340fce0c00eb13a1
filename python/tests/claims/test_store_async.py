"""asyncio on the machine's store: what may wait for a disk is done by a thread that is not the loop's."""
import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from quickcache import get_local_quickcache

from .tools import LONG, PACKAGE

FILL = """
    import sys
    from quickcache import get_local_quickcache

    @get_local_quickcache(path=sys.argv[1], max_bytes=8 << 20)(['key'], name='slow disk', version=1)
    def f(key):
        return key * 20_000

    f('a')
"""


def is_in_memory(folder):
    kind = subprocess.run(['stat', '--file-system', '--format=%T', folder], capture_output=True, text=True, check=True)
    return kind.stdout.strip() in ('tmpfs', 'ramfs')


@contextlib.contextmanager
def threads_asked(loop):
    """Counts what the loop hands to its executor."""
    asked, ask = [], loop.run_in_executor

    def counting(executor, function, *args):
        asked.append(function)
        return ask(executor, function, *args)
    loop.run_in_executor = counting
    try:
        yield asked
    finally:
        del loop.run_in_executor


def test_what_is_on_the_disk_is_read_by_another_thread_and_what_is_in_memory_by_the_loop(tmp_path):
    if is_in_memory(tmp_path):
        pytest.skip('a file system in memory has no slow reads')
    folder = tmp_path / 'store'

    def front():
        @get_local_quickcache(path=folder, max_bytes=8 << 20)(['key'], name='slow disk', version=1)
        async def f(key):
            raise AssertionError('it is not in the store')
        return f
    f, other = front(), front()

    # Opened here before another process fills it: what this one has looked at would stay in memory.
    f.clear('a')
    fill = [sys.executable, '-c', textwrap.dedent(FILL), folder]
    subprocess.run(fill, check=True, timeout=LONG, env=dict(os.environ, PYTHONPATH=str(PACKAGE)))
    with open(folder / 'values-1', 'rb') as values:
        os.fsync(values.fileno())
        os.posix_fadvise(values.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    async def main():
        with threads_asked(asyncio.get_running_loop()) as asked:
            assert await f('a') == 'a' * 20_000
            assert len(asked) == 1
            assert await other('a') == 'a' * 20_000
            assert len(asked) == 1
            for stats in (await f.stats(), await other.stats()):
                assert (stats.store_hits, stats.executions) == (1, 0)
    asyncio.run(main())


def test_the_first_call_opens_the_store_in_another_thread(tmp_path):
    @get_local_quickcache(path=tmp_path / 'store')(['key'], name='opens', version=1)
    async def f(key):
        return threading.get_ident()

    async def main():
        with threads_asked(asyncio.get_running_loop()) as asked:
            assert await f(1) == threading.get_ident()
            assert await f(2) == threading.get_ident()
            assert len(asked) == 1
    asyncio.run(main())

"""An interpreter that ends while threads are inside of us ends well: at once, with its own exit code, and in silence."""
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from .tools import script

HEAD = """
import asyncio, atexit, sys, threading, time
from quickcache import Memory, TieredCache, get_quickcache

class UserCache:
    def __init__(self): self.store = {}
    def get(self, key, default=None): return self.store.get(key, default)
    def set(self, key, value): self.store[key] = value
    def delete(self, key): self.store.pop(key, None)

caches = {'memory': Memory, 'user': UserCache, 'both': lambda: TieredCache([Memory(), UserCache()])}
cache = caches[sys.argv[1] if len(sys.argv) > 1 else 'memory']()
entered = threading.Event()
"""


def ends_well(tmp_path, text, code=0, cache='memory'):
    import textwrap
    path = tmp_path / 'program.py'
    path.write_text(HEAD + textwrap.dedent(text))
    from .tools import PACKAGE
    import os
    done = subprocess.run([sys.executable, str(path), cache], capture_output=True, text=True, timeout=30,
                          env={**os.environ, 'PYTHONPATH': str(PACKAGE)})
    assert (done.returncode, done.stderr) == (code, ""), done.stderr
    return done.stdout


every = pytest.mark.parametrize('cache', ['memory', 'user', 'both'])


@every
def test_with_a_leader_that_runs(tmp_path, cache):
    ends_well(tmp_path, """
        @get_quickcache(cache=cache)(['key'])
        def f(key):
            entered.set()
            time.sleep(3600)

        threading.Thread(target=f, args=(1,), daemon=True).start()
        entered.wait()
    """, cache=cache)


@every
def test_with_leaders_that_come_back_while_it_ends(tmp_path, cache):
    """Threads that want the interpreter again at the very moment that it ends."""
    ends_well(tmp_path, """
        @get_quickcache(cache=cache)(['key'])
        def f(key):
            entered.set()
            time.sleep(0.0005)
            return key

        def forever():
            n = 0
            while True:
                n += 1
                f(n)
        for _ in range(4):
            threading.Thread(target=forever, daemon=True).start()
        entered.wait()
        time.sleep(0.01)
    """, cache=cache)


@every
def test_with_followers_that_wait(tmp_path, cache):
    ends_well(tmp_path, """
        waiting = threading.Semaphore(0)
        Lock = threading.Lock

        class Watched:
            def __init__(self):
                self.lock = Lock()
                self.release = self.lock.release

            def acquire(self, blocking=True, timeout=-1):
                if timeout != -1:
                    waiting.release()
                return self.lock.acquire(blocking, timeout)

            __enter__ = acquire

            def __exit__(self, *_):
                self.release()

        @get_quickcache(cache=cache)(['key'])
        def f(key):
            entered.set()
            time.sleep(3600)

        threading.Thread(target=f, args=(1,), daemon=True).start()
        entered.wait()
        threading.Lock = Watched
        for _ in range(3):
            threading.Thread(target=f, args=(1,), daemon=True).start()
        for _ in range(3):
            waiting.acquire()
        time.sleep(0.01)
    """, cache=cache)


@every
def test_with_followers_whose_leader_lands_while_it_ends(tmp_path, cache):
    ends_well(tmp_path, """
        @get_quickcache(cache=cache)(['key'])
        def f(key):
            entered.set()
            time.sleep(0.002)
            return key

        def forever():
            n = 0
            while True:
                n += 1
                f(n // 20)
                f.clear(n // 20)
        for _ in range(6):
            threading.Thread(target=forever, daemon=True).start()
        entered.wait()
        time.sleep(0.02)
    """, cache=cache)


def test_with_a_clear_that_waits(tmp_path):
    ends_well(tmp_path, """
        class Slow(UserCache):
            def set(self, key, value):
                entered.set()
                time.sleep(3600)

        @get_quickcache(cache=Slow())(['key'])
        def f(key):
            return key

        threading.Thread(target=f, args=(1,), daemon=True).start()
        entered.wait()
        threading.Thread(target=f.clear, args=(1,), daemon=True).start()
        time.sleep(0.01)
    """)


@every
def test_in_atexit_functions_the_cache_works(tmp_path, cache):
    out = ends_well(tmp_path, """
        runs = []

        @get_quickcache(cache=cache)(['key'])
        def f(key):
            runs.append(key)
            return key

        @get_quickcache(cache=cache)(['key'])
        async def g(key):
            return key

        @atexit.register
        def last():
            f(1), f(1), f(2)
            f.clear(1)
            f(1)
            print(runs, asyncio.run(g(3)))
        f(1)
    """, cache=cache)
    assert out == '[1, 2, 1] 3\n'


def test_in_destructors_of_a_dying_interpreter(tmp_path):
    ends_well(tmp_path, """
        @get_quickcache(cache=cache)(['key'])
        def f(key):
            return Value(key)

        class Value:
            def __init__(self, key): self.key = key
            def __del__(self):
                try:
                    f(self.key) if self.key < 0 else f.clear(self.key)
                except BaseException:
                    pass  # what it needs may be gone: that is Python's own
        for key in range(100):
            f(key)
        keep = Value(1000)
    """)


def test_with_its_own_exit_code(tmp_path):
    ends_well(tmp_path, """
        @get_quickcache(cache=cache)(['key'])
        def f(key):
            sys.exit(7)
        f(1)
    """, code=7)


def test_with_a_loop_that_was_never_closed(tmp_path):
    ends_well(tmp_path, """
        @get_quickcache(cache=cache)(['key'])
        async def f(key):
            entered.set()
            await asyncio.sleep(3600)

        async def main():
            await asyncio.gather(f(1), f(1))
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        entered.wait()
        time.sleep(0.01)
    """)


def test_script_runs_at_all(tmp_path):
    """The claims above can fail: what is wrong is seen."""
    done = script(tmp_path, 'import sys; sys.stderr.write("x"); sys.exit(3)')
    assert (done.returncode, done.stderr) == (3, 'x')


def test_while_it_asks_for_the_logger(tmp_path):
    """A call that runs Python code of which nobody thinks: to find the logger, `logging` is imported."""
    done = script(tmp_path, """
        import sys, threading, time, types
        from quickcache import Memory, get_quickcache

        class Ending:
            def __del__(self, sleep=time.sleep):
                sleep(1)

        # Somebody has imported it, so the call asks whether debug messages are wanted.
        sys.modules['logging'] = types.SimpleNamespace(getLogger=lambda name: time.sleep(0.5))

        @get_quickcache(cache=Memory())(['key'])
        def f(key):
            return key

        threading.Thread(target=f, args=(1,), daemon=True).start()
        time.sleep(0.2)
        # Until it is gone, the interpreter ends. (What is global here is held by the thread's frames.)
        sys.modules['ending'] = Ending()
    """)
    assert (done.returncode, done.stderr) == (0, '')


def says(tmp_path, warning, then="""
# Nobody is there.
@get_quickcache(cache=TieredCache([Redis('redis://127.0.0.1:1/0', folder=sys.argv[0] + '.folder')]))(['key'])
def f(key):
    return key

threading.Thread(target=f, args=(1,), daemon=True).start()
begun.wait()
"""):
    """A program whose engine has something to say, and a logger that does this with it."""
    return script(tmp_path, f"""
import os, sys, threading, time, types
from quickcache import Redis, TieredCache, get_quickcache

begun = threading.Event()

class Logger:
    def isEnabledFor(self, level):
        return False

    def warning(self, message):
        begun.set()
        {warning}

sys.modules['logging'] = types.SimpleNamespace(getLogger=lambda name: Logger())

{then}
""")


def test_what_the_engine_says_is_said_before_it_ends(tmp_path):
    done = says(tmp_path, "time.sleep(0.3); os.write(1, b'said')")
    assert (done.returncode, done.stdout, done.stderr) == (0, 'said', '')


def test_a_handler_that_hangs_does_not_keep_it_from_ending(tmp_path):
    done = says(tmp_path, 'time.sleep(3600)')
    assert (done.returncode, done.stderr) == (0, '')


def test_who_is_forked_by_what_is_said_may_say_something_too(tmp_path):
    done = says(tmp_path, "said.append(message); pids.append(os.fork())", """
said, pids = [], []
# Without TLS to another machine: that is said at once, on this thread.
Redis('redis://192.0.2.1/0')
if pids == [0]:
    Redis('redis://192.0.2.2/0')
    os._exit(len(said))
assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 2
""")
    assert (done.returncode, done.stderr) == (0, '')


def test_while_the_engine_says_something_for_the_first_time(tmp_path):
    """Its thread imports `logging`, and lets others run meanwhile."""
    def ends_after(n):
        folder = tmp_path / str(n)
        folder.mkdir()
        return script(folder, """
            import os, sys, threading, time
            from quickcache import Redis, TieredCache, get_quickcache

            # Nobody is there.
            @get_quickcache(cache=TieredCache([Redis('redis://127.0.0.1:1/0', folder=sys.argv[0] + '.folder')]))(['key'])
            def f(key):
                return key

            threading.Thread(target=f, args=(1,), daemon=True).start()
            time.sleep(float(os.environ['MILLIS']) / 1000)
        """, MILLIS=str(n % 15))

    with ThreadPoolExecutor(4) as pool:
        for n, done in enumerate(pool.map(ends_after, range(60))):
            assert done.returncode == 0 and 'Fatal' not in done.stderr, (n, done.stderr)

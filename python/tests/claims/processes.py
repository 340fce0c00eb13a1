"""Several processes of one site: each runs the same program, and does what the test asks of it through a pipe.

What a process is in the midst of is told by events: the program stops at `gate(name)`, the test sees that with `reached`, and lets
it go on with `open`. Executions are counted in a file, so that those of a process that was killed count too.
"""
import contextlib
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future
from pathlib import Path

from .tools import LONG, PACKAGE, Event

#: What most programs are made of.
SITE = """
    from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache, testing

    STORE = Store(FOLDER, max_bytes=8 << 20)
    MEMORY = Memory()
    TIERS = TieredCache([MEMORY, STORE])
    seed = get_quickcache(cache=TIERS)
    v1 = get_local_quickcache(path=FOLDER, max_bytes=8 << 20)
    source = {'value': 1, 'gates': ()}

    def read():
        ran()
        value = source['value']
        for name in source['gates']:
            gate(name)
        return value

    @seed(['key'], skip_arg='force')
    def f(key, force=False):
        return [key, read()]

    @v1(['key'], skip_arg='force')
    def g(key, force=False):
        return [key, read()]

    @v1(['key'], skip_arg='force')
    async def h(key, force=False):
        ran()
        value = source['value']
        for name in source['gates']:
            await agate(name)
        return [key, value]
"""

CHILD = Path(__file__).with_name('one_process.py')


class Process:
    """An interpreter that has run the program."""

    def __init__(self, path, folder, executions, *arguments):
        ours, theirs = socket.socketpair()
        with theirs:
            # No buffer of its own that the test would wait for: what it prints is read when it has ended.
            self.process = subprocess.Popen(
                [sys.executable, '-X', 'faulthandler', str(CHILD), str(theirs.fileno()), str(path), str(folder), str(executions),
                 *arguments],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env={**os.environ, 'PYTHONPATH': str(PACKAGE), 'CLAIMS_LONG': str(LONG)})
        self.pid = self.process.pid
        self._ours = ours.dup()
        self._connection = multiprocessing.connection.Connection(ours.detach())
        self._sending, self._asked, self._reached = threading.Lock(), {}, {}
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.do('None')

    def _listen(self):
        try:
            while True:
                kind, what, value = self._connection.recv()
                if kind == 'reached':
                    self._event(what).set()
                elif kind == 'raised':
                    self._asked.pop(what).set_exception(value)
                else:
                    self._asked.pop(what).set_result(value)
        except (EOFError, OSError):
            for asked in list(self._asked.values()):
                asked.set_exception(ConnectionError('the process has ended'))

    def _event(self, name):
        with self._lock:
            return self._reached.setdefault(name, Event())

    def _send(self, *message):
        with self._sending:
            self._connection.send(message)

    def begin(self, text):
        """Has it evaluate an expression, or execute statements, on a thread of its own; awaits a coroutine. A future."""
        future = Future()
        self._asked[id(future)] = future
        self._send('do', id(future), text)
        return future

    def do(self, text):
        return self.begin(text).result(LONG)

    def reached(self, name='gate'):
        assert self._event(name).wait(LONG), f'nobody came to {name}'

    def open(self, name='gate'):
        """Lets go whoever stops at the gate, now and later."""
        self._send('open', name, None)

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self):
        self.signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(LONG)

    def end(self):
        if self.process.poll() is None:
            self.go_on()
            self.kill()
        if self._connection.closed:
            return
        # Nobody reads from the connection any more when it is closed: its number may be the next one's at once.
        with self._ours, contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._listener.join(LONG)
        self._connection.close()


class Site:
    """The processes of one test, their store, and how often their functions ran."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.folder = tmp_path / 'store'
        self._executions = tmp_path / 'executions'
        self._executions.touch()
        self._processes = []

    def start(self, program=SITE, *arguments, more='', name='site.py'):
        path = self.tmp_path / name
        path.write_text(textwrap.dedent(program) + textwrap.dedent(more))
        process = Process(path, self.folder, self._executions, *arguments)
        self._processes.append(process)
        return process

    def two(self, program=SITE, more=''):
        return self.start(program, more=more), self.start(program, more=more)

    @property
    def executions(self):
        """The process ids of those who ran a function, in order."""
        return [int(line) for line in self._executions.read_text().split()]

    def end(self):
        for process in self._processes:
            process.end()

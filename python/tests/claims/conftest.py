import importlib.util
import os
import socket
from pathlib import Path

import pytest

from quickcache import Memory, Redis, Store, TieredCache

from .processes import Site


@pytest.fixture
def site(tmp_path):
    """A store and the processes that a test starts on it; whatever happens they end with it."""
    made = Site(tmp_path)
    yield made
    made.end()


@pytest.fixture
def folder(tmp_path):
    """Where a store of this process may be."""
    return tmp_path / 'store'


def servers():
    path = Path(__file__).resolve().parents[3] / 'tools' / 'servers.py'
    spec = importlib.util.spec_from_file_location('quickcache_test_servers', path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    import sys
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def redis_server():
    """A server for all tests that leave it alone."""
    with servers().redis() as server:
        yield server


@pytest.fixture
def own_server():
    """A server that a test may stop."""
    with servers().redis() as server:
        yield server


@pytest.fixture(scope='session')
def one_node():
    """A cluster of one node, which has all slots."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        bus = free.getsockname()[1]
    with servers().redis('--cluster-enabled', 'yes', '--cluster-port', str(bus)) as server:
        with socket.create_connection(('127.0.0.1', server.port)) as to, to.makefile('rb') as replies:
            to.sendall(b'CLUSTER ADDSLOTSRANGE 0 16383\r\n')
            assert replies.readline() == b'+OK\r\n'
            state = b''
            while b'ok' not in state:
                to.sendall(b'CLUSTER INFO\r\n')
                text = replies.read(int(replies.readline()[1:]) + 2)
                state = text.split(b'\r\n')[0]
        yield server


class Machines:
    """Tiers of one server and one namespace. Those of different folders stand for different machines: they share nothing else.

    Patient, for whoever runs tests keeps the machine busy: an operation may take much longer than by default.
    """

    def __init__(self, url, folder):
        self.url = url
        self._folder = folder
        self.namespace = 'test-' + os.urandom(8).hex()

    def redis(self, machine='one', url=None, **options):
        return Redis(url or self.url, **{'namespace': self.namespace, 'folder': self._folder / machine, 'budget': 5, **options})

    def stack(self, tiers='memory redis', machine='one', **options):
        make = {
            'memory': Memory,
            'store': lambda: Store(self._folder / machine, max_bytes=8 << 20),
            'redis': lambda: self.redis(machine, **options),
        }
        return TieredCache([make[tier]() for tier in tiers.split()])


@pytest.fixture
def machines(redis_server, tmp_path):
    return Machines(redis_server.url, tmp_path)


@pytest.fixture
def own_machines(own_server, tmp_path):
    return Machines(own_server.url, tmp_path)

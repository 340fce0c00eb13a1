"""The ways to a Redis that take more than a URL: a server that asks for a certificate, sentinels with a password of their own. What is
said of a way that leads nowhere, of a folder that cannot be used, and of a server that is full."""
import logging
import pickle
import subprocess
import time

import pytest

from quickcache import Memory, Redis, TieredCache, get_quickcache

from .conftest import servers
from .tools import LONG


def answers(redis):
    """Whether it can be used before long: it connects off the caller's path."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        redis.set('key', 1)
        if redis.get('key') == 1:
            return True
        time.sleep(0.02)
    return False


def is_refused(redis):
    """Whether it has been tried, and cannot be used."""
    redis.get('key')
    end = time.monotonic() + LONG
    while redis.stats()['reachable']:
        assert time.monotonic() < end
        redis.get('key')
    return redis.get('key') is None


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    """An authority, and a certificate of it that a server and a client show."""
    folder = tmp_path_factory.mktemp('certificates')
    (folder / 'names').write_text('subjectAltName=IP:127.0.0.1\n')
    for line in (
            'req -x509 -newkey rsa:2048 -nodes -keyout authority.key -out authority.crt -subj /CN=authority -days 2',
            'req -newkey rsa:2048 -nodes -keyout its.key -out its.request -subj /CN=127.0.0.1',
            'x509 -req -in its.request -CA authority.crt -CAkey authority.key -CAcreateserial -extfile names -days 2 -out its.crt'):
        subprocess.run(['openssl', *line.split()], cwd=folder, check=True, capture_output=True)
    return folder


def test_a_server_that_asks_for_a_certificate_is_shown_one(certificates, tmp_path):
    its, port = certificates, servers().free_port()
    with servers().redis('--tls-port', str(port), '--tls-cert-file', str(its / 'its.crt'), '--tls-key-file', str(its / 'its.key'),
                         '--tls-ca-cert-file', str(its / 'authority.crt')):
        def redis(**options):
            return Redis(f'rediss://127.0.0.1:{port}/0', folder=tmp_path, ca_file=its / 'authority.crt', budget=5, **options)
        shows = redis(client_cert=(its / 'its.crt', its / 'its.key'))
        assert answers(shows) and answers(pickle.loads(pickle.dumps(shows)))
        assert is_refused(redis())


def test_sentinels_may_have_a_password_of_their_own(own_server, tmp_path):
    port = servers().free_port()
    configuration = tmp_path / 'sentinel.conf'
    configuration.write_text(
        f'port {port}\nbind 127.0.0.1\nrequirepass word\nsentinel monitor ours 127.0.0.1 {own_server.port} 1\n')
    sentinel = subprocess.Popen(
        ['redis-server', configuration, '--sentinel'], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def redis(**options):
            return Redis([f'redis://127.0.0.1:{port}'], primary='ours', folder=tmp_path, budget=5, **options)
        knows = redis(sentinel_password='word')
        assert answers(knows) and answers(pickle.loads(pickle.dumps(knows)))
        assert is_refused(redis(sentinel_password='other'))
    finally:
        servers().stop(sentinel)


@pytest.mark.parametrize('options, error, says', [
    ({'client_cert': 'client.pem'}, TypeError, 'client_cert must be two paths'),
    ({'client_cert': 'ab'}, TypeError, 'client_cert must be two paths'),
    ({'client_cert': ('a', 5)}, TypeError, 'client_cert'),
    ({'client_cert': ('a', 'b')}, ValueError, 'client_cert without TLS'),
    ({'sentinel_password': 5, 'primary': 'ours'}, TypeError, 'sentinel_password'),
    ({'sentinel_password': '', 'primary': 'ours'}, ValueError, 'sentinel_password'),
    ({'sentinel_password': 'word'}, ValueError, 'sentinel_password without sentinels'),
])
def test_a_mistake_is_told(options, error, says):
    with pytest.raises(error, match=says):
        Redis(**options)


def test_a_password_of_sentinels_is_not_shown():
    redis = Redis(['redis://127.0.0.1:1'], primary='ours', sentinel_password='hidden-word')
    assert 'hidden' not in repr(redis) + str(redis.stats())


def test_a_warning_says_of_which_database_and_namespace_it_is(tmp_path, caplog):
    """A program has several Redis at one address, and each says once that it is out of reach."""
    port = servers().free_port()
    with caplog.at_level(logging.WARNING, 'quickcache'):
        # A folder each: there is room for two in one.
        for n, (url, options) in enumerate([('', {}), ('/3', {}), ('', {'namespace': 'site'})]):
            redis = Redis(f'redis://127.0.0.1:{port}{url}', folder=tmp_path / str(n), **options)
            assert is_refused(redis)
        # Said a moment after it is known, by a thread of its own.
        end = time.monotonic() + LONG
        while len(caplog.records) < 3 and time.monotonic() < end:
            time.sleep(0.002)
    said = [record.getMessage().split(': ')[0] for record in caplog.records]
    at = f'the Redis at 127.0.0.1:{port}'
    assert said == [at, f'{at}, database 3', f'{at}, namespace site']


def test_a_folder_that_cannot_be_used_is_told_with_what_it_costs(redis_server, tmp_path, caplog):
    tmp_path.chmod(0o777)
    redis = Redis(redis_server.url, namespace='folder', folder=tmp_path, budget=5)

    @get_quickcache(cache=TieredCache([Memory(), redis]))(['key'])
    def f(key):
        return key
    with caplog.at_level(logging.WARNING, 'quickcache'):
        assert [f(1), f(1)] == [1, 1]
        assert f.clear_with()(1) == 'pending'
    assert f.stats().executions == 1 and f.stats().memory_hits == 0
    said, = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"what this machine's processes know of a Redis, in {tmp_path}: it cannot be used: ")
    assert 'memory tiers before the Redis are off, and clears are pending: give the Redis another `folder`' in said


def test_a_server_that_is_full_is_told_once(tmp_path, caplog):
    """It answers, so nothing else would say that nothing is kept any more."""
    with servers().redis('--maxmemory', '1') as server, caplog.at_level(logging.WARNING, 'quickcache'):
        @get_quickcache(cache=TieredCache([Memory(), Redis(server.url, folder=tmp_path, budget=5)]))(['key'])
        def f(key):
            return key
        assert [f(key) for key in range(5)] == list(range(5))
    assert f.stats().executions == 5 and f.stats().redis_failures >= 5
    said, = (record.getMessage() for record in caplog.records)
    assert said.startswith(f'the Redis at {server.address}: it refuses what it is asked: OOM ')

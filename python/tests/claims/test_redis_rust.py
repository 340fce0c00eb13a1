"""A Rust program and a Python one, on two machines, share the values that a Redis has, and hear each other's clears."""
import subprocess
import time

import pytest

from quickcache import get_redis_quickcache

from .test_redis import until
from .test_store_rust import VALUES, Rust, every_value
from .test_store_rust import program as program
from .tools import LONG


class RustAtRedis(Rust):
    def __init__(self, program, folder, machines, *secrets):
        self.process = subprocess.Popen([program, folder, machines.url, machines.namespace, *secrets], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(LONG) == 0
        self.process.stdout.close()


@pytest.fixture
def rust(program, tmp_path, machines):
    with RustAtRedis(program, tmp_path / 'rust', machines) as made:
        yield made


class Python:
    def __init__(self, machines, folder, word, **options):
        name, self.value, self.shown = VALUES[word]
        self.ran = 0

        def f(key):
            self.ran += 1
            return self.value
        quickcache = get_redis_quickcache(machines.url, namespace=machines.namespace, folder=folder / 'python', budget=5,
                                          **options)
        self.f = quickcache(['key'], name=f'shared-{name}', version=1)(f)


@every_value
def test_what_rust_computed_python_finds(rust, machines, tmp_path, word):
    python = Python(machines, tmp_path, word)
    assert rust.ask('call', word) == (python.shown, 1)
    found = python.f(1)
    assert found == python.value and type(found) is type(python.value)
    assert (python.ran, python.f.stats().redis_hits) == (0, 1)


@every_value
def test_what_python_computed_rust_finds(rust, machines, tmp_path, word):
    python = Python(machines, tmp_path, word)
    python.f(1)
    assert rust.ask('call', word) == (python.shown, 0)
    assert rust.ask('call', word, 2) == (python.shown, 1), 'another key'


def test_p4_a_clear_in_either_reaches_the_memory_of_the_other(rust, machines, tmp_path):
    python = Python(machines, tmp_path, 'int')

    def in_memory():
        before = python.f.stats().memory_hits
        python.f(1)
        return python.f.stats().memory_hits > before
    for _ in range(3):
        ran = rust.ask('call', 'int')[1]
        until(in_memory)
        executions = python.ran
        assert rust.ask('clear', 'int')[0] == 'Applied'
        time.sleep(0.25)
        python.f(1)
        assert python.ran == executions + 1, 'the clear of Rust was not heard'
        assert rust.ask('call', 'int') == ('-5', ran), 'it finds what Python has computed'
        assert python.f.clear_with(wait=True)(1) == 'applied'
        assert rust.ask('call', 'int') == ('-5', ran + 1), 'the clear of Python was not heard'


def test_rust_sees_what_python_sets_and_refreshes_and_its_clear_all(rust, machines, tmp_path):
    python = Python(machines, tmp_path, 'int')
    assert rust.ask('call', 'int')[0] == '-5'
    python.f.set_cached_value(1).to(77)
    time.sleep(0.25)
    assert rust.ask('call', 'int') == ('77', 1)
    python.value = 78
    assert python.f.refresh(1) == 78
    time.sleep(0.25)
    assert rust.ask('call', 'int') == ('78', 1)
    python.f.clear_all()
    time.sleep(0.25)
    assert rust.ask('call', 'int') == ('-5', 2)


def test_a_value_of_another_type_is_a_miss_in_either(rust, machines, tmp_path):
    python = Python(machines, tmp_path, 'int')
    python.value = 'text'
    python.f(1)
    assert rust.ask('call', 'int') == ('-5', 1)
    assert python.f(1) in ('text', -5)


def test_they_share_what_is_sealed_with_a_secret_of_both_and_nothing_else(program, rust, machines, tmp_path):
    def two(name, *secrets):
        return RustAtRedis(program, tmp_path / name, machines, *secrets)
    with two('two', 'new', 'old') as both, two('three', 'other') as other:
        python = Python(machines, tmp_path, 'int', secret=b'old')
        python.f(1)
        # Its own is new, and what has been sealed with the old one is read.
        assert both.ask('call', 'int') == ('-5', 0)
        assert other.ask('call', 'int') == ('-5', 1), 'sealed with what it does not know: replaced'
        assert both.ask('clear', 'int')[0] == 'Applied'
        time.sleep(0.25)
        assert both.ask('call', 'int') == ('-5', 1)
        assert rust.ask('call', 'int') == ('-5', 1), 'without a secret'
        assert both.ask('clear', 'int')[0] == 'Applied'
        time.sleep(0.25)
        assert both.ask('call', 'int') == ('-5', 2)
        time.sleep(0.25)
        rotated = Python(machines, tmp_path / 'rotated', 'int', secret=[b'new', b'old'])
        assert (rotated.f(1), rotated.ran) == (-5, 0)

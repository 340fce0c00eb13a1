"""A Rust program and a Python one share the values of functions of one name and version, and hear each other's clears."""
import os
import select
import subprocess
from pathlib import Path

import pytest

from quickcache import get_local_quickcache

from .tools import LONG

ROOT = Path(__file__).resolve().parents[3]

#: By the functions of crates/quickcache/examples/two_languages.rs: what Python's name is, what it gives, and how Rust shows that.
VALUES = {
    'none': ('none', None, '()'), 'boolean': ('bool', True, 'true'), 'int': ('int', -5, '-5'), 'float': ('float', 1.5, '1.5'),
    'text': ('str', 'é\N{SNOWMAN}', '"é\N{SNOWMAN}"'), 'bytes': ('bytes', b'\x00\xff', 'Bytes([0, 255])'),
    'list': ('list', [1, 2, 3], '[1, 2, 3]'), 'dict': ('dict', {'a': 1, 'b': 2}, '{"a": 1, "b": 2}'),
    'nested': ('nested', [{'x': [0.5, 2.0]}], '[{"x": [0.5, 2.0]}]'), 'present': ('present', 7, 'Some(7)'),
    'absent': ('absent', None, 'None'),
    'post': ('post', {'title': 'One', 'tags': ['a'], 'votes': None}, 'Post { title: "One", tags: ["a"], votes: None }'),
}
every_value = pytest.mark.parametrize('word', VALUES)


@pytest.fixture(scope='module')
def program():
    # As the Rust tests have built it, with the same features.
    subprocess.run(['cargo', 'build', '--quiet', '--workspace', '--exclude', 'quickcache-python', '--exclude', 'blog-rs',
                    '--all-features', '--example', 'two_languages'], cwd=ROOT, check=True)
    target = Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target'))
    return ROOT / target / 'debug' / 'examples' / 'two_languages'


class Rust:
    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, what, word, key=1):
        self.process.stdin.write(f'{what} {word} {key}\n'.encode())
        self.process.stdin.flush()
        # Not select.select: the tests before have opened more files than it knows numbers.
        answered = select.poll()
        answered.register(self.process.stdout, select.POLLIN)
        assert answered.poll(LONG * 1000), 'no answer'
        answer, _, ran = self.process.stdout.readline().decode().rpartition(' ran ')
        return answer, int(ran)


@pytest.fixture
def rust(program, folder):
    made = Rust(program, folder)
    yield made
    made.process.stdin.close()
    assert made.process.wait(LONG) == 0
    made.process.stdout.close()


class Python:
    def __init__(self, folder, word):
        name, self.value, self.shown = VALUES[word]
        self.ran = 0

        def f(key):
            self.ran += 1
            return self.value
        self.f = get_local_quickcache(path=folder, max_bytes=8 << 20)(['key'], name=f'shared-{name}', version=1)(f)


@every_value
def test_what_rust_computed_python_finds(rust, folder, word):
    python = Python(folder, word)
    assert rust.ask('call', word) == (python.shown, 1)
    found = python.f(1)
    assert found == python.value and type(found) is type(python.value)
    assert (python.ran, python.f.stats().store_hits) == (0, 1)


@every_value
def test_what_python_computed_rust_finds(rust, folder, word):
    python = Python(folder, word)
    python.f(1)
    assert rust.ask('call', word) == (python.shown, 0)
    assert rust.ask('call', word, 2) == (python.shown, 1), 'another key'


@every_value
def test_p2_a_clear_in_either_is_seen_by_the_memory_tier_of_the_other(rust, folder, word):
    python = Python(folder, word)
    for turn in range(3):
        before = rust.ask('call', word)[1]
        python.f(1)
        ran = python.ran
        # In the memory of both.
        assert rust.ask('call', word)[1] == before and python.f(1) == python.value and python.ran == ran
        python.f.clear(1)
        assert rust.ask('call', word) == (python.shown, before + 1), 'the clear of Python was not seen'
        assert rust.ask('clear', word)[0] == 'Applied'
        python.f(1)
        assert python.ran == ran + 1, 'the clear of Rust was not seen'
        assert rust.ask('call', word) == (python.shown, before + 1)


def test_p2_rust_sees_what_python_sets_and_refreshes_and_its_clear_all(rust, folder):
    python = Python(folder, 'int')
    assert rust.ask('call', 'int')[0] == '-5'
    python.f.set_cached_value(1).to(77)
    assert rust.ask('call', 'int') == ('77', 1)
    python.value = 78
    assert python.f.refresh(1) == 78 and rust.ask('call', 'int') == ('78', 1)
    python.f.clear_all()
    assert rust.ask('call', 'int') == ('-5', 2)


def test_a_value_of_another_type_is_a_miss_in_either(rust, folder):
    """Of one name they should be one function: P10 holds if they are not."""
    python = Python(folder, 'int')
    python.value = 'text'
    python.f(1)
    assert rust.ask('call', 'int') == ('-5', 1)
    assert python.f(1) in ('text', -5)

"""The paths through the store keep nothing that should go: reference counts, memory, descriptors and maps over many calls."""
import asyncio
import gc
import os
import shutil
import time
import weakref
from pathlib import Path

import pytest

from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache, testing

from .test_leaks import counts, resident, text


class Boom(Exception):
    """Unlike those that are built in it can be watched."""


class Unpicklable:
    def __reduce__(self):
        raise TypeError('no')


def stack(folder):
    return TieredCache([Memory(), Store(folder, max_bytes=1 << 20)])


@pytest.mark.parametrize('stack', [stack, lambda folder: Store(folder, max_bytes=1 << 20)], ids=['memory+store', 'store'])
def test_keys_and_values_are_let_go(folder, stack):
    value, key = [text(), {1: text(1)}], text(2)
    inside = value[0], value[1]

    @get_quickcache(cache=stack(folder), skip_arg='force')(['key'])
    def f(key, force=False):
        return value

    def turn():
        for _ in range(20):
            f(key), f(key), f(key, force=True), f.refresh(key)
            f.set_cached_value(key).to(value)
            f.get_cached_value(key), f.explain(key), f.stats()
            f.clear(key), f(key), f.clear_all(), f.clear_with()(key)
    turn()
    before = counts(value, key, *inside)
    for _ in range(3):
        turn()
    after = counts(value, key, *inside)
    assert after == before


def test_what_is_raised_and_what_cannot_be_encoded_is_let_go(folder):
    raised = []

    @get_quickcache(cache=TieredCache([Memory(copy=False), Store(folder)]))(['key'])
    def f(key):
        if key:
            error = Boom(key)
            raised.append(weakref.ref(error))
            raise error
        made = Unpicklable()
        raised.append(weakref.ref(made))
        return made
    for _ in range(5):
        with pytest.raises(Boom):
            f(1)
        f(0), f.clear(0)
    gc.collect()
    assert [ref() for ref in raised] == [None] * len(raised)


def test_the_store_as_a_cache_lets_keys_and_values_go(folder):
    store = Store(folder, max_bytes=1 << 20)
    key, value, default = text(), [text(1)], text(2)
    number = 10 ** 30

    def turn():
        for _ in range(50):
            store.set(key, value), store.get(key, default), store.get('absent', default), store.touch(key, 5)
            store.add(key, value), store.time_left(key), key in store, store.stats(), repr(store)
            store.set('number', number), store.incr('number', number), store.delete(key)
            for bad in (Unpicklable(), object()):
                try:
                    store.set(key, lambda: bad)
                except TypeError:
                    continue
                raise AssertionError
    turn()
    before = counts(key, value, default, number)
    turn()
    after = counts(key, value, default, number)
    assert after == before


def test_a_store_and_its_functions_go_with_their_last_reference(folder):
    gone = []
    for _ in range(5):
        store = Store(folder)

        @get_quickcache(cache=TieredCache([Memory(), store]))(['key'])
        def f(key):
            return [key]
        f(1)
        gone += [weakref.ref(store), weakref.ref(f)]
        with testing.isolated():
            f(1)
        del f, store
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


def test_coroutine_functions_let_go_of_what_they_were_given(folder):
    class Argument:
        def __init__(self, id):
            self.id = id

    @get_local_quickcache(path=folder)(['argument.id'])
    async def f(argument):
        await asyncio.sleep(0)
        return [argument.id]
    arguments = [Argument(n) for n in range(10)]
    gone = [weakref.ref(argument) for argument in arguments]

    async def main(arguments):
        for argument in arguments:
            await asyncio.gather(f(argument), f(argument))
            await f.refresh(argument)
            task = asyncio.ensure_future(f(argument))
            f.clear(argument)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await f(argument)
    asyncio.run(main(arguments))
    del arguments
    gc.collect()
    assert [ref() for ref in gone] == [None] * 10


def test_many_calls_leave_no_memory_no_descriptor_and_no_map(folder):
    @get_local_quickcache(path=folder, max_bytes=1 << 20)(['key'], name='leaks', version=1)
    def f(key):
        return [key, 'text' * (key % 50)]
    other = get_local_quickcache(0.001, path=folder, max_bytes=1 << 20)(['key'], name='leaks', version=1)(f.__wrapped__)

    def calls(rounds):
        for n in range(rounds):
            f(n % 3000), other(n % 3000)
            if n % 3 == 0:
                f.clear(n % 3000)
            if n % 500 == 0:
                f.clear_all()
                with testing.isolated():
                    f(1)

    def held():
        return len(os.listdir('/proc/self/fd')), Path('/proc/self/maps').read_bytes().count(b'\n')
    calls(10_000)
    f.clear_all(), other.clear_all()
    before, was = held(), resident()
    calls(40_000)
    grown = resident() - was
    assert grown < 2 << 20, f'{grown >> 10} KiB more'
    descriptors, maps = held()
    assert descriptors == before[0] and maps <= before[1] + 8


def test_a_folder_that_is_lost_again_and_again_takes_one_descriptor_along_each_time(tmp_path):
    """And a map of 2.3 MiB: hits may look into a table at any time, so that it stays open."""
    store = Store(tmp_path / 'store', max_bytes=1 << 20)

    def turn(count):
        for _ in range(count):
            shutil.rmtree(tmp_path / 'store')
            for _ in range(1000):
                store.set('key', 1)
                if (tmp_path / 'store' / 'values-1').exists():
                    break
                time.sleep(0.01)
            assert store.get('key') == 1
    store.set('key', 1)
    turn(2)
    before = len(os.listdir('/proc/self/fd'))
    turn(5)
    assert len(os.listdir('/proc/self/fd')) <= before + 5

"""What a value is when it comes back from the store; and what does not go there, or is damaged there."""
import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import logging
import sys
import threading
import uuid

import pytest

from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache, register, testing

from .tools import LONG

MEBIBYTE = 1 << 20


@register
@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass(frozen=True)
class Unregistered:
    x: int


class Colour(enum.Enum):
    RED = 1


class Text(str):
    pass


Row = collections.namedtuple('Row', 'a b')


class Unpicklable:
    def __init__(self):
        self.lock = threading.Lock()


def front(folder, function, memoize_timeout=10, **options):
    """A function as one process has it: a memory tier of its own over the store of the folder."""
    quickcache = get_local_quickcache(memoize_timeout=memoize_timeout, path=folder, max_bytes=options.pop('max_bytes', 16 << 20))
    return quickcache(['key'], name='values', version=1, **options)(function)


def fronts(folder, value, **options):
    """One that gives a value, and one that must find it in the store."""
    def gives(key):
        return value

    def nothing(key):
        raise AssertionError('it is not in the store')
    return front(folder, gives, **options), front(folder, nothing, **options)


TYPED = [None, True, False, 0, 1, -1, 2 ** 63, -2 ** 63 - 1, 10 ** 100, 0.0, -0.0, 1.5, float('inf'), '', 'text', 'é\N{SNOWMAN}😀', b'',
         b'\x00\xff', [], [1, [2, [None]]], (), (1, (2,)), {}, {'a': 1, 2: {'b': [3]}, (1, 2): None}, {1, 'a'}, frozenset({1, 2}),
         datetime.datetime(2018, 1, 1, 12, 30, 15, 123456), datetime.datetime(2018, 1, 1, tzinfo=datetime.timezone.utc),
         datetime.datetime(2018, 1, 1, fold=1), datetime.date(2018, 1, 1), datetime.time(12, 30), datetime.timedelta(-1, 5, 7),
         decimal.Decimal('1.10'), decimal.Decimal('NaN'), decimal.Decimal('-Infinity'), uuid.UUID(int=7), Point(1, [Point(2)])]
PICKLED = [complex(1, 2), fractions.Fraction(1, 3), Colour.RED, Text('sub'), Row(1, 2), Unregistered(1), range(3), bytearray(b'x'),
           collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.Counter('aab'), len, ValueError('said')]


@pytest.mark.parametrize('value', TYPED + PICKLED, ids=repr)
def test_what_comes_back_is_what_was_given(folder, value):
    gives, finds = fronts(folder, value)
    assert gives(1) is not NotImplemented
    back = finds(1)
    assert type(back) is type(value) and repr(back) == repr(value)
    assert finds.stats().store_hits == 1
    assert (gives.stats().unstored, finds.stats().rejected) == (0, 0)


def test_a_list_that_holds_itself_comes_back_as_one(folder):
    value = [1]
    value.append(value)
    gives, finds = fronts(folder, value)
    gives(1)
    back = finds(1)
    assert back[0] == 1 and back[1] is back


def test_a_value_nested_deeper_than_the_typed_codec_takes_comes_back(folder):
    value = None
    for _ in range(300):
        value = [value]
    gives, finds = fronts(folder, value)
    gives(1)
    assert finds(1) == value


def test_nan_comes_back(folder):
    gives, finds = fronts(folder, float('nan'))
    gives(1)
    assert finds(1) != finds(1)


def test_none_is_a_value(folder):
    ran = []
    one, two = [front(folder, lambda key: ran.append(key)) for _ in range(2)]
    assert one(1) is two(1) is one(1) is two(1) is None and ran == [1]
    assert two.get_cached_value(1) is None


def test_ellipsis_is_computed_each_time_and_found_by_nobody(folder):
    """To a call it says that nothing is stored, as ever (drop-in.md R2)."""
    ran = []

    def gives(key):
        ran.append(key)
        return ...
    one, two = front(folder, gives), front(folder, gives)
    assert one(1) is one(1) is two(1) is ...
    assert len(ran) == 3


@pytest.mark.parametrize('size', [0, 1, 100, 10_000, MEBIBYTE])
@pytest.mark.parametrize('make', [lambda size: b'\xa5' * size, lambda size: 'x' * size, lambda size: list(range(size // 5))],
                         ids=['bytes', 'text', 'list'])
def test_large_values_come_back_whole(folder, size, make):
    gives, finds = fronts(folder, make(size))
    gives(1)
    assert finds(1) == make(size)


def test_values_that_cannot_be_compressed_come_back_whole(folder):
    import random
    value = random.Random(1).randbytes(MEBIBYTE)
    gives, finds = fronts(folder, value)
    gives(1)
    assert finds(1) == value


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == 'quickcache' and record.levelno == logging.WARNING]


@pytest.mark.parametrize('asynchronous', [False, True])
def test_a_value_that_cannot_be_encoded_is_returned_counted_and_warned_about_once(folder, caplog, asynchronous):
    made = []

    def gives(key):
        made.append(Unpicklable())
        return made[-1]

    async def agives(key):
        return gives(key)
    function = agives if asynchronous else gives
    # Objects that cannot be copied are kept by nobody, so the function runs each time.
    quickcache = get_quickcache(cache=TieredCache([Memory(copy=False), Store(folder)]))
    f = quickcache(['key'])(function)

    def call(key):
        return asyncio.run(awaited(f(key))) if asynchronous else f(key)

    async def awaited(value):
        return await value
    assert call(1) is made[0] and call(1) is made[0] and call(2) is made[1]
    stats = asyncio.run(awaited(f.stats())) if asynchronous else f.stats()
    assert stats.unstored == 2
    name = function.__name__
    said = warnings(caplog)
    assert len(said) == 1
    assert said[0].startswith(f'{name}: a value of type {__name__}.Unpicklable cannot be stored outside the process: ')
    assert said[0].endswith(', so other processes do not see it') and 'pickle' in said[0]


@pytest.mark.parametrize('change', ['refresh', 'set'])
def test_a_value_that_cannot_be_encoded_leaves_no_older_one_behind(folder, change):
    values = ['old']
    quickcache = [get_quickcache(cache=TieredCache([Memory(copy=False), Store(folder)])) for _ in range(2)]

    def gives(key):
        return values[-1]
    one, two = [each(['key'])(gives) for each in quickcache]
    assert one(1) == two(1) == 'old'
    values.append(Unpicklable())
    if change == 'refresh':
        one.refresh(1)
    else:
        one.set_cached_value(1).to(values[-1])
    values.append('new')
    assert two(1) == 'new', 'the old value was found'


def test_a_value_larger_than_the_store_takes_is_returned_counted_and_warned_about_once(folder, caplog):
    value = bytes(range(256)) * 4096

    def gives(key):
        return value + bytes(key)
    import random
    value = random.Random(1).randbytes(300_000)
    one, two = front(folder, gives, max_bytes=MEBIBYTE), front(folder, gives, max_bytes=MEBIBYTE)
    assert one(1) == one(1) == two(1) == value + b'\x00'
    assert (one.stats().executions, two.stats().executions) == (1, 1)
    assert one(2) == value + bytes(2)
    assert one.stats().unstored == 2
    said = warnings(caplog)
    assert len(said) == 1 and f'a value was not stored in {folder}: it takes 300' in said[0] and 'max_bytes' in said[0]
    # What is small enough is stored as ever.
    value = b'small'
    assert one(3) == two(3) == b'small\0\0\0' and two.stats().store_hits == 1


def test_what_is_larger_than_the_store_leaves_no_older_value_behind(folder):
    import random
    values = ['old']

    def gives(key):
        return values[-1]
    one, two = front(folder, gives, max_bytes=MEBIBYTE), front(folder, gives, max_bytes=MEBIBYTE)
    assert one(1) == two(1) == 'old'
    values.append(random.Random(1).randbytes(500_000))
    assert one.refresh(1) == values[-1]
    assert two(1) == values[-1]


@pytest.mark.parametrize('value', [[1], {'a': [1]}, {1}, [[]], Point(1, [2])], ids=repr)
def test_callers_share_no_object_that_can_be_changed(folder, value):
    gives, finds = fronts(folder, value)
    before = repr(value)
    given = [gives(1), gives(1), gives(1)]
    found = [finds(1), finds(1), finds(1)]
    assert len({id(each) for each in given[1:] + found}) == 5
    for each in given[1:] + found:
        assert repr(each) == before
        if isinstance(each, list):
            each.append('changed')
        elif isinstance(each, dict):
            each['a'].append('changed')
        elif isinstance(each, set):
            each.add('changed')
        else:
            each.y.append('changed')
    assert repr(gives(1)) == repr(finds(1)) == before


def test_a_caller_that_changes_what_it_was_given_changes_no_other_process(folder):
    gives, finds = fronts(folder, [1])
    gives(1).append('changed')
    assert finds(1) == gives(1) == [1]


def test_pickle_of_a_class_that_is_gone_is_a_miss_that_is_counted(folder):
    module = sys.modules[__name__]
    module.Gone = type('Gone', (), {'__module__': __name__, '__qualname__': 'Gone'})
    ran = []

    def gives(key):
        ran.append(key)
        return module.Gone() if hasattr(module, 'Gone') else 'plain'
    one, two = front(folder, gives), front(folder, gives)
    one(1)
    del module.Gone
    assert two(1) == 'plain' and two.stats().rejected >= 1
    assert two(1) == 'plain' and len(ran) == 2


def test_an_interrupt_while_a_value_is_read_comes_out(folder):
    class Interrupts:
        def __reduce__(self):
            return interrupt, ()
    gives, finds = fronts(folder, Interrupts())
    gives(1)
    with pytest.raises(KeyboardInterrupt):
        finds(1)
    # The lease, if it had one, is free again.
    assert type(gives.refresh(1)) is Interrupts


def interrupt():
    raise KeyboardInterrupt


PROGRAM = """
    from quickcache import get_local_quickcache
    quickcache = get_local_quickcache(path=FOLDER, max_bytes=1 << 20)

    @quickcache(['key'])
    def f(key):
        ran()
        return [key, 'text' * key]
"""


def test_p10_bits_flipped_while_nobody_has_it_open_are_misses_and_never_a_wrong_value(site):
    site.start(PROGRAM).do('[f(key) for key in range(200)]')
    for process in site._processes:
        process.end()
    file = site.folder / 'values-1'
    whole = bytearray(file.read_bytes())
    # In the records, behind the header and the index, every 97th byte.
    start = next(at for at in range(MEBIBYTE // 16, len(whole)) if whole[at])
    for at in range(start, len(whole), 97):
        if whole[at]:
            whole[at] ^= 1 << at % 8
    file.write_bytes(whole)
    reader = site.start(PROGRAM)
    ran = len(site.executions)
    assert reader.do('[f(key) for key in range(200)]') == [[key, 'text' * key] for key in range(200)]
    assert len(site.executions) - ran > 20, 'nothing was damaged'
    assert reader.do('f.stats().rejected') > 20
    again = site.start(PROGRAM)
    ran = len(site.executions)
    assert again.do('[f(key) for key in range(200)]') == [[key, 'text' * key] for key in range(200)]
    assert len(site.executions) == ran, 'what was computed anew is found'


def test_a_slow_function_is_not_stored_beyond_its_timeout_with_one_warning(folder, caplog):
    """P6, of the store's timeout: the memory tier's is longer here."""
    def gives(key):
        clock.advance(2)
        return key
    one, two = [front(folder, gives, memoize_timeout=10, timeout=1) for _ in range(2)]
    with testing.fake_clock() as clock:
        assert one(1) == one(1) == two(1) == 1
        assert (one.stats().executions, two.stats().executions) == (1, 1)
        assert one(2) == 2
    assert [line for line in warnings(caplog) if 'timeout' in line] == [
        'gives runs longer than the timeout of its cache, so its value is not stored; raise the timeout']


def test_two_threads_that_find_one_value_share_no_object(folder):
    gives, finds = fronts(folder, [1])
    gives(1)
    barrier, found = threading.Barrier(8), []

    def find():
        barrier.wait(LONG)
        found.append(finds(1))
    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len({id(value) for value in found}) == 8

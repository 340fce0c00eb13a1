"""The typed codec: what it takes comes back as it was, what it does not take it refuses, and bytes that are no value are a miss."""
import collections
import datetime
import decimal
import enum
import fractions
import gc
import math
import pickle
import random
import sys
import uuid
import zoneinfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from quickcache import _native

TYPED, PICKLE = 1, 2
#: Of the time of a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
UTC = datetime.timezone.utc
BERLIN = zoneinfo.ZoneInfo('Europe/Berlin')


def zone(**offset):
    return datetime.timezone(datetime.timedelta(**offset))


def encoded(value):
    codec, data = _native.encode(value, False)
    assert codec == TYPED
    return data


def decoded(data):
    assert type(data) is bytes
    return _native.decode(TYPED, data, False)


def refused(value):
    with pytest.raises(TypeError) as error:
        _native.encode(value, False)
    return str(error.value)


def deep(depth):
    value = None
    for _ in range(depth):
        value = [value]
    return value


VALUES = [
    None, True, False,
    *(sign * (2 ** power + near) for power in (0, 5, 7, 8, 15, 16, 31, 32, 63, 64, 71, 127, 3000) for near in (-1, 0, 1) for sign in (1, -1)),
    0.0, -0.0, 1.5, 1e300, 5e-324, math.inf, -math.inf, math.nan,
    *('x' * length for length in (0, 1, 31, 32, 255, 256, 65535, 65536)), 'naïve', '\u20ac', '\U0001f9a6', '\x00',
    *(b'\xff' * length for length in (0, 1, 255, 256, 65535, 65536)),
    *([1] * length for length in (0, 1, 15, 16, 65535, 65536)), [None, [1, ['a']]],
    *(dict.fromkeys(range(length)) for length in (0, 1, 15, 16, 65535, 65536)),
    {'b': 1, 'a': 2}, {1: 1, '1': 2, (1, 2): 3, None: 4, 2.5: 5, b'': 6, frozenset({1}): 7, datetime.date(2024, 2, 29): 8},
    (), (1,), (1, (2, (3,))), ((),), [()], {'a': ({'b': ()},)}, tuple(range(300)),
    set(), {1, 2, 3}, {(1, 2)}, {frozenset()}, frozenset(), frozenset({1, 'a', None}), [set(), frozenset()],
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4), datetime.datetime.min, datetime.datetime.max,
    datetime.datetime(2024, 1, 1, tzinfo=UTC), datetime.datetime(2024, 10, 27, 2, 30, fold=1), datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('UTC')), datetime.datetime(2024, 1, 1, tzinfo=zone(hours=5, minutes=30)),
    datetime.datetime(2024, 1, 1, tzinfo=zone(hours=-23, minutes=-59, seconds=-59, microseconds=-999999)),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), 'CET')),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0), 'é')),
    datetime.date.min, datetime.date.max, datetime.time.min, datetime.time.max, datetime.time(2, 30, fold=1, tzinfo=BERLIN),
    datetime.time(1, tzinfo=UTC), datetime.time(1, tzinfo=zone(minutes=-1)),
    datetime.timedelta(0), datetime.timedelta.min, datetime.timedelta.max, datetime.timedelta(microseconds=-1),
    *map(decimal.Decimal, ('0', '-0', '1.0', '1.00', '1E+5', '-1E-50', 'NaN', '-NaN12', 'sNaN7', 'Infinity', '-Infinity', '9' * 100)),
    uuid.UUID(int=0), uuid.UUID(int=2 ** 128 - 1), uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe), uuid.UUID(int=5, is_safe=uuid.SafeUUID.unsafe),
    deep(64),
]


def shown(value):
    """The value with all of its types, to be compared: so NaN, -0.0, fold and the order of a dict count."""
    inside = repr(value)
    if isinstance(value, (list, tuple)):
        inside = [*map(shown, value)]
    elif isinstance(value, dict):
        inside = [(shown(key), shown(item)) for key, item in value.items()]
    elif isinstance(value, (set, frozenset)):
        inside = sorted(map(shown, value), key=repr)
    elif isinstance(value, uuid.UUID):
        inside = value.int, value.is_safe
    elif isinstance(value, (datetime.datetime, datetime.time)):
        inside = repr(value), value.fold, type(value.tzinfo)
    elif isinstance(value, int):
        inside = hex(value)             # decimal digits are limited
    return type(value), inside


def same(one, other):
    return shown(one) == shown(other)


def some(value):
    return f'{type(value).__name__}-{sys.getsizeof(value)}' if sys.getsizeof(value) > 200 else repr(value)


@pytest.mark.parametrize('value', VALUES, ids=some)
def test_every_type_comes_back_as_it_was(value):
    assert same(decoded(encoded(value)), value)


def test_the_zones_are_the_very_objects():
    assert decoded(encoded(datetime.datetime(2024, 1, 1, tzinfo=UTC))).tzinfo is UTC
    assert decoded(encoded(datetime.datetime(2024, 1, 1, tzinfo=BERLIN))).tzinfo is BERLIN


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=['Cs'])) | st.binary() \
    | st.datetimes(timezones=st.none() | st.timezones(no_cache=False) | st.just(UTC)) | st.dates() | st.times() | st.timedeltas() | st.decimals() | st.uuids()
hashable = scalars.filter(lambda value: not (isinstance(value, decimal.Decimal) and value.is_snan()))
keys = st.recursive(hashable, lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=3), max_leaves=4)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner) | st.sets(keys) | st.frozensets(keys), max_leaves=15)


@settings(patient, max_examples=150)
@given(values)
def test_any_value_comes_back_as_it_was(value):
    assert same(decoded(encoded(value)), value)


def test_names_that_many_dicts_share_are_made_once_and_never_mistaken_for_others():
    names = [a * 20 + b for a in 'abcdefghijklmnop\u00e9' for b in ('', *'0123456789')]
    rows = [{name: name + str(number) for name in names} for number in range(4)] + [{name: 0} for name in names]
    back = decoded(encoded(rows))
    assert back == rows
    few = [{'id': 1, 'x' * 32: 2}] * 3
    one, two, three = decoded(encoded(few))
    assert [*map(id, two)][:1] == [*map(id, three)][:1] and [one, two, three] == few


class Colour(enum.IntEnum):
    RED = 1


class Level(str, enum.Enum):
    LOW = 'low'


class Text(str):
    pass


class Number(int):
    pass


class Moment(datetime.datetime):
    pass


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(0)

    def __eq__(self, other):
        return type(other) is Zone

    def __hash__(self):
        return 1


class Money(decimal.Decimal):
    pass


class Ticket(uuid.UUID):
    pass


Point = collections.namedtuple('Point', 'x y')

OTHERS = [
    Colour.RED, Level.LOW, Text('a'), Number(1), Point(1, 2), collections.OrderedDict(a=1), collections.defaultdict(int, a=1), collections.Counter('a'),
    Moment(2024, 1, 1), Money('1'), Ticket(int=1), 1j, range(3), bytearray(b'a'), fractions.Fraction(1, 3), Ellipsis, int, len, '\ud800',
    datetime.datetime(2024, 1, 1, tzinfo=Zone()), datetime.time(1, tzinfo=Zone()), UTC, BERLIN,
]


@pytest.mark.parametrize('value', OTHERS, ids=repr)
def test_what_would_not_come_back_as_it_was_is_left_to_pickle(value):
    for holder in (value, [value], {'key': (value,)}):
        refused(holder)
        codec, data = _native.encode(holder, True)
        assert codec == PICKLE
        assert data == pickle.dumps(holder, 5)
        back = _native.decode(PICKLE, data, True)
        assert back == holder and type(back) is type(holder)


def test_a_zone_info_without_a_key_is_refused():
    keyless = zoneinfo.ZoneInfo.from_file(open_berlin())
    assert refused(datetime.datetime(2024, 1, 1, tzinfo=keyless)) == \
        'a value of type datetime.datetime cannot be stored outside the process: it holds a ZoneInfo without a key'


def open_berlin():
    for folder in zoneinfo.TZPATH:
        try:
            return open(f'{folder}/Europe/Berlin', 'rb')
        except FileNotFoundError:
            continue
    pytest.skip('no time zones on this machine')


@pytest.mark.parametrize('value, text', [
    (1j, 'a value of type complex cannot be stored outside the process: complex has no form in the typed codec'),
    ({'a': [Colour.RED]}, f'a value of type dict cannot be stored outside the process: {__name__}.Colour has no form in the typed codec'),
    ('\ud800', 'a value of type str cannot be stored outside the process: it holds a str with a lone surrogate'),
    (deep(65), 'a value of type list cannot be stored outside the process: it is nested more than 64 deep, or holds itself'),
    (datetime.time(1, tzinfo=Zone()),
     f'a value of type datetime.time cannot be stored outside the process: {__name__}.Zone has no form in the typed codec'),
    (b'x' * (64 << 20), 'a value of type bytes cannot be stored outside the process: it takes more than 64 MiB'),
], ids=['type', 'inner type', 'surrogate', 'deep', 'zone', 'large'])
def test_a_refusal_says_why(value, text):
    if isinstance(value, bytes):
        value += b'x'
    assert refused(value) == text


def test_a_refusal_of_both_codecs_says_why_of_both():
    with pytest.raises(TypeError) as error:
        _native.encode([sys], True)
    assert str(error.value) == ('a value of type list cannot be stored outside the process: module has no form in the typed codec; '
                                "and pickle: TypeError: cannot pickle 'module' object")


def cycles():
    itself = []
    itself.append(itself)
    by_dict = {}
    by_dict['me'] = (by_dict,)
    return [itself, by_dict]


@pytest.mark.parametrize('value', cycles(), ids=['list', 'dict'])
def test_a_value_that_holds_itself_is_refused(value):
    assert 'or holds itself' in refused(value)


def test_an_object_that_is_there_a_million_million_times_is_refused_before_it_fills_the_memory():
    value = ['x' * 1000]
    for _ in range(40):
        value = [value, value]
    assert refused(value).endswith('it takes more than 64 MiB')


def test_a_value_that_gets_too_large_by_its_numbers_is_refused():
    assert refused([2 ** 62] * (8 << 20)).endswith('it takes more than 64 MiB')


class Raises:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


def test_an_interrupt_is_no_refusal():
    with pytest.raises(KeyboardInterrupt):
        _native.encode(Raises(KeyboardInterrupt()), True)
    with pytest.raises(TypeError, match='and pickle: ZeroDivisionError: by zero$'):
        _native.encode(Raises(ZeroDivisionError('by zero')), True)


def test_pickle_is_not_read_where_it_is_not_allowed():
    codec, data = _native.encode(1j, True)
    with pytest.raises(ValueError, match='an entry of codec 2, which is not read here'):
        _native.decode(codec, data, False)
    with pytest.raises(ValueError, match='an entry of codec 77, which is not read here'):
        _native.decode(77, data, True)


def extension(kind, body):
    return b'\xc7' + bytes([len(body), kind]) + body


BAD = [
    b'', b'\xc1', b'\xc0\xc0', encoded([1, 2])[:-1], encoded('text')[:-1], b'\xa1\xff', b'\xd9',
    *(marker + b'\xff\xff\xff\xff' for marker in (b'\xdd', b'\xdf', b'\xdb', b'\xc6', b'\xc9')), b'\xdd\x00\x00\x00\x02\xc0', b'\xdf\x00\x00\x00\x01\xc0',
    b'\x91' * 65 + b'\xc0', b'\x81\xc0' * 65 + b'\xc0', b'\x81\x90\xc0',                       # deep lists, deep dicts, a list as a key
    *(extension(kind, b'') for kind in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11)), *(extension(kind, b'\xc0') for kind in (2, 3, 4, 11)),
    extension(2, b'\x90\x90'), extension(3, b'\x91\x90'), extension(2, extension(2, b'\x90')), extension(0, b''), extension(12, b''), extension(255, bytes(4)),
    extension(5, bytes(12)), extension(5, bytes.fromhex('07e80d0101010100') + bytes(4)), extension(5, bytes.fromhex('07e8010101010102') + bytes(4)),
    extension(5, bytes.fromhex('07e8010101010100') + bytes(4) + b'\x00'), extension(5, bytes.fromhex('07e8010101010100') + bytes(4) + b'\x01\x01'),
    extension(5, bytes.fromhex('07e8010101010100') + bytes(4) + b'\x02' + b'\x7f' * 8), extension(5, bytes.fromhex('07e8010101010100') + bytes(4) + b'\x04../../etc/passwd'),
    extension(5, bytes.fromhex('07e8010101010100') + bytes(4) + b'\x04Nowhere/Land'), extension(6, b'\x07\xe8\x02\x1e'), extension(6, bytes(5)),
    extension(7, b'\x18\x00\x00\x00' + bytes(4)), extension(7, bytes(4) + b'\xff' * 4), extension(8, bytes(4) + b'\xff' * 8), extension(8, b'\x7f' * 4 + bytes(8)),
    extension(9, b'one'), extension(9, b'\xff'), extension(10, bytes(15)), extension(10, bytes(18)), extension(10, bytes(16) + b'\x05'),
    extension(11, b'\xa3abc\x80'),
]


@pytest.mark.parametrize('data', BAD, ids=lambda data: data[:20].hex() + '-' + str(len(data)))
def test_p10_bytes_that_are_no_value_are_an_error(data):
    with pytest.raises(Exception) as error:
        decoded(data)
    assert not isinstance(error.value, (AssertionError, MemoryError, SystemError, RecursionError))


def test_p10_deep_extensions_are_an_error():
    headers = [b'\xc9' + (1 + 6 * inside).to_bytes(4, 'big') + b'\x02' for inside in range(1_000_000)]
    data = b''.join(reversed(headers)) + b'\x90'
    with pytest.raises(ValueError):
        decoded(data)
    value = ()
    for _ in range(63):
        value = (value,)
    assert decoded(encoded(value)) == value
    assert 'nested more than 64' in refused((value,))


def reads_or_raises(data):
    try:
        decoded(data)
    except Exception as error:
        assert not isinstance(error, (AssertionError, MemoryError, SystemError, RecursionError))


@settings(patient, max_examples=2000)
@given(st.binary(max_size=80))
@example(b'')
def test_p10_random_bytes_are_a_value_or_an_error(data):
    reads_or_raises(data)


@settings(patient, max_examples=150)
@given(values, st.randoms(use_true_random=False))
def test_p10_a_value_with_bytes_changed_is_a_value_or_an_error(value, chance):
    data = bytearray(encoded(value))
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    reads_or_raises(bytes(data))


def test_neither_failing_nor_working_keeps_anything():
    def run():
        for value in VALUES:
            if sys.getsizeof(value) < 5000:
                decoded(encoded(value))
        for value in OTHERS:
            refused([object(), value])
        for data in BAD:
            with pytest.raises(Exception):
                decoded(data)
    chance = random.Random(1)
    data = bytearray(encoded([{'a': (1.5, [2 ** 70])}] * 20))

    def damaged():
        for _ in range(2000):
            at = chance.randrange(len(data))
            reads_or_raises(bytes(data[:at] + bytes([chance.randrange(256)]) + data[at + 1:]))

    def blocks():
        run(), damaged()
        gc.collect()            # what was raised holds frames that hold it
        return sys.getallocatedblocks()
    blocks()
    before = blocks()
    assert max(blocks() for _ in range(5)) - before < 500

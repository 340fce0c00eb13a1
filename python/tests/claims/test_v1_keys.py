"""Keys of scheme v1 (docs/keys.md): their text from Python values, and the same equality in the memory tier as in the text."""
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import string
import subprocess
import sys
import textwrap
import uuid

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from quickcache import Memory, TieredCache, _native
from quickcache.quickcache import decorate
from quickcache.v1 import V1Function

from .tools import LONG, PACKAGE, UserCache

GOLDEN = json.loads((PACKAGE.parent / 'crates/quickcache/tests/data/golden-keys-v1.json').read_text('utf-8'))['rows']
UTC = datetime.timezone.utc


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    ROUGE = 1


class Level(enum.IntEnum):
    LOW = 1


class Text(str, enum.Enum):
    A = 'a'


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    BOTH = 3


class Bits(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: object
    y: object = None


@dataclasses.dataclass(frozen=True)
class Place:
    x: object
    y: object = None


def returned(values):
    return values


def v1(vary_on, cache=None, **options):
    """The decorator of a function over `cache`, whichever it is."""
    def decorator(fn):
        return decorate(fn, V1Function(fn, vary_on, Memory() if cache is None else cache, **options))
    return decorator


# ---- golden values ----

def built(tagged):
    """The Python value of one of the file: `tools/golden_v1.py` says how they are written."""
    kind, value = tagged['t'], tagged.get('v')
    offset = tagged.get('off')
    zone = None if offset is None else datetime.timezone(datetime.timedelta(minutes=offset))
    many = {'list': list, 'tuple': tuple, 'set': set, 'frozenset': frozenset}
    if kind in many:
        return many[kind](map(built, value))
    if kind == 'named' and tagged['variant']:
        return enum.Enum(tagged['type'], [tagged['variant']])[tagged['variant']]
    if kind == 'named':
        names = string.ascii_letters[:len(value)]
        return dataclasses.make_dataclass(tagged['type'], names)(*map(built, value))
    if kind == 'time':
        microseconds = value // 1000
        return (datetime.datetime.min + datetime.timedelta(microseconds=microseconds)).time().replace(tzinfo=zone)
    return {
        'none': lambda: None, 'bool': lambda: value, 'int': lambda: int(value), 'float': lambda: float(value), 'str': lambda: value,
        'bytes': lambda: bytes.fromhex(value), 'dict': lambda: {built(key): built(item) for key, item in value},
        'uuid': lambda: uuid.UUID(value), 'datetime': lambda: datetime.datetime(*value, tzinfo=zone),
        'date': lambda: datetime.date(*value), 'timedelta': lambda: datetime.timedelta(microseconds=int(value) // 1000),
        'decimal': lambda: decimal.Decimal(value),
    }[kind]()


# Python has no timedelta of more than 999,999,999 days: those rows are for Rust's Duration.
ROWS = [row for row in GOLDEN if not any(v['t'] == 'timedelta' and int(v['v']) >= 10 ** 9 * 86_400 * 10 ** 9 for v in row['values'])]


def test_the_golden_file_has_every_kind_of_value_that_python_has():
    kinds = {value['t'] for row in ROWS for value in row['values']}
    assert kinds == {
        'none', 'bool', 'int', 'float', 'str', 'bytes', 'list', 'tuple', 'dict', 'set', 'frozenset', 'uuid', 'datetime', 'date', 'time',
        'timedelta', 'decimal', 'named'}
    assert len(GOLDEN) - len(ROWS) == 2 and len(ROWS) > 180


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row['key'][4:12])
def test_every_golden_key_is_made_from_python_values(row):
    """By the keys alone, and by a decorated function that has them."""
    identity = (row['module'], row['name'], row['version'], bytes.fromhex(row['source']))
    keys = _native.V1Keys(*identity, bytes.fromhex(row['secret']))
    values = [built(value) for value in row['values']]
    assert keys.id.hex() == row['function']
    digest = keys.digest(values)
    assert digest[20:].hex() == row['rest']
    assert keys.text(values) == row['key']

    cache = UserCache()

    @v1(returned, TieredCache([Memory(), cache]))
    def f(values):
        return 'value'
    f.clear.__self__.keys = keys
    assert f.get_cache_key(values) == row['key']
    assert f(values) == f(values) == 'value'
    assert cache.store == {row['key']: 'value'}
    assert f.stats().executions == 1


def test_a_function_of_a_name_and_version_has_the_key_of_a_rust_function_of_both():
    named = next(row for row in GOLDEN if row['module'] == '' and row['source'] == '' and row['version'] == '')
    values = [built(value) for value in named['values']]
    assert v1(returned, name=named['name'])(returned).get_cache_key(values) == named['key']
    keys = _native.V1Keys('', 'posts', '7', b'', b'')
    assert v1(returned, name='posts', version=7)(returned).get_cache_key([1, 'a']) == keys.text([1, 'a'])


# ---- identity ----

def test_what_tells_functions_apart():
    def f(key):
        return key

    def keys(module='blog', qualname='f', **options):
        f.__module__, f.__qualname__ = module, qualname
        return v1(['key'], **options)(f).get_cache_key(1)
    own = keys()
    assert own == keys() == _native.V1Keys('blog', 'f', '', _native.source_hash(_source(f)), b'').text([1])
    different = [own, keys(module='other'), keys(qualname='A.f'), keys(version=1), keys(version=2), keys(name='f'), keys(name='g'),
                 keys(name='f', version=1)]
    assert len(set(different)) == len(different)
    assert keys('blog', 'f', name='f') == keys('other', 'g', name='f')
    assert keys(version=1) == _native.V1Keys('blog', 'f', '1', b'', b'').text([1])
    assert keys(name='f', version=0) == _native.V1Keys('', 'f', '0', b'', b'').text([1])


def _source(fn):
    import inspect
    return inspect.getsource(fn)


def test_a_changed_source_text_is_another_function_unless_it_has_a_name_or_version():
    def one():
        def f(key):
            return key
        return f

    def other():
        def f(key):
            return (key,)
        f.__qualname__ = one().__qualname__
        return f
    for options, same in [({}, False), ({'version': 1}, True), ({'name': 'f'}, True)]:
        first, second = (v1(['key'], **options)(make()) for make in (one, other))
        assert (first.get_cache_key(1) == second.get_cache_key(1)) is same


def test_functions_of_one_name_share_their_entries():
    memory = Memory()

    @v1(['key'], memory, name='shared', version=1)
    def first(key):
        return 'first'

    @v1(['number'], memory, name='shared', version=1)
    def second(number):
        return 'second'
    assert first(1) == second(1) == 'first'
    second.clear(1)
    assert second(1) == first(1) == 'second'


# ---- equality ----

# What is equal is in one row, and differs from what is in any other.
CLASSES = [
    [None], [True], [False], [1], [0], [-1], [1.0], [0.0], [-0.0], [math.nan, -math.nan, float('nan')], [math.inf],
    [2 ** 63 - 1], [2 ** 63], [2 ** 63 + 1], [-2 ** 63], [-2 ** 63 - 1], [10 ** 5000], [10 ** 5000 + 1],
    ['a', ''.join(['a'])], [b'a'], ['1'], [b'1'], [''], [b''], ['\x00'], ['\xe9'], ['e\u0301'], ['\u20ac'], ['\U0001f600'],
    [[1]], [(1,)], [{1}], [frozenset({1})], [[]], [()], [set()], [frozenset()], [{}], [[[]]],
    [{1: 2, 3: 4}, {3: 4, 1: 2}, collections.OrderedDict([(3, 4), (1, 2)])], [{1: 2}], [{1: 2.0}], [{True: 2}], [[(1, 2)]],
    [{1, 2}, {2, 1}], [{1.0, 2}], [['ab', 'c']], [['a', 'bc']], [['a', 'b', 'c']],
    [uuid.UUID(int=1)], [uuid.UUID(int=2)],
    [datetime.datetime(2024, 1, 1, 12)], [datetime.datetime(2024, 1, 1, 12, 0, 0, 1)],
    [datetime.datetime(2024, 1, 1, 12, tzinfo=UTC),
     datetime.datetime(2024, 1, 1, 14, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))],
    [datetime.datetime(1, 1, 1)], [datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=23)))],
    [datetime.date(2024, 1, 1)], [datetime.date(2024, 1, 2)],
    [datetime.time(12)], [datetime.time(12, tzinfo=UTC)], [datetime.time(14, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))],
    [datetime.timedelta(1), datetime.timedelta(hours=24)], [datetime.timedelta(-1)], [datetime.timedelta(microseconds=1)],
    [datetime.timedelta.max], [datetime.timedelta.min],
    [decimal.Decimal('1.0')], [decimal.Decimal('1.00')], [decimal.Decimal('1')], [decimal.Decimal('NaN')], [decimal.Decimal('sNaN')],
    [decimal.Decimal('-0')], [decimal.Decimal('1E+5')], [decimal.Decimal('Infinity')],
    [Color.RED, Color.ROUGE], [Color.GREEN], [Level.LOW], [Text.A], [Access.READ], [Access.WRITE], [Access.READ | Access.WRITE, Access.BOTH],
    [Access(0)], [Bits.READ | Bits.WRITE], [Bits.READ],
    [Point(1)], [Point(1, 2)], [Point((1,))], [Place(1)], [Point(Place(1))],
]
FLAT = [(i, value) for i, row in enumerate(CLASSES) for value in row]


def test_two_values_share_an_entry_and_a_text_exactly_if_they_are_equal_under_v1():
    memory = Memory(max_entries=None)

    @v1(['key'], memory)
    def f(key):
        return ran.append(key)
    ran = []
    texts = {}
    for row, value in FLAT:
        ran.clear()
        f(value), f(value)
        assert len(ran) == (f.get_cache_key(value) not in texts), value
        assert texts.setdefault(f.get_cache_key(value), row) == row, value
    assert len(texts) == len(CLASSES) == f.stats().entries
    # The same inside a container, where no part is plain.
    assert len({f.get_cache_key([value]) for _, value in FLAT}) == len(CLASSES)
    assert len({f.get_cache_key({0: value}) for _, value in FLAT}) == len(CLASSES)
    assert len({f.get_cache_key(Point(0, value)) for _, value in FLAT}) == len(CLASSES)


class OwnStr(str):
    def encode(self, *args):
        raise AssertionError('asked')

    __str__ = __repr__ = __hash__ = __eq__ = encode


class OwnInt(int):
    def __str__(self):
        raise AssertionError('asked')

    __repr__ = __int__ = __index__ = __hash__ = __eq__ = __str__


class OwnFloat(float):
    def __str__(self):
        raise AssertionError('asked')

    __repr__ = __float__ = __hash__ = __eq__ = __str__


class OwnBytes(bytes):
    def decode(self, *args):
        raise AssertionError('asked')

    __bytes__ = __iter__ = __hash__ = __eq__ = decode


class OwnList(list):
    def __iter__(self):
        raise AssertionError('asked')

    __len__ = __eq__ = __iter__


class OwnTuple(tuple):
    def __iter__(self):
        raise AssertionError('asked')

    __len__ = __hash__ = __eq__ = __iter__


class OwnDict(dict):
    def items(self):
        raise AssertionError('asked')

    __iter__ = __len__ = keys = __eq__ = items


class OwnSet(set):
    def __iter__(self):
        raise AssertionError('asked')

    __len__ = __eq__ = __iter__


class OwnFrozenSet(frozenset):
    def __iter__(self):
        raise AssertionError('asked')

    __len__ = __hash__ = __eq__ = __iter__


class OwnDecimal(decimal.Decimal):
    def __str__(self):
        raise AssertionError('asked')


Pair = collections.namedtuple('Pair', 'a b')


@pytest.mark.parametrize('value, plain', [
    (OwnStr('a'), 'a'), (OwnInt(1), 1), (OwnInt(2 ** 70), 2 ** 70), (OwnFloat(1.5), 1.5), (OwnBytes(b'a'), b'a'), (OwnList([1]), [1]),
    (OwnTuple((1,)), (1,)), (OwnDict({1: 2}), {1: 2}), (OwnSet({1}), {1}), (OwnFrozenSet({1}), frozenset({1})),
    (OwnDecimal('1.5'), decimal.Decimal('1.5')), (Pair(1, 2), (1, 2)), (collections.defaultdict(list, {1: [2]}), {1: [2]}),
], ids=lambda v: type(v).__name__)
def test_an_object_of_a_subclass_counts_by_its_contents_and_is_asked_nothing(value, plain):
    f = v1(['key'])(lambda key: key)
    assert f.get_cache_key(value) == f.get_cache_key(plain)
    assert f.get_cache_key([value]) == f.get_cache_key([plain])
    f.set_cached_value(plain).to('stored')
    assert f(value) == 'stored'


def test_a_key_does_not_depend_on_the_decimal_context():
    f = v1(['key'])(lambda key: key)
    value = decimal.Decimal('1E+5')
    usual = f.get_cache_key(value)
    with decimal.localcontext() as context:
        context.capitals = 0
        context.prec = 1
        assert f.get_cache_key(value) == usual
        assert f.get_cache_key(decimal.Decimal('123.456')) != f.get_cache_key(decimal.Decimal('100'))


def test_nanoseconds_that_a_subclass_knows_count():
    class Stamp(datetime.datetime):
        nanosecond = 0

    class Span(datetime.timedelta):
        nanoseconds = 0
    f = v1(['key'])(lambda key: key)
    for cls, attribute, base in [(Stamp, 'nanosecond', datetime.datetime(2024, 1, 1)), (Span, 'nanoseconds', datetime.timedelta(1))]:
        value = cls(2024, 1, 1) if cls is Stamp else cls(1)
        assert f.get_cache_key(value) == f.get_cache_key(base)
        setattr(cls, attribute, 5)
        assert f.get_cache_key(value) != f.get_cache_key(base)


def test_the_value_of_a_moment_decides_and_not_a_later_change():
    """What was a mutable value is its bytes from the call on."""
    f = v1(['key'])(lambda key: key)
    key = [1]
    f.set_cached_value(key).to('one')
    key.append(2)
    assert f.get_cached_value(key) is Ellipsis
    assert f.get_cached_value([1]) == 'one'


# ---- random values ----

plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2 ** 65, 2 ** 65), st.floats(), st.text(max_size=4), st.binary(max_size=4),
    st.sampled_from(['1', b'1', '', b'', 0, 1, True, False, 0.0, -0.0, 1.0, Color.RED, Level.LOW, Text.A, Access.BOTH]))
hashable = st.recursive(
    st.one_of(plain, st.uuids(), st.datetimes(timezones=st.sampled_from([None, UTC, datetime.timezone(datetime.timedelta(hours=1))])),
              st.dates(), st.times(timezones=st.sampled_from([None, UTC])), st.timedeltas(), st.decimals()),
    lambda inner: st.one_of(st.tuples(inner), st.tuples(inner, inner), st.builds(Point, inner, inner), st.builds(Place, inner)), max_leaves=4)
values = st.recursive(
    st.one_of(plain, hashable),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.sets(plain, max_size=3), st.frozensets(plain, max_size=3),
        st.dictionaries(plain, inner, max_size=3), st.builds(Point, inner, inner)), max_leaves=6)


def form(value):
    """What `docs/keys.md` says that decides whether two values are equal, as Python values that can be compared."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return ('named', kind.__name__, value.name)
    if dataclasses.is_dataclass(value):
        return ('struct', kind.__name__, *[form(getattr(value, field.name)) for field in dataclasses.fields(value)])
    if kind is float:
        return ('float', 'nan' if math.isnan(value) else value.hex())
    if kind in (list, tuple):
        return (kind.__name__, *map(form, value))
    if kind in (set, frozenset):
        return (kind.__name__, frozenset(collections.Counter(map(form, value)).items()))
    if kind is dict:
        return ('dict', frozenset(collections.Counter((form(k), form(v)) for k, v in value.items()).items()))
    if kind is datetime.datetime:
        epoch = datetime.datetime(1, 1, 1, tzinfo=value.tzinfo and UTC)
        return ('datetime', value.tzinfo is None, value - epoch)
    if kind is datetime.time:
        return ('time', value.replace(tzinfo=None), value.utcoffset())
    if kind is decimal.Decimal:
        return ('decimal', str(value))
    return (kind.__name__, value)


KEYS = _native.V1Keys('tests', 'f', '', b'', b'')


@settings(max_examples=400, deadline=None)
@given(values, values)
@example([1, [2]], [1, (2,)])
@example({'a': 1}, {('a', 1)})
def test_two_random_values_have_one_key_exactly_if_they_are_equal_under_v1(one, other):
    assert (KEYS.digest([one]) == KEYS.digest([other])) == (form(one) == form(other))


@settings(max_examples=300, deadline=None)
@given(values, st.integers(0, 3))
def test_a_value_and_its_near_neighbours_differ(value, which):
    """Random pairs are seldom alike: here one is made of the other."""
    neighbour = [lambda: [value], lambda: (value,), lambda: {'': value}, lambda: Point(value)][which]()
    assert KEYS.digest([value]) != KEYS.digest([neighbour])
    assert KEYS.digest([value, value]) != KEYS.digest([(value, value)])
    assert KEYS.digest([[value], value]) != KEYS.digest([value, [value]]) or form(value) == form([value])


@settings(max_examples=200, deadline=None)
@given(st.lists(values, max_size=4), st.lists(values, max_size=4))
def test_several_values_are_never_taken_for_others(one, other):
    assume(len(one) != len(other) or one)
    assert (KEYS.digest(one) == KEYS.digest(other)) == (list(map(form, one)) == list(map(form, other)))


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=2, max_size=6))
def test_the_memory_tier_agrees_with_the_text_on_random_values(keys):
    memory = Memory()

    @v1(['key'], memory)
    def f(key):
        return f.get_cache_key(key)
    for key in keys:
        assert f(key) == f.get_cache_key(key)
        assert f(key) == f.get_cache_key(key)
    assert f.stats().entries == f.stats().executions == len({f.get_cache_key(key) for key in keys})


# ---- no key value ----

class Person:
    id = 1


FIX = ', which is no key value; vary on plain values of it, such as an id, by a dotted path or a vary_on function'


@pytest.mark.parametrize('value', [
    Person(), Person, object(), 1j, range(3), bytearray(b'a'), memoryview(b'a'), iter([]), collections.deque(), {}.keys(), len, lambda: 1,
    Point, Color, NotImplemented, Ellipsis], ids=lambda v: type(v).__qualname__)
@pytest.mark.parametrize('wrap', [lambda v: v, lambda v: [v], lambda v: {'a': (v,)}, lambda v: Point(v)], ids=['itself', 'list', 'dict', 'dataclass'])
def test_what_is_no_key_value_is_one_error_that_names_function_argument_and_fix(value, wrap):
    executions = []

    @v1(['thing', 'n'])
    def look_up(thing, n=0):
        executions.append(thing)
    name = '.'.join([type(value).__module__, type(value).__qualname__]).removeprefix('builtins.')
    verb = 'is of' if wrap(1) == 1 else 'holds a value of'
    for use in (look_up, look_up.get_cache_key, look_up.clear, look_up.get_cached_value, look_up.set_cached_value, look_up.explain):
        with pytest.raises(ValueError) as raised:
            use(wrap(value))
        assert type(raised.value) is ValueError
        assert str(raised.value) == f'look_up: the argument thing {verb} type {name}{FIX}'
    assert not executions


def test_a_dataclass_that_is_a_value_of_another_type_too_is_refused():
    """Its fields do not tell its text, or its items."""
    for base, content in [(str, 'a'), (int, 1), (float, 1.5), (bytes, b'a'), (list, [1]), (tuple, (1,)), (dict, {1: 2}), (set, {1}),
                          (frozenset, {1}), (decimal.Decimal, '1.5')]:
        made = dataclasses.make_dataclass('Tagged', [('kind', str, 'x')], bases=(base,), init=False, repr=False, eq=False,
                                         namespace={'__doc__': 'Not made by dataclass, which cannot for each of these.'})
        for value in (made(content), [made(content)]):
            with pytest.raises(ValueError, match='Tagged, which is no key value'):
                f_over_memory(value)


@pytest.mark.parametrize('key', ['a\ud800', ['\ud800'], {'\udfff': 1}, OwnStr('\ud800'), Point('\ud800')], ids=['str', 'list', 'dict', 'subclass', 'dataclass'])
def test_text_without_a_utf8_form_is_refused(key):
    f = v1(['key', 'other'])(named_f)
    text = ("f: the argument key is or holds text with a lone surrogate, which has no UTF-8 form; vary on text.encode('utf-8', "
            "'surrogatepass') instead, by a vary_on function")
    for _ in range(2):
        with pytest.raises(ValueError) as raised:
            f(key, object())
        assert type(raised.value) is ValueError and str(raised.value) == text


def f(key, other=None):
    return key


named_f = f


def test_the_error_names_the_path_or_the_place():
    class Blog:
        owner = Person()

    @v1(['blog.owner'])
    def of_path(blog):
        pass

    @v1(lambda a: [1, a])
    def of_function(a):
        pass
    with pytest.raises(ValueError, match=r'^of_path: the argument blog\.owner is of type '):
        of_path(Blog())
    with pytest.raises(ValueError, match=r'^of_function: value 2 that its vary_on function gives is of type '):
        of_function(Person())
    with pytest.raises(ValueError, match=r'^f: value 1 of its key is of type '):
        KEYS.text([Person()])


def test_no_message_shows_a_value():
    class Secret:
        def __repr__(self):
            raise AssertionError('shown')
        __str__ = __format__ = __repr__
    with pytest.raises(ValueError):
        f_over_memory(Secret())
    with pytest.raises(ValueError):
        f_over_memory([Secret()])


f_over_memory = v1(['key'])(f)


def test_an_error_of_a_values_own_code_comes_out_as_it_is():
    class BadZone(datetime.tzinfo):
        def utcoffset(self, when):
            raise LookupError('no such zone')
    with pytest.raises(LookupError, match='no such zone'):
        f_over_memory(datetime.datetime(2024, 1, 1, tzinfo=BadZone()))


def test_a_value_that_holds_itself_is_a_recursion_error():
    key = []
    key.append(key)
    knot = {}
    knot['knot'] = [knot]
    point = Point([])
    point.x.append(point)
    for value in (key, knot, point):
        with pytest.raises(RecursionError):
            f_over_memory(value)
    deep = 1
    for _ in range(300):
        deep = [deep]
    assert f_over_memory(deep) is deep


def test_a_container_that_changes_while_it_is_read_does_no_harm():
    grown = []

    class Zone(datetime.tzinfo):
        def utcoffset(self, when):
            grown.append(1)
            for container in (into, table):
                container.clear()
            return datetime.timedelta(0)
    moment = datetime.datetime(2024, 1, 1, tzinfo=Zone())
    for make in (lambda: (into.extend([moment] * 3), into)[1], lambda: (table.update(a=moment, b=moment, c=1), table)[1]):
        into, table = [], {}
        f_over_memory.get_cache_key(make())
    assert grown


# ---- by text ----

def test_the_memory_finds_a_functions_entry_by_its_text_key():
    memory = Memory()

    @v1(['key', 'more'], memory)
    def f(key, more=None):
        return 'computed'
    for key in (1, 'a', [1, 2], Color.RED, 2 ** 70):
        text = f.get_cache_key(key)
        assert memory.get(text) is None and text not in memory
        f(key)
        assert memory.get(text) == 'computed' and text in memory and memory.time_left(text) > 200
        memory.set(text, 'set')
        assert f(key) == f.get_cached_value(key) == 'set' == memory.get(text)
        assert memory.delete(text)
        assert f.get_cached_value(key) is Ellipsis and memory.get(text) is None
        assert f(key) == 'computed'
        f.clear(key)
        assert memory.get(text) is None
        memory.set(text, 'set')
        f.clear(key)
        assert memory.get(text) is None
    assert len(memory) == 0


def test_a_text_key_is_of_one_function_among_many():
    memory = Memory()
    functions = [v1(['key'], memory, name=f'function {n}')(named_f) for n in range(30)]
    for n, g in enumerate(functions):
        g.set_cached_value(1).to(n)
    for n, g in enumerate(functions):
        assert memory.get(g.get_cache_key(1)) == n
    assert memory.delete(functions[7].get_cache_key(1))
    assert [g.get_cached_value(1) for g in functions] == [n if n != 7 else Ellipsis for n in range(30)]


def test_clear_all_takes_what_was_set_by_text_and_leaves_other_functions_alone():
    memory = Memory()
    one, other = (v1(['key'], memory, name=name)(named_f) for name in ('one', 'other'))
    one(1), other(1)
    memory.set(one.get_cache_key(2), 'set')
    memory.set('mine', 'kept')
    one.clear_all()
    assert one.get_cached_value(1) is one.get_cached_value(2) is Ellipsis
    assert other.get_cached_value(1) == 1
    assert memory.get('mine') == 'kept'


def test_both_schemes_live_in_one_memory():
    from .tools import cached
    memory = Memory()
    seed, keyed = cached(memory)(named_f), v1(['key'], memory)(named_f)
    assert seed('a') == keyed('a') == 'a'
    assert seed(b'a') == 'a' and keyed(b'a') == b'a'
    seed.clear_all()
    assert seed.get_cached_value('a') is Ellipsis and keyed.get_cached_value('a') == 'a'
    memory.clear()
    assert keyed.get_cached_value('a') is Ellipsis


def test_a_deletion_by_text_stops_a_running_execution_from_storing():
    from .tools import Gate, start
    memory = Memory()
    gate = Gate()

    @v1(['key'], memory)
    def f(key):
        gate()
        return 'old'
    call = start(f, 1)
    gate.reached()
    memory.delete(f.get_cache_key(1))
    gate.open()
    assert call.result() == 'old'
    assert f.get_cached_value(1) is Ellipsis


# ---- explain ----

def test_explain_shows_the_parts_as_the_key_has_them():
    @v1(['a', 'b', 'c'])
    def f(a, b, c):
        return a
    f(1, 'en', [None, True])
    told = f.explain(1, 'en', [None, True])
    assert told.key == f.get_cache_key(1, 'en', [None, True])
    assert told.parts == (r'i\x011', r's\x02en', r'l\x02NT')
    assert told.tier == 'memory' and told.last_miss == 'new'
    assert f.prefix.startswith('test_explain_shows_the_parts_as_the_key_has_them.<locals>.f.')


# ---- scripts ----

SCRIPT = """
    import multiprocessing, sys
    from quickcache import get_local_quickcache

    @get_local_quickcache(path=sys.argv[1], max_bytes=1 << 20)(['key'])
    def f(key):
        print('ran', flush=True)
        return key

    if __name__ == '__main__':
        f(1)
        for method in ('fork', 'spawn'):
            process = multiprocessing.get_context(method).Process(target=f, args=(1,))
            process.start()
            process.join()
"""


def run_script(*args, cwd):
    run = subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=LONG, check=True,
                         env=dict(os.environ, PYTHONPATH=str(PACKAGE)))
    assert run.stderr == ''
    return run.stdout.split()


def test_two_scripts_are_two_programs_and_the_processes_of_a_pool_are_one(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / f'{name}.py').write_text(textwrap.dedent(SCRIPT))
    # However it is started it is the same script, and whoever has run before it has stored its values.
    assert run_script('one.py', 'store', cwd=tmp_path) == ['ran']
    assert run_script(tmp_path / 'one.py', 'store', cwd=tmp_path) == []
    assert run_script('two.py', 'store', cwd=tmp_path) == ['ran']
    # As a module it is the one that others import.
    assert run_script('-m', 'one', 'store', cwd=tmp_path) == ['ran']
    assert run_script('-c', 'import one; one.f(1)', 'store', cwd=tmp_path) == []

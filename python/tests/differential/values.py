"""Key values: strategies for random ones of every supported type, and a cabinet of strange ones."""
import collections
import datetime
import decimal
import enum
import fractions
import types
import uuid

from hypothesis import strategies as st


class IE(enum.IntEnum):
    A = 1
    B = 250


class IF(enum.IntFlag):
    R = 4
    W = 2


class SE(str, enum.Enum):
    A = 'a'


class PlainEnum(enum.Enum):
    A = 1


class NoOffset(datetime.tzinfo):
    """Aware by name only: converted with the time zone of the process."""

    def utcoffset(self, dt):
        return None

    def dst(self, dt):
        return None

    def tzname(self, dt):
        return 'none'


class FalsyZone(datetime.tzinfo):
    def utcoffset(self, dt):
        return datetime.timedelta(hours=1)

    def dst(self, dt):
        return None

    def __bool__(self):
        return False


class FoldZone(datetime.tzinfo):
    """One hour back in the second fold."""

    def utcoffset(self, dt):
        return datetime.timedelta(hours=1 - dt.fold) if dt is not None else None

    def dst(self, dt):
        return datetime.timedelta(0)


class BadZone(datetime.tzinfo):
    def utcoffset(self, dt):
        raise LookupError('no such zone')


class Shout(str):
    def encode(self, *args):
        return str.upper(self).encode(*args)

    def __str__(self):
        return 'not used'


class EncodesToText(str):
    def encode(self, *args):
        return 'text, not bytes'


class Undecided(bytes):
    def decode(self, *args):
        return 'decoded'


class DecodesToShout(bytes):
    def decode(self, *args):
        return Shout('loud')


class RefusesToDecode(bytes):
    def decode(self, *args):
        raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'on purpose')


class RaisesInDecode(bytes):
    def decode(self, *args):
        raise RuntimeError('decode')


class NamedInt(int):
    def __str__(self):
        return 'seven'

    __repr__ = __str__


class ReprInt(int):
    def __repr__(self):
        return 'by repr'


class LongInt(int):
    """Its text is as many astral characters as it counts: one code point each, four bytes, two UTF-16 units."""

    def __str__(self):
        return '\U0001f600' * int(self)


class RaisingInt(int):
    def __str__(self):
        raise RuntimeError('no text')


class NamedFloat(float):
    def __str__(self):
        return 'half'


class BackwardList(list):
    def __iter__(self):
        return reversed(list(list.__iter__(self)))


class OneTuple(tuple):
    def __iter__(self):
        return iter((1,))


class OtherItems(dict):
    def items(self):
        return [('other', 1)]


class OddItems(dict):
    def items(self):
        return [3, 'text', None]


class OtherSet(set):
    def __iter__(self):
        return iter([3, 2, 1])


class RaisingList(list):
    def __iter__(self):
        raise RuntimeError('no items')


class NamedUUID(uuid.UUID):
    def __str__(self):
        return 'my-uuid'


class FormatUUID(uuid.UUID):
    def __format__(self, spec):
        return 'formatted'


class ShortDatetime(datetime.datetime):
    def isoformat(self, *args, **kwargs):
        return 'short'


class ElsewhereDatetime(datetime.datetime):
    def astimezone(self, tz=None):
        return datetime.datetime(1999, 1, 1)


class NaiveDatetime(datetime.datetime):
    tzinfo = None


class FormatDate(datetime.datetime):
    def isoformat(self, *args):
        return NamedUUID(int=1)


Point = collections.namedtuple('Point', 'x y')


class Pretender:
    """Claims another class, as lazy objects do: isinstance believes it."""

    def __init__(self, claimed, **methods):
        self.claimed = claimed
        self.__dict__.update(methods)

    @property
    def __class__(self):
        return self.claimed

    def __iter__(self):
        return iter([1, 'a'])

    def __int__(self):
        return 1

    def __str__(self):
        return 'pretender'


class Plain:
    def __repr__(self):
        return 'Plain()'


class Tongue:
    """A value of no supported type whose text cannot be had."""

    def __str__(self):
        raise RuntimeError('no text')


def self_reference():
    items = [1]
    items.append(items)
    return items


def self_reference_in_dict():
    items = {}
    items['self'] = [items]
    return items


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


UTC = datetime.timezone.utc
WHEN = datetime.datetime(2018, 3, 30, 12, 30, 15)

STRANGE = {
    'IntEnum': IE.A, 'IntFlag': IF.R, 'IntFlag both': IF.R | IF.W, 'str Enum': SE.A, 'Enum': PlainEnum.A,
    'str encode': Shout('a'), 'str encode to text': EncodesToText('a'), 'lone surrogate': '\ud800', 'two surrogates': 'a\udcff\ud83d',
    'nul': '\0', 'combining': 'e\u0301', 'composed': '\xe9', 'bytes not utf-8': b'\xff\xfe', 'bytes surrogate': b'\xed\xa0\x80',
    'bytes overlong': b'\xc0\x80', 'bytes bom': b'\xef\xbb\xbfa', 'bytes decode': Undecided(b'\xff'), 'bytes to Shout': DecodesToShout(b'x'),
    'bytes refuse': RefusesToDecode(b'abc'), 'bytes raise': RaisesInDecode(b'abc'),
    'int str': NamedInt(7), 'int repr': ReprInt(7), 'int raises': RaisingInt(1),
    'float str': NamedFloat(.5), 'negative zero': -0.0, 'nan': float('nan'), 'inf': float('inf'), '-inf': float('-inf'),
    'int 4300 digits': 10 ** 4299, 'int 4301 digits': 10 ** 4300, 'int 64 bit': 2 ** 63, 'int 65 bit': -2 ** 64,
    'list backward': BackwardList([1, 2]), 'tuple one': OneTuple((3, 4)), 'dict items': OtherItems(a=2), 'dict odd items': OddItems(a=2),
    'set iter': OtherSet({9}), 'list raises': RaisingList([1]), 'namedtuple': Point(1, 2), 'OrderedDict': collections.OrderedDict(b=1, a=2),
    'defaultdict': collections.defaultdict(int, a=1), 'Counter': collections.Counter('aab'),
    'uuid str': NamedUUID(int=5), 'uuid format': FormatUUID(int=5), 'uuid': uuid.UUID(int=2 ** 127 + 1),
    'datetime isoformat': ShortDatetime(2018, 1, 1), 'datetime isoformat aware': ShortDatetime(2018, 1, 1, tzinfo=UTC),
    'datetime astimezone': ElsewhereDatetime(2018, 1, 1, tzinfo=UTC), 'datetime tzinfo hidden': NaiveDatetime(2018, 1, 1, tzinfo=UTC),
    'datetime odd isoformat': FormatDate(2018, 1, 1),
    'tz None': WHEN.replace(tzinfo=NoOffset()), 'tz falsy': WHEN.replace(tzinfo=FalsyZone()), 'tz bad': WHEN.replace(tzinfo=BadZone()),
    'tz fold 0': WHEN.replace(tzinfo=FoldZone()), 'tz fold 1': WHEN.replace(tzinfo=FoldZone(), fold=1), 'naive fold': WHEN.replace(fold=1),
    'min aware': datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=3))),
    'max aware': datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
    'tz seconds': WHEN.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1, seconds=7, microseconds=9))),
    'set 1 first': {1, 1.0, True}, 'set float first': {1.0, 1}, 'set mixed': {1, 'a', None, (2, 3)}, 'dict any keys': {1: 'a', 'b': 2, None: {3}},
    'pretends str': Pretender(str, encode=lambda *a: b'pretended'), 'pretends str, no encode': Pretender(str),
    'pretends bytes': Pretender(bytes, decode=lambda *a: 'pretended'), 'pretends bool': Pretender(bool), 'pretends int': Pretender(int),
    'pretends list': Pretender(list), 'pretends dict': Pretender(dict, items=lambda: [(1, 2)]), 'pretends set': Pretender(set),
    'pretends uuid': Pretender(uuid.UUID), 'pretends datetime': Pretender(datetime.datetime, tzinfo=None, isoformat=lambda: 'iso'),
    'pretends None': Pretender(type(None)),
    'self reference': self_reference(), 'self reference dict': self_reference_in_dict(), 'deep 150': deep(150),
    'date': WHEN.date(), 'time': WHEN.time(), 'timedelta': datetime.timedelta(1), 'Decimal': decimal.Decimal('1.5'),
    'Fraction': fractions.Fraction(1, 3), 'complex': 1j, 'bytearray': bytearray(b'a'), 'memoryview': memoryview(b'a'),
    'frozenset': frozenset({1}), 'range': range(3), 'deque': collections.deque([1]), 'dict keys': {1: 2}.keys(), 'generator': (x for x in ()),
    'object': Plain(), 'object without text': Tongue(), 'type': int, 'function': len, 'Ellipsis': Ellipsis, 'NotImplemented': NotImplemented,
    'mappingproxy': types.MappingProxyType({}), 'bad in list': [1, [Plain()]], 'bad in dict': {'a': frozenset()}, 'bad last in tuple': (1, RaisingInt(1), Plain()),
}

try:
    import numpy
except ImportError:
    pass
else:
    STRANGE.update({
        'np.str_': numpy.str_('a'), 'np.bytes_': numpy.bytes_(b'a'), 'np.float64': numpy.float64(.1), 'np.float64 big': numpy.float64(1e22),
        'np.float64 nan': numpy.float64('nan'), 'np.float32': numpy.float32(.1), 'np.int64': numpy.int64(1), 'np.bool_': numpy.bool_(True),
        'np.array': numpy.array([1, 2]), 'list of np': [numpy.float64(1), 1.0],
    })

# Text with lone surrogates now and then: hypothesis leaves them out unless told otherwise.
text = st.one_of(st.text(max_size=8), st.text(st.characters(min_codepoint=0xd7f0, max_codepoint=0xe00f), max_size=3),
                 st.text(st.characters(min_codepoint=0x1f600, max_codepoint=0x1f610), max_size=3))
integers = st.one_of(st.integers(-20, 20), st.integers(), st.integers(-2 ** 65, 2 ** 65), st.integers(10 ** 200, 10 ** 210))
zones = st.one_of(st.none(), st.just(UTC), st.builds(datetime.timezone, st.timedeltas(
    datetime.timedelta(hours=-23, minutes=-59), datetime.timedelta(hours=23, minutes=59))), st.sampled_from([FalsyZone(), FoldZone(), NoOffset()]))
datetimes = st.datetimes(datetime.datetime(1971, 1, 3), datetime.datetime(2037, 12, 28), timezones=zones)


def strange(name):
    return STRANGE[name]


odd = st.sampled_from([name for name in STRANGE if not name.startswith(('self reference', 'deep', 'int 4301'))]).map(strange)
simple = st.one_of(st.none(), st.booleans(), integers, st.floats(), text, st.binary(max_size=6), st.uuids(), datetimes)
leaves = st.one_of(simple, simple, simple, odd)


def _hashable(value):
    try:
        hash(value)
    except Exception:
        return False
    return True


def containers(children):
    hashable = children.filter(_hashable)
    return st.one_of(st.lists(children, max_size=4), st.lists(children, max_size=4).map(tuple), st.sets(hashable, max_size=4),
                     st.dictionaries(hashable, children, max_size=4))


def nested(leaves):
    """Leaves, and containers of them up to two deep."""
    shallow = containers(leaves)
    return st.one_of(leaves, shallow, containers(st.one_of(leaves, shallow)))


values = nested(leaves)
supported = nested(simple)

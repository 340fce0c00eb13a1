"""Makes or checks the golden entries, from docs/entry.md alone: it shares no code with the crate or the package.

    pip install blake3 xxhash
    python tools/golden_entries.py            write crates/quickcache/tests/data/golden-entries.json
    python tools/golden_entries.py --check    compare that file with what is computed now; exit 1 if it differs

A row has the value as a Python expression, its payload, and the two entries of it, keyed and plain; all bytes are hex. Rows of
which `again` is false are read only: there is more than one way to compress, and pickles differ between versions of Python.
"""
import dataclasses
import datetime
import decimal
import json
import pathlib
import pickle
import struct
import sys
import uuid
import zoneinfo
from collections.abc import Iterator
from typing import Any

import blake3  # type: ignore[import-not-found, unused-ignore]
import xxhash  # type: ignore[import-not-found, unused-ignore]

PATH = pathlib.Path(__file__).parent.parent / 'crates/quickcache/tests/data/golden-entries.json'

KEY = blake3.blake3(b'a key').digest()
SECRET = b'a secret'
EPOCH = 0xfedcba9876543210


@dataclasses.dataclass
class Point:
    """Registered under the name `golden.Point` by the tests."""
    x: int
    y: list[str]


def sized(length: int, *forms: tuple[int, str, int]) -> bytes:
    """The first form (its limit, the format of the length, its marker) that the length fits."""
    for limit, form, marker in forms:
        if length < limit:
            return struct.pack('>B' + form, marker, length) if form else bytes([marker | length])
    raise ValueError(length)


LONG = 1 << 32


def number(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack('>b', value)
    unsigned = [(8, 'B', 0xcc), (16, 'H', 0xcd), (32, 'I', 0xce), (64, 'Q', 0xcf)]
    signed = [(8, 'b', 0xd0), (16, 'h', 0xd1), (32, 'i', 0xd2), (64, 'q', 0xd3)]
    for bits, form, marker in unsigned if value > 0 else signed:
        if (value < 1 << bits) if value > 0 else (value >= -(1 << (bits - 1))):
            return struct.pack('>B' + form, marker, value)
    return extension(1, value.to_bytes(value.bit_length() // 8 + 1, 'big', signed=True))


def text(value: str) -> bytes:
    data = value.encode()
    return sized(len(data), (32, '', 0xa0), (256, 'B', 0xd9), (65536, 'H', 0xda), (LONG, 'I', 0xdb)) + data


def array(items: list[Any]) -> bytes:
    return sized(len(items), (16, '', 0x90), (65536, 'H', 0xdc), (LONG, 'I', 0xdd)) + b''.join(map(encode, items))


def table(items: list[tuple[Any, Any]]) -> bytes:
    head = sized(len(items), (16, '', 0x80), (65536, 'H', 0xde), (LONG, 'I', 0xdf))
    return head + b''.join(encode(key) + encode(value) for key, value in items)


def extension(kind: int, body: bytes) -> bytes:
    fixed = {1: 0xd4, 2: 0xd5, 4: 0xd6, 8: 0xd7, 16: 0xd8}
    if len(body) in fixed:
        return bytes([fixed[len(body)], kind]) + body
    return sized(len(body), (256, 'B', 0xc7), (65536, 'H', 0xc8), (LONG, 'I', 0xc9)) + bytes([kind]) + body


def holder(kind: int, body: bytes) -> bytes:
    return struct.pack('>BIB', 0xc9, len(body), kind) + body


def micros(delta: datetime.timedelta) -> bytes:
    return struct.pack('>q', delta // datetime.timedelta(microseconds=1))


def zone(tzinfo: datetime.tzinfo | None) -> bytes:
    if tzinfo is None:
        return b''
    if tzinfo is datetime.timezone.utc:
        return b'\1'
    if isinstance(tzinfo, zoneinfo.ZoneInfo):
        return b'\4' + tzinfo.key.encode()
    offset = tzinfo.utcoffset(None)
    assert offset is not None
    name = tzinfo.tzname(None)
    if name == datetime.timezone(offset).tzname(None):
        return b'\2' + micros(offset)
    assert name is not None
    return b'\3' + micros(offset) + name.encode()


def day(value: datetime.date) -> bytes:
    return struct.pack('>HBB', value.year, value.month, value.day)


def clock(value: datetime.datetime | datetime.time) -> bytes:
    return struct.pack('>BBBBI', value.hour, value.minute, value.second, value.fold, value.microsecond) + zone(value.tzinfo)


def encode(value: Any) -> bytes:
    match value:
        case None:
            return b'\xc0'
        case bool():
            return b'\xc3' if value else b'\xc2'
        case int():
            return number(value)
        case float():
            return struct.pack('>Bd', 0xcb, value)
        case str():
            return text(value)
        case bytes():
            return sized(len(value), (256, 'B', 0xc4), (65536, 'H', 0xc5), (LONG, 'I', 0xc6)) + value
        case list():
            return array(value)
        case dict():
            return table(list(value.items()))
        case tuple():
            return holder(2, array(list(value)))
        case set():
            return holder(3, array(list(value)))
        case frozenset():
            return holder(4, array(list(value)))
        case datetime.datetime():
            return extension(5, day(value) + clock(value))
        case datetime.date():
            return extension(6, day(value))
        case datetime.time():
            return extension(7, clock(value))
        case datetime.timedelta():
            return extension(8, struct.pack('>iii', value.days, value.seconds, value.microseconds))
        case decimal.Decimal():
            return extension(9, str(value).encode())
        case uuid.UUID():
            safe = value.is_safe.value
            return extension(10, value.bytes if safe is None else value.bytes + struct.pack('>b', safe))
        case Point():
            return holder(11, text('golden.Point') + table([('x', value.x), ('y', value.y)]))
    raise TypeError(value)


def repeated(data: bytes, first: int, period: int) -> bytes:
    """An LZ4 block of data that repeats itself with the period behind `first` bytes: literals, one match, the last literals."""
    literals, last = first + period, 12
    assert literals < 15
    match_length = len(data) - literals - last - 4
    more = match_length - 15
    length = b'\xff' * (more // 255) + bytes([more % 255])
    match = bytes([literals << 4 | 15]) + data[:literals] + struct.pack('<H', period) + length
    return match + bytes([last << 4]) + data[-last:]


def entry(payload: bytes, raw: int, codec: int, flags: int, times: list[int], keyed: bool) -> bytes:
    head = struct.pack('<2sBBB3xIIQQQ', b'qc', 2, codec, flags, len(payload), raw, *times) + KEY[20:28]
    if keyed:
        secret = blake3.blake3(SECRET, derive_key_context='quickcache entry v2').digest()
        tag = blake3.blake3(KEY + head + payload, key=secret).digest()[:16]
    else:
        seed = xxhash.xxh3_64_intdigest(head + KEY, seed=EPOCH)
        tag = xxhash.xxh3_128_intdigest(payload, seed=seed).to_bytes(16, 'little')
    return b''.join([head, tag, payload])


TYPED = {
    'none': 'None',
    'true': 'True',
    'false': 'False',
    'zero': '0',
    'int 7': '127',
    'int 8': '255',
    'int 16': '65535',
    'int 32': '4294967295',
    'int 63': '9223372036854775807',
    'int 64': '18446744073709551615',
    'int -5': '-32',
    'int -8': '-128',
    'int -16': '-32768',
    'int -32': '-2147483648',
    'int -63': '-9223372036854775808',
    'int 65': '18446744073709551616',
    'int -64': '-9223372036854775809',
    'int 200': '-(2 ** 200)',
    'float': '1.5',
    'negative zero': '-0.0',
    'infinite': 'float("inf")',
    'empty str': '""',
    'str': '"na\\u00efve \\U0001f9a6"',
    'str 8': '"x" * 255',
    'str 16': '"x" * 256',
    'bytes': 'b"\\x00\\xff"',
    'bytes 16': 'b"\\xff" * 256',
    'list': '[1, "a", None]',
    'list 16': '[True] * 16',
    'dict': '{"b": 1, "a": [2.5, {}]}',
    'dict 16': '{n: None for n in range(16)}',
    'numbers by name': '{"one": 1, "two": 2}',
    'struct': '{"id": 7, "name": "Ann", "tags": ["a", "b"], "boss": None}',
    'tuple': '(1, "a")',
    'nested tuple': '[(1, (2.5, ()))]',
    'set': '{1}',
    'frozenset': 'frozenset({"a"})',
    'empty set': 'set()',
    'datetime': 'datetime.datetime(2024, 2, 29, 1, 2, 3, 4)',
    'datetime fold': 'datetime.datetime(2024, 10, 27, 2, 30, fold=1)',
    'datetime utc': 'datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)',
    'datetime offset':
        'datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.timezone(-datetime.timedelta(hours=3, minutes=30)))',
    'datetime named': 'datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "CET"))',
    'datetime zone': 'datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))',
    'date': 'datetime.date(2024, 2, 29)',
    'time': 'datetime.time(23, 59, 58, 999999)',
    'time utc': 'datetime.time(1, tzinfo=datetime.timezone.utc)',
    'timedelta': 'datetime.timedelta(days=2, seconds=3, microseconds=4)',
    'negative timedelta': 'datetime.timedelta(microseconds=-1)',
    'decimal': 'decimal.Decimal("1.00")',
    'uuid': 'uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")',
    'uuid safe': 'uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)',
    'dataclass': 'Point(1, ["a"])',
    'in each other': '{(1, 2): [Point(3, []), {"x": (None,)}]}',
}

#: With what repeats itself behind the first three bytes, and after how many.
COMPRESSED = [('compressed list', '["again and "] * 1000', 11), ('compressed str', '"abcdefghi " * 800', 10)]


def rows() -> Iterator[dict[str, Any]]:
    count = 0

    def row(name: str, expression: str, payload: bytes, stored: bytes, codec: int, again: bool) -> dict[str, Any]:
        nonlocal count
        count += 1
        times = [count, 1_700_000_000_000 + count, 1_700_000_300_000 + count]
        flags = int(stored is not payload)
        entries = {form: entry(stored, len(payload), codec, flags, times, form == 'keyed').hex() for form in ('keyed', 'plain')}
        # A compressed value is told by its expression.
        shown = payload.hex() if len(payload) < 1000 else None
        return {'name': name, 'python': expression, 'codec': codec, 'again': again, 'times': times, 'payload': shown, **entries}

    for name, expression in TYPED.items():
        payload = encode(eval(expression))
        yield row(name, expression, payload, payload, 1, True)
    for name, expression, period in COMPRESSED:
        payload = encode(eval(expression))
        yield row(name, expression, payload, repeated(payload, 3, period), 1, False)
    pickled = pickle.dumps(complex(1, 2), 5)
    yield row('pickle', 'complex(1, 2)', pickled, pickled, 2, False)


def main() -> None:
    made = list(rows())
    lines = ',\n'.join(json.dumps(row, separators=(',', ':')) for row in made)
    whole = f'{{"version":2,"key":"{KEY.hex()}","secret":"{SECRET.hex()}","epoch":"{EPOCH:x}","rows":[\n{lines}\n]}}\n'
    if '--check' not in sys.argv[1:]:
        PATH.write_text(whole, 'utf-8')
    elif PATH.read_text('utf-8') != whole:
        sys.exit(f'{PATH.name} differs from what {pathlib.Path(__file__).name} computes')
    print(f'{len(made)} entries')


main()

"""Makes or checks the golden vectors of key scheme v1, from docs/keys.md alone: it shares no code with the crate.

    pip install blake3
    python tools/golden_v1.py            write crates/quickcache/tests/data/golden-keys-v1.json
    python tools/golden_v1.py --check    compare that file with what is computed now; exit 1 if it differs

Values are written {"t": kind, "v": ...} as in golden-keys.json; a datetime is [year, month, day, hour, minute, second,
microsecond] with "off" minutes ahead of UTC or null, a float its repr, bytes are hex, times are nanoseconds.
"""
import base64
import datetime
import json
import math
import pathlib
import random
import struct
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import blake3  # type: ignore[import-not-found, unused-ignore]

Node = dict[str, Any]

PATH = pathlib.Path(__file__).parent.parent / 'crates/quickcache/tests/data/golden-keys-v1.json'
SEED_ROWS = PATH.with_name('golden-keys.json')
EPOCH = datetime.datetime(1970, 1, 1)
MICRO = datetime.timedelta(microseconds=1)


def leb128(n: int) -> bytes:
    out = b''
    while n > 127:
        out += bytes([n % 128 + 128])
        n //= 128
    return out + bytes([n])


def run(raw: bytes) -> bytes:
    return leb128(len(raw)) + raw


def text(s: str) -> bytes:
    return run(s.encode('utf-8'))


def signed(n: int, size: int) -> bytes:
    return n.to_bytes(size, 'big', signed=True)


def items(values: list[bytes]) -> bytes:
    return leb128(len(values)) + b''.join(values)


def double(x: float) -> bytes:
    return bytes.fromhex('7ff8000000000000') if math.isnan(x) else struct.pack('>d', x)


def moment(node: Node) -> bytes:
    wall = (datetime.datetime(*node['v']) - EPOCH) // MICRO
    if node['off'] is None:
        return b'w' + signed(wall * 1000, 16)
    return b'a' + signed((wall - node['off'] * 60_000_000) * 1000, 16)


def clock(node: Node) -> bytes:
    if node['off'] is None:
        return b'c' + signed(node['v'], 8)
    return b'o' + signed(node['v'], 8) + signed(node['off'] * 60_000_000, 8)


def value(node: Node) -> bytes:
    kind: str = node['t']
    v: Any = node.get('v')
    forms: dict[str, Callable[[], bytes]] = {
        'none': lambda: b'N',
        'bool': lambda: b'T' if v else b'F',
        'int': lambda: b'i' + text(v),
        'float': lambda: b'f' + double(float(v)),
        'str': lambda: b's' + text(v),
        'bytes': lambda: b'b' + run(bytes.fromhex(v)),
        'list': lambda: b'l' + items([value(x) for x in v]),
        'tuple': lambda: b't' + items([value(x) for x in v]),
        'dict': lambda: b'd' + items(sorted(value(a) + value(b) for a, b in v)),
        'set': lambda: b'e' + items(sorted(value(x) for x in v)),
        'frozenset': lambda: b'z' + items(sorted(value(x) for x in v)),
        'uuid': lambda: b'u' + uuid.UUID(v).bytes,
        'datetime': lambda: moment(node),
        'date': lambda: b'D' + signed((datetime.date(*v) - EPOCH.date()).days, 8),
        'time': lambda: clock(node),
        'timedelta': lambda: b'p' + signed(int(v), 16),
        'decimal': lambda: b'm' + text(v),
        'named': lambda: b'n' + text(node['type']) + text(node['variant']) + items([value(x) for x in v]),
    }
    return forms[kind]()


def results(row: Node) -> dict[str, str]:
    key = blake3.blake3(bytes.fromhex(row['secret']), derive_key_context='quickcache v1').digest()
    identity = text(row['module']) + text(row['name']) + text(row['version']) + run(bytes.fromhex(row['source']))
    function = blake3.blake3(b'F' + identity, key=key).digest()
    encoded = items([value(v) for v in row['values']])
    digest = blake3.blake3(b'K' + function + encoded, key=key).digest()
    return {
        'encoded': encoded.hex(),
        'function': function.hex(),
        'key': 'qc1:' + base64.b32encode(digest[:20]).decode().lower(),
        'rest': digest[20:].hex(),
    }


def node(kind: str, v: Any = None, **more: Any) -> Node:
    return {'t': kind, 'v': v, **more}


def rows() -> Iterator[Node]:
    one = node('int', '1')
    alone = [
        node('frozenset', [one, node('str', 'b')]), node('frozenset', []),
        node('date', [1, 1, 1]), node('date', [1970, 1, 1]), node('date', [2024, 2, 29]), node('date', [9999, 12, 31]),
        node('time', 0, off=None), node('time', 86_399_999_999_000, off=None), node('time', 3_600_000_000_000, off=-330),
        node('timedelta', '0'), node('timedelta', '-1000'), node('timedelta', '86399999999999999999999000'),
        node('timedelta', str((2**64 - 1) * 10**9 + 999_999_999)),
        node('decimal', '1.0'), node('decimal', '1.00'), node('decimal', '-Infinity'), node('decimal', '1E+5'),
        node('named', [], type='Color', variant='RED'), node('named', [one, node('none')], type='Point', variant=''),
        node('str', 'x' * 127), node('str', 'x' * 128), node('bytes', '00' * 16_384), node('list', [one] * 130),
        node('float', '-nan'), node('int', '-9223372036854775808'), node('int', '9' * 200),
        node('dict', [[node('str', 'b'), one], [node('str', 'a'), node('none')]]),
        node('set', [node('int', '10'), node('int', '9'), node('str', '')]),
    ]
    plain = {'secret': '', 'module': 'blog.posts', 'name': 'Blog.posts', 'version': '', 'source': ''}
    yield {**plain, 'values': []}
    for v in alone:
        yield {**plain, 'values': [v]}
    identities = [
        {'module': ''}, {'name': ''}, {'module': 'blog.postsB', 'name': 'log.posts'}, {'version': '2'}, {'source': 'ff' * 32},
        {'secret': '00'}, {'secret': b'a long and winding secret of more than one block of sixty-four bytes'.hex()},
        {'module': 'caf\u00e9', 'name': '\U0001f600'}, {'module': 'm' * 300},
    ]
    for other in identities:
        yield {**plain, **other, 'values': [one, node('str', 'en')]}
    golden = [row['value'] for row in json.loads(SEED_ROWS.read_text('utf-8'))['rows']]
    chance = random.Random(1)
    for _ in range(150):
        yield {**plain, 'values': chance.choices(golden, k=chance.randrange(1, 5))}


def main() -> None:
    made = [{**row, **results(row)} for row in rows()]
    lines = ',\n'.join(json.dumps(row, separators=(',', ':')) for row in made)
    whole = '{"scheme":"v1","rows":[\n' + lines + '\n]}\n'
    if '--check' not in sys.argv[1:]:
        PATH.write_text(whole, 'utf-8')
    elif PATH.read_text('utf-8') != whole:
        sys.exit(f'{PATH.name} differs from what {pathlib.Path(__file__).name} computes')
    print(f'{len(made)} vectors')


main()

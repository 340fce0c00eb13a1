"""The golden entries, which `tools/golden_entries.py` made from docs/entry.md alone: Python reads them, and writes them again."""
import dataclasses
import datetime
import decimal
import json
import uuid
import zoneinfo
from pathlib import Path

import pytest

import quickcache
from quickcache import _native

GOLDEN = json.loads((Path(__file__).resolve().parents[3] / 'crates/quickcache/tests/data/golden-entries.json').read_text('utf-8'))
KEY = bytes.fromhex(GOLDEN['key'])
SEALS = {'keyed': bytes.fromhex(GOLDEN['secret']), 'plain': int(GOLDEN['epoch'], 16)}


@dataclasses.dataclass
class Point:
    x: int
    y: list


@pytest.fixture(autouse=True)
def registered():
    quickcache.register(Point, 'golden.Point')


every_row = pytest.mark.parametrize('row', GOLDEN['rows'], ids=lambda row: row['name'])
either_seal = pytest.mark.parametrize('seal', SEALS)


def value(row):
    named = {'datetime': datetime, 'decimal': decimal, 'uuid': uuid, 'zoneinfo': zoneinfo, 'Point': Point}
    return eval(row['python'], named)


def test_there_are_rows_of_every_kind():
    assert {bytes.fromhex(row['keyed'])[4] for row in GOLDEN['rows']} == {0, 1}
    assert {row['codec'] for row in GOLDEN['rows']} == {1, 2}
    assert len(GOLDEN['rows']) > 50


@every_row
@either_seal
def test_a_golden_entry_is_read(row, seal):
    generation, started, deadline = row['times']
    data = bytes.fromhex(row[seal])
    back, codec, times = _native.read_entry(data, SEALS[seal], KEY, deadline - 1, row['codec'] == 2)
    assert (codec, list(times)) == (row['codec'], row['times'])
    assert repr(back) == repr(value(row)) and type(back) is type(value(row))
    assert uuid_safety(back) == uuid_safety(value(row))


def uuid_safety(value):
    return getattr(value, 'is_safe', None)


@every_row
@either_seal
def test_a_golden_entry_is_written_again(row, seal):
    data = _native.write_entry(value(row), SEALS[seal], KEY, tuple(row['times']), row['codec'] == 2)
    if row['again']:
        assert data.hex() == row[seal]
    else:
        # The block or the pickle may differ, but not what it is or how the header says so.
        assert data[:8] + data[16:48] == bytes.fromhex(row[seal])[:8] + bytes.fromhex(row[seal])[16:48]
        assert data[12:16].hex() == row[seal][24:32] or row['codec'] == 2

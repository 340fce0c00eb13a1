"""Whole entries as Python writes and reads them: what is no good is a miss, and never another value (P10)."""
import pytest

from quickcache import _native

KEY = bytes(range(32))
TIMES = (3, 1000, 2000)
SEALS = [b'secret', b'', 7]


def read(data, sealed, key=KEY, now=1500, allow_pickle=False):
    return _native.read_entry(data, sealed, key, now, allow_pickle)


def why(*args, **kwargs):
    with pytest.raises(ValueError) as error:
        read(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize('sealed', SEALS)
@pytest.mark.parametrize('value', [{'id': 1}, ['again and '] * 1000], ids=['small', 'compressed'])
def test_an_entry_comes_back_with_its_times(sealed, value):
    data = _native.write_entry(value, sealed, KEY, TIMES, False)
    assert read(data, sealed) == (value, 1, TIMES)
    assert len(data) < 2000


@pytest.mark.parametrize('sealed', SEALS)
def test_p10_what_is_no_good_is_a_miss(sealed):
    data = _native.write_entry({'id': 1}, sealed, KEY, TIMES, False)
    assert why(data, sealed, now=2000) == 'Expired'
    assert why(data, sealed, key=bytes(32)) == 'Foreign'
    assert why(data, sealed, key=KEY[:-1] + b'x') == 'Damaged'
    assert why(b'', sealed) == why(b'\x80\x04N.', sealed) == 'Foreign'
    for other in SEALS:
        if other != sealed:
            assert why(data, other) == 'Damaged'
    for at in range(len(data)):
        assert why(data[:at], sealed) in ('Foreign', 'Damaged')
        assert why(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:], sealed) in ('Foreign', 'Damaged')


class Runs:
    ran = 0

    def __reduce__(self):
        return ran, ()


def ran():
    Runs.ran += 1


@pytest.mark.parametrize('sealed', SEALS)
def test_p10_a_pickle_is_never_code_where_it_is_not_allowed_or_not_ours(sealed):
    data = _native.write_entry(Runs(), sealed, KEY, TIMES, True)
    assert why(data, sealed) == 'an entry of codec 2, which is not read here'
    for other in SEALS:
        if other != sealed:
            assert why(data, other, allow_pickle=True) == 'Damaged'
    assert Runs.ran == 0
    assert read(data, sealed, allow_pickle=True)[:2] == (None, 2)
    assert Runs.ran == 1
    Runs.ran = 0

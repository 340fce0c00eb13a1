"""The switches for tests are context managers and decorators."""
from datetime import timedelta

from typing_extensions import assert_type

from quickcache import testing
from quickcache.testing import FakeClock

with testing.fake_clock() as clock:
    assert_type(clock, FakeClock)
    clock.advance(0.5)
    clock.advance(timedelta(seconds=1))
    clock.advance('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@testing.isolated()
@testing.disabled()
def check(a: int) -> str:
    return str(a)


assert_type(check(1), str)

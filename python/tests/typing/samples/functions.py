"""A decorated function keeps its parameters and its result, and its companions take the same arguments."""
from types import EllipsisType
from typing import Literal

from typing_extensions import assert_type

from quickcache import Memory, get_quickcache
from quickcache.reports import Explanation, Stats

quickcache = get_quickcache(cache=Memory(timeout=10))


@quickcache(['a'], skip_arg='force')
def f(a: int, b: str = '', *, force: bool = False) -> list[float]:
    return [a]


@quickcache([])
def nothing() -> None:
    return None


# It is called as what it was.
assert_type(f(1), list[float])
assert_type(f(a=1, b='b', force=True), list[float])
nothing()
f()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
f('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
f(1, c=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
nothing(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# So are its companions.
f.clear(1)
f.clear(a=1)
assert_type(f.get_cached_value(1), list[float] | EllipsisType)
assert_type(f.refresh(1, 'b'), list[float])
assert_type(f.get_cache_key(1), str)
assert_type(f.explain(1), Explanation)
assert_type(f.explain(1).time_left, float | None)
f.set_cached_value(1).to([1.0])
f.clear_on_commit(1)
f.clear()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
f.clear('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
f.get_cached_value('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
f.refresh(1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
f.set_cached_value(1).to('text')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
f.clear_on_commit()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# `clear_with` takes options first, then the arguments.
assert_type(f.clear_with(wait=True, strict=False, settle=0.5)(1), Literal['applied', 'pending'])
f.clear_with(wait=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
f.clear_with(soon=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
f.clear_with()('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# What concerns the whole function takes nothing.
f.clear_all()
assert_type(f.stats(), Stats)
assert_type(f.stats().hit_ratio, float)
assert_type(f.prefix, str)
f.clear_all(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
f.stats().hits = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
f.forget(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

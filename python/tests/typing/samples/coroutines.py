"""On a coroutine function what touches the cache can be awaited; the value is the awaited one."""
from collections.abc import Coroutine
from types import EllipsisType
from typing import Any, Literal

from typing_extensions import assert_type

from quickcache import Memory, get_quickcache

quickcache = get_quickcache(cache=Memory())


@quickcache(['a'])
async def f(a: int) -> bytes:
    return b''


async def use() -> None:
    assert_type(f(1), Coroutine[Any, Any, bytes])  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    assert_type(await f(1), bytes)
    await f.clear(1)
    # The clear is done by the call: not to wait for it is right too.
    f.clear(1)
    await f.clear_all()
    assert_type(await f.get_cached_value(1), bytes | EllipsisType)
    await f.set_cached_value(1).to(b'')
    assert_type(await f.refresh(1), bytes)
    assert_type(f.get_cache_key(1), str)
    assert_type(await f.clear_with(wait=True)(1), Literal['applied', 'pending'])
    await f.clear_on_commit(1)
    assert_type((await f.stats()).hits, int)
    assert_type((await f.explain(1)).time_left, float | None)
    f.stats().hits  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await f('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await f.clear('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await f.set_cached_value(1).to(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    f(1).decode()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

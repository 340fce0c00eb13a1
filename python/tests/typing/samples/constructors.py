"""The configuration of a constructor with tiers of its own: a decorated function keeps its signature, options have types."""
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from typing_extensions import assert_type

from quickcache.configuration import Configuration


class Person:
    id: int


def key_values(person: Person, force: bool) -> list[int]:
    return [person.id]


def use(quickcache: Configuration) -> None:
    assert_type(quickcache.but_with(timeout=timedelta(hours=1), memoize_timeout=None), Configuration)
    skippable = quickcache.but_with(skip_arg='force', version=2)

    @skippable(['person.id'], timeout=.5, name='posts')
    def get_all_posts(person: Person, force: bool = False) -> list[str]:
        return []

    @quickcache(key_values, skip_arg=None)
    async def count_posts(person: Person, force: bool) -> int:
        return 1

    assert_type(get_all_posts(Person(), force=True), list[str])
    assert_type(count_posts(Person(), True), Coroutine[Any, Any, int])  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    get_all_posts.clear(Person())
    get_all_posts.set_cached_value(Person()).to(['one'])
    get_all_posts(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    get_all_posts.clear()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    class Blog:
        @quickcache(['self.id', 'n'])
        def posts(self, n: int) -> list[int]:
            return [n]
        id = 1

    assert_type(Blog().posts(2), list[int])
    Blog().posts.clear(Blog(), 2)
    Blog().posts('2')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    # A name at a stage before the function, an unknown option, wrong types.
    quickcache.but_with(name='posts')  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    quickcache(['n'], timeuot=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    quickcache(['n'], cache={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    quickcache(['n'], timeout='5m')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    quickcache(['n'], version='2')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    quickcache(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

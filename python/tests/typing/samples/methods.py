"""Methods, class methods and static methods: a call takes what is left after binding, a companion takes everything.

What mypy cannot say is marked MYPY: it never looks at the type of a first parameter when it binds.
"""
from types import EllipsisType

from typing_extensions import assert_type

from quickcache import Memory, get_quickcache

quickcache = get_quickcache(cache=Memory())


class Person:
    id = 1

    @quickcache(['self.id', 'depth'])
    def look_up_friends(self, depth: int = 1) -> list[str]:
        return []

    @quickcache(['self.id', 'depth'])
    async def find_friends(self, depth: int) -> list[str]:
        return []

    @classmethod
    @quickcache(['name'])
    def called(cls, name: str) -> 'Person':
        return cls()

    @staticmethod
    @quickcache(['name'])
    def normal(name: str) -> str:
        return name.lower()


class Friend(Person):
    pass


person, friend = Person(), Friend()

# A method.
assert_type(person.look_up_friends(), list[str])
assert_type(friend.look_up_friends(depth=2), list[str])
assert_type(Person.look_up_friends(person, 2), list[str])
person.look_up_friends('2')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
person.look_up_friends(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# Its companions are reached through the object or the class, and take the object first.
person.look_up_friends.clear(person)
person.look_up_friends.clear(person, depth=2)
friend.look_up_friends.clear(friend)
Person.look_up_friends.clear(person)
assert_type(person.look_up_friends.get_cached_value(person), list[str] | EllipsisType)
person.look_up_friends.set_cached_value(person).to([])
person.look_up_friends.clear()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
person.look_up_friends.clear(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
person.look_up_friends.clear(person, '2')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Person.look_up_friends.clear('x')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# A class method.
assert_type(Person.called('Ann'), Person)
assert_type(person.called('Ann'), Person)
Person.called.clear(Person, 'Ann')
person.called.clear(Person, 'Ann')
person.called(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Person.called.clear('Ann')  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]

# A static method.
assert_type(Person.normal('Ann'), str)
person.normal.clear('Ann')
Person.normal.clear('Ann')
Person.normal.clear(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
# MYPY takes the object for its first argument; call it through the class.
person.normal('Ann')  # type: ignore[call-arg]


async def coroutine_methods() -> None:
    assert_type(await person.find_friends(1), list[str])
    await person.find_friends.clear(person, 1)
    assert_type(await person.find_friends.refresh(person, 1), list[str])
    await person.find_friends('1')  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await person.find_friends.clear(1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]

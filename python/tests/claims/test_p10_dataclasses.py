"""Registered dataclasses in the typed codec: which are taken, how they come back, and that no code of theirs runs then."""
import abc
import copy
import dataclasses
import enum
import functools
import gc
import typing
import weakref

import pytest

import quickcache
from quickcache import _native


def again(value):
    codec, data = _native.encode(value, False)
    assert codec == 1
    return _native.decode(codec, data, False)


def refused(value):
    with pytest.raises(TypeError) as error:
        _native.encode(value, False)
    return str(error.value).split('outside the process: ')[1]


@quickcache.register
@dataclasses.dataclass
class Person:
    name: str
    friends: list = dataclasses.field(default_factory=list)
    seen: int = dataclasses.field(default=0, init=False)
    count: typing.ClassVar[int] = 0


@quickcache.register
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int


@quickcache.register
@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int
    point: Point


@quickcache.register
@dataclasses.dataclass
class Employee(Person):
    boss: Person | None = None
    start: dataclasses.InitVar[int] = 0

    def __post_init__(self, start):
        self.seen = start


@pytest.mark.parametrize('value', [
    Person('Ann'), Person('Ann', [Person('Bob'), {'x': (Point(1, 2),)}]), Point(1, 2), Slotted(1, Point(2, 3)), Employee('Eve', boss=Person('Ann'), start=7),
    {Point(1, 2): [Slotted(3, Point(4, 5))], frozenset({Point(0, 0)}): None},
], ids=repr)
def test_a_registered_dataclass_comes_back(value):
    back = again([value, (value,)])
    assert back == [value, (value,)] and repr(back) == repr([value, (value,)])
    assert type(back[0]) is type(value)


def test_an_object_comes_back_as_a_copy_of_its_own():
    person = Person('Ann')
    one, two = again([person, person])
    one.friends.append(1)
    assert one is not two and two.friends == person.friends == []


@dataclasses.dataclass
class Strict:
    x: int

    def __init__(self, x):
        object.__setattr__(self, 'x', x)

    def __new__(cls, *args):
        if not args:
            raise AssertionError('code of the class ran')
        return super().__new__(cls)

    def _ran(self, *args):
        raise AssertionError('code of the class ran')
    __setattr__ = __setstate__ = __reduce_ex__ = __getstate__ = __post_init__ = __repr__ = __eq__ = _ran
    __hash__ = None


def test_no_code_of_a_class_runs_while_it_is_read():
    quickcache.register(Strict)
    codec, data = _native.encode(Strict(5), False)
    with pytest.raises(AssertionError):
        copy.copy(Strict(5))
    assert _native.decode(codec, data, False).x == 5


def test_only_the_very_class_is_taken():
    class Younger(Point):
        pass
    assert refused([Younger(1, 2)]) == f'{__name__}.{Younger.__qualname__} has no form in the typed codec'


@dataclasses.dataclass
class Unregistered:
    x: int


def test_one_that_is_not_registered_is_left_to_pickle():
    assert refused(Unregistered(1)) == f'{__name__}.Unregistered is a dataclass that is not registered: use quickcache.register'
    codec, data = _native.encode(Unregistered(1), True)
    assert codec == 2 and _native.decode(2, data, True) == Unregistered(1)


def test_attributes_that_are_no_fields_are_not_lost_in_silence():
    person = Person('Ann')
    person.nickname = 'A'
    assert refused([person]) == 'it holds a dataclass with attributes that are no fields'
    del person.nickname
    assert again(person) == person
    del person.name
    assert refused(person) == "AttributeError: 'Person' object has no attribute 'name'"


@quickcache.register
@dataclasses.dataclass
class Circle:
    radius: float

    @functools.cached_property
    def area(self):
        return 3 * self.radius ** 2


def test_a_cached_property_is_computed_anew():
    circle = Circle(2.0)
    assert circle.area == 12
    back = again(circle)
    assert back == circle and vars(back) == {'radius': 2.0} and back.area == 12


@quickcache.register
@dataclasses.dataclass
class Meddles:
    x: int = 0


@pytest.mark.parametrize('make, meddle', [
    (lambda it: [it, 1], lambda value: value.append(2)), (lambda it: [it, 1], lambda value: value.clear()),
    (lambda it: {1: it, 2: 2}, lambda value: value.update({3: 3})), (lambda it: {1: it, 2: 2}, lambda value: value.clear()),
], ids=['list grows', 'list shrinks', 'dict grows', 'dict shrinks'])
def test_a_value_that_changes_while_it_is_written_is_refused(make, meddle):
    value = make(Meddles())
    Meddles.x = property(lambda self: meddle(value))
    try:
        assert refused(value) == 'it changed while it was written'
    finally:
        del Meddles.x


def test_another_form_of_the_class_is_a_miss():
    def one():
        @dataclasses.dataclass
        class Versioned:
            a: int
            b: int
        return Versioned

    def other(*fields):
        return dataclasses.make_dataclass('Versioned', fields)

    first = quickcache.register(one(), name='tests.Versioned')
    codec, data = _native.encode(first(1, 2), False)
    assert _native.decode(codec, data, False) == first(1, 2)
    for fields in (['a'], ['a', 'b', 'c'], ['b', 'a'], ['a', 'c']):
        second = other(*fields)
        second.__module__, second.__qualname__ = first.__module__, first.__qualname__
        quickcache.register(second, name='tests.Versioned')
        with pytest.raises(ValueError):
            _native.decode(codec, data, False)
        # The class that it replaced is unknown now, else its objects would come back as those of another.
        assert refused(first(1, 2)).endswith('is a dataclass that is not registered: use quickcache.register')


def test_a_name_carries_entries_from_one_class_to_another():
    first = quickcache.register(dataclasses.make_dataclass('Old', ['a']), name='tests.moved')
    codec, data = _native.encode(first(1), False)
    assert b'tests.moved' in data and b'Old' not in data
    quickcache.register(first)
    with pytest.raises(ValueError):
        _native.decode(codec, data, False)
    second = quickcache.register(dataclasses.make_dataclass('New', ['a']), name='tests.moved')
    assert _native.decode(codec, data, False) == second(1)


def test_registering_again_changes_nothing():
    assert quickcache.register(quickcache.register(Point)) is Point
    assert again(Point(1, 2)) == Point(1, 2)


class Plain:
    pass


class Inherits(Point):
    pass


class WithSlot:
    __slots__ = ('hidden',)


@dataclasses.dataclass
class HidesState(WithSlot):
    x: int


@dataclasses.dataclass
class Abstract(abc.ABC):
    x: int

    @abc.abstractmethod
    def f(self):
        pass


@dataclasses.dataclass
class IsDict(dict):
    x: int


@dataclasses.dataclass
class IsError(Exception):
    x: int


class Mixin(enum.Enum):
    pass


class Flavour(Point, enum.Enum):
    SWEET = 1, 2


Flavour.__dataclass_fields__ = {}


@pytest.mark.parametrize('arguments, error, text', [
    ((Plain,), TypeError, f"register: <class '{__name__}.Plain'> is not a dataclass; decorate it with @dataclass first, and each subclass too"),
    ((Inherits,), TypeError, f"register: <class '{__name__}.Inherits'> is not a dataclass; decorate it with @dataclass first, and each subclass too"),
    ((Point(1, 2),), TypeError, 'register: Point(x=1, y=2) is not a dataclass; decorate it with @dataclass first, and each subclass too'),
    ((5,), TypeError, 'register: 5 is not a dataclass; decorate it with @dataclass first, and each subclass too'),
    ((HidesState,), TypeError, f'register({__name__}.HidesState): its slot hidden is no field; make it one, or leave it out'),
    ((Abstract,), TypeError, f'register({__name__}.Abstract): its objects cannot be made by object.__new__; it must not be abstract, nor a subclass of a built-in type'),
    ((IsDict,), TypeError, f'register({__name__}.IsDict): its objects cannot be made by object.__new__; it must not be abstract, nor a subclass of a built-in type'),
    ((IsError,), TypeError, f'register({__name__}.IsError): its objects cannot be made by object.__new__; it must not be abstract, nor a subclass of a built-in type'),
    ((Flavour,), TypeError, f'register({__name__}.Flavour): members of an Enum are single objects; return their values instead'),
    ((Point, ''), TypeError, f"register({__name__}.Point, name=''): a name is text of 1 to 255 bytes"),
    ((Point, 5), TypeError, f'register({__name__}.Point, name=5): a name is text of 1 to 255 bytes'),
    ((Point, 'é' * 128), TypeError, f"register({__name__}.Point, name='{'é' * 128}'): a name is text of 1 to 255 bytes"),
    ((Point, f'{__name__}.Person'), ValueError,
     f'register({__name__}.Point): the name {__name__}.Person is that of {__name__}.Person already; give another: register(cls, name=...)'),
], ids=str)
def test_what_cannot_be_registered_is_told_why(arguments, error, text):
    with pytest.raises(error) as raised:
        quickcache.register(*arguments)
    assert str(raised.value).endswith(text)
    assert again(Point(1, 2)) == Point(1, 2)


def test_objects_that_came_back_are_freed():
    value = [Person('Ann', [Point(1, 2)])] * 3
    codec, data = _native.encode(value, False)
    freed = [weakref.ref(person) for person in _native.decode(codec, data, False)]

    def persons():
        gc.collect()
        return sum(type(each) is Person for each in gc.get_objects())
    before = persons()
    for cut in range(len(data)):
        with pytest.raises(ValueError):
            _native.decode(codec, data[:cut], False)
    assert persons() == before
    assert [ref() for ref in freed] == [None] * 3

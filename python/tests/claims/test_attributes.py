"""Attributes in vary_on are read where the type keeps them, and always as `getattr` would read them."""
import pytest

from quickcache import Memory, _native, get_quickcache


@pytest.fixture(params=[True, False], ids=['direct', 'by the API'], autouse=True)
def trust(request):
    was = _native.trust_attributes(request.param)
    assert was, 'the self-test at import has passed'
    yield
    _native.trust_attributes(was)


@pytest.fixture
def by_id():
    """A function of `person.id` that has been called often enough to know where the attribute lies."""
    @get_quickcache(cache=Memory(timeout=60))(['person.id'])
    def by_id(person):
        return ['value of', person.id]
    return by_id


class Plain:
    def __init__(self, id):
        self.id = id


class Slots:
    __slots__ = ('id',)

    def __init__(self, id):
        self.id = id


class Both(Slots):
    def __init__(self, id):
        super().__init__(id)
        self.other = id


class Large(Plain):
    def __init__(self, id):
        for i in range(50):
            setattr(self, f'attribute_{i}', i)
        super().__init__(id)


class Defaulted:
    id = 'of the class'


class Text(str):
    pass


def check(by_id, person, times=3):
    for _ in range(times):
        assert by_id(person) == ['value of', person.id]


@pytest.mark.parametrize('kind', [Plain, Slots, Both, Large])
def test_each_value_of_each_kind_of_instance(by_id, kind):
    one, two = kind(1), kind('two')
    for _ in range(5):
        check(by_id, one)
        check(by_id, two)
    one.id = 'another'
    check(by_id, one)


def test_kinds_in_turn(by_id):
    people = [kind(n) for n in range(3) for kind in (Plain, Slots, Both, Large)]
    for _ in range(3):
        for person in people:
            check(by_id, person)


def test_an_instance_whose_attributes_are_in_a_dict(by_id):
    check(by_id, Plain(1))
    person = Plain(2)
    person.__dict__['id'] = 3
    check(by_id, person)
    person.__dict__ = {'id': 4}
    check(by_id, person)
    check(by_id, Plain(1))


@pytest.mark.parametrize('kind', [Plain, Slots])
def test_an_attribute_that_is_deleted(by_id, kind):
    person = kind(1)
    check(by_id, person)
    del person.id
    with pytest.raises(AttributeError, match='id'):
        by_id(person)


def test_a_class_that_changes(by_id):
    class Person(Plain):
        pass
    person = Person(1)
    check(by_id, person)
    Person.id = property(lambda self: 'of the property', lambda self, value: None)
    check(by_id, person)
    del Person.id
    check(by_id, person)
    Plain.__getattribute__ = lambda self, name: 'of a method' if name == 'id' else object.__getattribute__(self, name)
    try:
        check(by_id, person)
    finally:
        del Plain.__getattribute__
    check(by_id, person)


def test_an_attribute_of_the_class_under_one_of_the_instance(by_id):
    person = Defaulted()
    check(by_id, person)
    person.id = 'own'
    check(by_id, person)
    Defaulted.id = 'of the class, another'
    check(by_id, person)
    del person.id
    check(by_id, person)


def test_a_member_of_another_class(by_id):
    class Wrong:
        __slots__ = ('first', 'second')
        id = Slots.id
    check(by_id, Slots(1))
    with pytest.raises(TypeError):
        by_id(Wrong())


def test_what_is_no_plain_value_is_read_once_a_call(by_id):
    reads = []

    class Person:
        @property
        def id(self):
            reads.append(1)
            return Text('text')
    by_id(Person())
    del reads[:]
    by_id(Person())
    assert len(reads) == 1


def test_two_values_of_which_one_is_an_attribute():
    class Model(Plain):
        @get_quickcache(cache=Memory(timeout=60))(['self.id', 'a'])
        def method(self, a, b=0):
            return self.id, a
    one, two = Model(1), Model(2)
    for _ in range(3):
        for model in (one, two):
            for a in (1, 'x', None):
                assert model.method(a) == model.method(a=a) == model.method(a, b=1) == (model.id, a)


def test_defaults_are_those_of_now():
    calls = []

    @get_quickcache(cache=Memory(timeout=60))(['a', 'b'])
    def f(a, b=1):
        calls.append((a, b))
        return a, b
    for _ in range(3):
        assert f(0) == (0, 1)
    f.__wrapped__.__defaults__ = (2,)
    for _ in range(3):
        assert f(0) == (0, 2)
    assert calls == [(0, 1), (0, 2)]


def test_a_skip_argument_by_its_default():
    calls = []

    @get_quickcache(cache=Memory(timeout=60), skip_arg='fresh')(['a'])
    def f(a, fresh=False):
        calls.append(fresh)
        return a
    for _ in range(3):
        f(1)
        f(1, None)
    assert calls == [False]
    for _ in range(2):
        f(1, True)
        f(1, fresh=True)
    assert calls == [False] + [True] * 4
    f.__wrapped__.__defaults__ = (True,)
    for _ in range(3):
        f(1)
    assert calls == [False] + [True] * 7

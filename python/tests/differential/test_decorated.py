"""D8: the object that decorating returns: what it looks like, how it binds, what can be done to it."""
import copy
import functools
import inspect
import pickle
import weakref

from . import sides
from .observe import same


def plain(a, b=1, *rest, c=2, **more):
    """A function with one of everything."""
    return [a, b, rest, c, more]


def takes(a, b=1, /, c=2, *, d=3):
    return [a, b, c, d]


def test_d8_it_looks_like_the_function():
    def scenario(world):
        def f(a: int, b: 'list' = 1) -> list:
            """What f does."""
            return [a, b]
        f.note = 'mine'
        f.clear = 'overwritten'
        f.refresh = f.stats = f.explain = f.clear_all = f.clear_with = f.clear_on_commit = f.helper = 'mine, and kept'
        cached = world.decorate(f, ['a'])
        for name in ('__name__', '__qualname__', '__module__', '__doc__', '__annotations__', 'note', 'prefix', 'refresh', 'stats', 'explain', 'clear_all', 'clear_with',
                     'clear_on_commit', 'helper'):
            world.note(name, getattr(cached, name))
        world.note('wrapped', cached.__wrapped__ is f, inspect.unwrap(cached) is f)
        world.note('callable', callable(cached), inspect.isroutine(cached), cached == cached, cached != f, isinstance(hash(cached), int))
        world.note('signature', inspect.signature(cached))
        world.note('source', inspect.getsource(cached))
        world.note('doc', inspect.getdoc(cached))
        world.note('kind', inspect.iscoroutinefunction(cached), inspect.isgeneratorfunction(cached), inspect.isclass(cached))
        world.note('clear', cached.clear.__name__, cached.clear.__self__.fn is f, cached.get_cache_key.__self__ is cached.clear.__self__)
        world.note('same attribute', cached.clear == cached.clear, cached.clear is cached.clear)
        world.note('dict', sorted(set(vars(cached)) & {'clear', 'get_cache_key', 'prefix', 'get_cached_value', 'set_cached_value', 'note', '__wrapped__', 'helper'}))
        world.note('weak', weakref.ref(cached)() is cached)
        world.note('copies', copy.copy(cached) is cached, copy.deepcopy(cached) is cached, copy.deepcopy([cached])[0] is cached)
        world.note('missing', hasattr(cached, 'missing'))
    same(scenario)


def test_d8_a_decorator_on_top_carries_clear_along():
    def scenario(world):
        cached = world.decorate(plain, ['a'])

        @functools.wraps(cached)
        def outer(*args, **kwargs):
            return ['outer', cached(*args, **kwargs)]
        world.attempt('call', outer, 1)
        for name in ('clear', 'get_cache_key', 'get_cached_value'):
            world.attempt(name, getattr(outer, name), 1)
        world.note('prefix', outer.prefix, outer.__name__)
        world.attempt('set', lambda: outer.set_cached_value(1).to(2))
        world.note('signature', inspect.signature(outer))
        world.attempt('partial', functools.partial(cached, 1))
        world.attempt('map', lambda: list(map(cached, [1, 2, 1])))
    same(scenario)


def test_d8_attributes_can_be_set_replaced_and_deleted():
    def scenario(world):
        cached = world.decorate(plain, ['a'])
        for name in ('clear', 'get_cache_key', 'get_cached_value', 'set_cached_value', 'prefix', 'note', '__doc__', '__name__', '__qualname__', '__module__', '__wrapped__'):
            setattr(cached, name, f'my {name}')
            world.note(name, getattr(cached, name))
        for name in ('clear', 'note', 'prefix'):
            world.attempt(f'delete {name}', delattr, cached, name)
            world.note(f'deleted {name}', hasattr(cached, name))
        world.attempt('still works', cached, 1)
        world.attempt('hit', cached, 1)
    same(scenario)


def test_d8_it_binds_as_a_method():
    def scenario(world):
        class Person:
            def __init__(self, name):
                self.name = name

            def __repr__(self):
                return f'Person({self.name})'

            def look_up(self, a, b=2):
                return [self, a, b]

            def of_class(cls, a):
                return [cls.__name__, a]

            def static(a, b=1):
                return ['static', a, b]
        look_up, of_class, static = Person.look_up, Person.of_class, Person.static
        Person.look_up = world.decorate(look_up, ['self.name', 'a'], skip_arg='b')
        Person.of_class = classmethod(world.decorate(of_class, ['cls.__name__', 'a']))
        Person.static = staticmethod(world.decorate(static, 'a'))
        Child = type('Child', (Person,), {})
        ann, bob, child = Person('ann'), Person('bob'), Child('ann')
        for person in (ann, bob, ann, child):
            world.attempt('method', person.look_up, 1, b=0)
            world.attempt('method', person.look_up, a=1, b=0)
            world.attempt('through class', Person.look_up, person, 1, 0)
            world.attempt('skip', person.look_up, 1)
            world.attempt('class method', person.of_class, 1)
            world.attempt('static', person.static, 1)
            world.attempt('wrong', person.look_up)
            world.attempt('wrong', person.look_up, 1, 2, 3)
        world.attempt('on class', Child.of_class, 1)
        world.attempt('cleared', ann.look_up.clear, ann, 1)
        world.attempt('clear without self', ann.look_up.clear, 1)
        world.attempt('class clear', Person.of_class.clear, Person, 1)
        world.attempt('static clear', ann.static.clear, 1)
        world.attempt('set', lambda: ann.look_up.set_cached_value(ann, 1).to('new'))
        world.attempt('method', ann.look_up, 1, 0)
        bound = ann.look_up
        world.note('bound', bound.__self__, bound.__name__, bound.__func__ is Person.__dict__['look_up'], ann.look_up == bound, bound.prefix)
        world.note('signature', inspect.signature(bound), inspect.ismethod(bound))
        world.attempt('super', super(Child, child).look_up, 1, 0)
        world.attempt('get', Person.__dict__['look_up'].__get__(bob, Person), 1, 0)
        world.attempt('get none', lambda: Person.__dict__['look_up'].__get__(None, Person) is Person.__dict__['look_up'])
    same(scenario)


def module_level(a):
    """Pickled by its name."""
    return a


def test_d8_it_pickles_by_qualified_name(monkeypatch):
    for side in (sides.SEED, sides.OURS):
        cached = side.get_quickcache(vary_on=['a'], cache={})()(module_level)
        monkeypatch.setitem(globals(), 'module_level', cached)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(cached, protocol)) is cached
        assert pickle.loads(pickle.dumps([cached, cached])) == [cached, cached]
        monkeypatch.undo()


def test_d8_a_cached_function_can_be_cached_again_or_be_vary_on_or_skip_arg():
    def scenario(world):
        inner = world.decorate(plain, ['a'])
        outer = world.decorate(inner, [], cache=world.cache('outer'))
        world.note(outer.prefix == inner.prefix, outer.__wrapped__ is inner)
        for _ in range(2):
            world.attempt('twice cached', outer, 1)
        world.attempt('unknown', world.decorate, inner, ['unknown'])
        by_function = world.decorate(takes, world.decorate(lambda a: [a], ['a'], cache=world.cache('vary_on')))
        by_skip = world.decorate(takes, [], skip_arg=world.decorate(lambda a: a, ['a'], cache=world.cache('skip')))
        for value in (1, 1, 2, 0):
            world.attempt('vary_on', by_function, value)
            world.attempt('skip_arg', by_skip, value)
    same(scenario)

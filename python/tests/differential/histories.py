"""Random histories of one or two cached functions: what is decorated, what is done, and what goes wrong.

A history is plain data, so that both sides can live through it and hypothesis can shrink it.
"""
import pickle
from dataclasses import dataclass, field

from hypothesis import strategies as st

from .backends import BackendDown

ARGUMENTS = st.one_of(st.integers(0, 2), st.sampled_from(['a', b'a', None, True, 1.0, (1,), 'é', (2, 'b')]))
BEHAVIOURS = ['fresh', 'fresh', 'None', 'Ellipsis', 'raise', 'mutate', 'base exception', 'False', 'same object']


class Unwell(Exception):
    """What a function raises."""


class Stop(BaseException):
    """Not an Exception: nothing may swallow it."""


@dataclass(frozen=True)
class Step:
    action: str
    argument: object
    behaviour: str = 'fresh'
    force: bool = False
    keyword: bool = False


@dataclass(frozen=True)
class History:
    vary_on: str                # a name, a path, or 'function'
    skip_arg: str               # '', a name, or 'function'
    stack: str                  # which cache object, see `stack()`
    steps: tuple
    faults: dict = field(default_factory=dict)


ACTIONS = ['call'] * 5 + ['clear', 'clear', 'get_cached_value', 'set_cached_value', 'late set', 'forget', 'plant', 'plant Ellipsis', 'key', 'outage', 'swap', 'twice']
steps = st.builds(Step, st.sampled_from(ACTIONS), ARGUMENTS, st.sampled_from(BEHAVIOURS), st.sampled_from([False, False, False, True]), st.booleans())


def histories(stacks, faults=True):
    return st.builds(
        History, st.sampled_from(['box.value', 'box', 'function', 'nothing']), st.sampled_from(['', 'force', 'function']), st.sampled_from(stacks),
        st.lists(steps, min_size=1, max_size=12).map(tuple),
        st.dictionaries(st.integers(0, 20), st.sampled_from(['raise', 'lose', 'lose']), max_size=4) if faults else st.just({}))


class Box(list):
    """An argument that can be mutated; its key follows its content."""

    @property
    def value(self):
        return self[0] if self else None


def live(history, world, cache, backends):
    """Tell `history` to a function cached in `cache`; `backends` are the recording caches below it."""
    state = {'behaviour': 'fresh', 'count': 0, 'same': ['same']}

    def f(box, other=0, force=False):
        state['count'] += 1
        world.note('ran', list(box), other, force)
        behaviour = state['behaviour']
        if behaviour == 'mutate':
            box.append('mutated')
            box[0] = 'mutated'
        elif behaviour == 'raise':
            raise Unwell(state['count'])
        elif behaviour == 'base exception':
            raise Stop(state['count'])
        return {'None': None, 'Ellipsis': ..., 'False': False, 'same object': state['same']}.get(behaviour, [state['count']])

    vary_on = {'function': lambda box, other=0, force=False: [box.value, other], 'nothing': []}.get(history.vary_on, [history.vary_on, 'other'])
    skip_arg = {'function': lambda box, other=0, force=False: force, '': None}.get(history.skip_arg, history.skip_arg)
    cached = world.decorate(f, vary_on, cache=cache, skip_arg=skip_arg)
    for step in history.steps:
        state['behaviour'] = step.behaviour
        try:
            _take(step, world, cached, backends)
        except (Exception, Stop) as error:
            world.note('error', type(error).__name__, str(error))
        for backend in backends:
            world.note(backend.name, 'holds', sorted(backend.store.items(), key=repr))


def _take(step, world, cached, backends):
    box = Box([step.argument])
    if step.keyword:
        args, kwargs = (), {'box': box, 'force': step.force}
    else:
        args, kwargs = (box, 0, step.force), {}
    action, backend = step.action, backends[0]
    if action == 'call':
        value = cached(*args, **kwargs)
        world.note('call', value, any(value is held for held in backend.store.values()))
        if isinstance(value, list) and step.force and step.behaviour == 'mutate':
            value.append('changed by the caller')
    elif action == 'twice':
        first, second = cached(*args, **kwargs), cached(Box([step.argument]), 0)
        world.note('twice', first, second, first is second)
    elif action == 'clear':
        world.note('clear', cached.clear(*args, **kwargs))
    elif action == 'get_cached_value':
        world.note('get_cached_value', cached.get_cached_value(*args, **kwargs))
    elif action == 'set_cached_value':
        world.note('set_cached_value', cached.set_cached_value(*args, **kwargs).to('set'))
    elif action == 'late set':
        settable = cached.set_cached_value(*args, **kwargs)
        box[0] = 'mutated meanwhile'
        cached.clear(Box([step.argument]))
        world.note('late set', settable.to(value=None), settable.to(['twice']), settable._fields, type(settable).__name__, len(settable))
    elif action == 'key':
        world.note('key', cached.get_cache_key(*args, **kwargs))
    elif action == 'forget':
        backend.store.clear()
    elif action == 'plant':
        backend.store[cached.get_cache_key(*args, **kwargs)] = 'planted'
    elif action == 'plant Ellipsis':
        backend.store[cached.get_cache_key(*args, **kwargs)] = ...
    elif action == 'outage':
        backend.faults[backend.operations] = BackendDown('outage')
    elif action == 'swap':
        backend.store = pickle.loads(pickle.dumps(backend.store))

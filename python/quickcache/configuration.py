"""The configuration of the constructors that bring their own tiers: a memory tier in front, a shared tier behind it.

Three stages, of which the last that says something holds: at creation, by `but_with`, at the function. What one decorated
function then is lives in `v1`.
"""
import datetime

from ._native import Memory, Redis, Store
from .cache_helpers import CacheWithPresets, TieredCache
from .quickcache import decorate
from .quickcache_helper import isfunction
from .v1 import V1Function, check_function


class Configuration:
    """Tiers, and the options of the functions that keep their values in them.

    Use it as a decorator: ``@quickcache(['person.id'], skip_arg='force')``. The options, by keyword, at every stage:

    ``vary_on`` (required)
        A list of argument names and dotted paths (``[]``: one value for all calls), or a function of the arguments that gives a
        list of key values.
    ``skip_arg`` (default ``None``)
        An argument, or a function of the arguments: when true, the function runs and its result replaces what is stored.
    ``memoize_timeout``, ``timeout``
        Seconds, or a timedelta, that a value may live in the memory tier of this process, and in the shared tier; ``None``: no
        expiry.
    ``version`` (default: none)
        A whole number; raise it when the function changes. Without one a changed source text, decorators included, makes it
        another function.

    ``stale_timeout`` (default ``None``: what the function raises is raised)
        Seconds, or a timedelta, beyond its timeout for which the last value takes the place of what the function raises. Each
        call tries the function, and no failure renews the value. What was cleared is never given.

    And of a function alone:

    ``name`` (default: the module and qualified name of the function)
        Functions of one name and version share their entries on purpose, whichever module, program or language they are in:
        keep the name for one function, and the values that it varies on in one order. The source text is no part of their
        keys, so that only ``version`` tells a changed function from the old one.

    Two functions without a name share entries only if their module, qualified name, version and source text are equal, as do
    those that one ``def`` inside another function makes, at each of its calls.

    A mistake is a ``TypeError`` or ``ValueError`` that names the function (or the stage before it), the option and the fix.
    """
    __slots__ = ('_memory', '_shared', '_own', '_options')

    def __init__(self, memory, shared, own, options):
        self._memory = memory
        self._shared = shared
        # The timeouts that the two tiers have of their own.
        self._own = own
        self._options = options

    def but_with(self, **options):
        """A copy with other options, over the same tiers."""
        return self._with('but_with', options)

    def __call__(self, vary_on=Ellipsis, skip_arg=Ellipsis, **options):
        """The decorator of one function, or of several."""
        if vary_on is not Ellipsis:
            # A generator would be used up by the first function.
            options['vary_on'] = list(vary_on) if hasattr(vary_on, '__next__') else vary_on
        if skip_arg is not Ellipsis:
            options['skip_arg'] = skip_arg
        name = options.pop('name', None)

        def decorator(fn):
            check_function(fn)
            whole = self._with(fn.__name__, options)._options
            if 'vary_on' not in whole:
                raise TypeError("{}: vary_on is missing; write @quickcache(['name']) with the arguments that its value depends "
                                'on, [] if there are none'.format(fn.__name__))
            stale_timeout = whole.get('stale_timeout')
            if stale_timeout is not None and not isinstance(self._shared, (Store, Redis)):
                raise TypeError('{}: stale_timeout needs a Store or a Redis, which keep a value beyond its timeout, and {} does '
                                'not; leave it out'.format(fn.__name__, type(self._shared).__name__))
            return decorate(fn, V1Function(
                fn, whole['vary_on'], self._cache(whole), whole.get('skip_arg'), _name(fn.__name__, name), whole.get('version'),
                stale_timeout))

        return decorator

    def __repr__(self):
        return 'Configuration({})'.format(', '.join('{}={!r}'.format(*option) for option in self._options.items()))

    def _cache(self, options):
        """The tiers, with the timeouts of one function."""
        tiers = (self._memory, 'memoize_timeout'), (self._shared, 'timeout')
        return TieredCache([
            tier if options[timeout] == self._own[timeout] else CacheWithPresets(tier, options[timeout])
            for tier, timeout in tiers])

    def _with(self, where, options, own=()):
        checked = {option: _check(where, option, own)(where, option, value) for option, value in options.items()}
        return Configuration(self._memory, self._shared, self._own, {**self._options, **checked})


def _over(shared, constructor, memoize_timeout, timeout, options, own=()):
    """
    The configuration over a memory tier of its own and `shared`, whose own timeout is `timeout`; for `constructor`, which has
    options of its `own`
    """
    timeouts = {name: _seconds(constructor, name, value)
                for name, value in (('memoize_timeout', memoize_timeout), ('timeout', timeout))}
    memory = Memory(timeout=timeouts['memoize_timeout'])
    return Configuration(memory, shared, timeouts, timeouts)._with(constructor, options, own)


# ---- what may be given for an option ----

def _check(where, option, own):
    if option in _CHECKS:
        return _CHECKS[option]
    if option == 'name':
        raise TypeError(
            "{}: name is one function's own; give it at the function: @quickcache([...], name='posts')".format(where))
    import difflib
    there_are = [*own, *_CHECKS]
    near = difflib.get_close_matches(option, [*there_are, 'name'], 1, 0.75)
    raise TypeError('{}: there is no option {!r}{}; the options are {} and name'.format(
        where, option, ', did you mean {}'.format(near[0]) if near else '', ', '.join(there_are)))


def _vary_on(where, option, value):
    if isfunction(value):
        return value
    # A str and a dict can be iterated, too.
    names = list(value) if hasattr(value, '__iter__') and not isinstance(value, (str, dict)) else [value]
    if isinstance(value, str) or not all(isinstance(name, str) for name in names):
        raise TypeError("{}: vary_on must be a list of argument names and dotted paths, such as ['person.id'], or a function, "
                        'not {!r}'.format(where, value))
    return names


def _skip_arg(where, option, value):
    if value is None or isinstance(value, str) or isfunction(value):
        return value
    raise TypeError('{}: skip_arg must be the name of an argument, a function or None, not {!r}'.format(where, value))


def _seconds(where, option, value, none='no expiry'):
    if value is None:
        return None
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError('{}: {} must be a number of seconds, a timedelta or None, not {!r}'.format(where, option, value))
    if not value > 0:
        raise ValueError('{}: {} must be more than 0 seconds, not {!r}; None means {}'.format(where, option, value, none))
    return value


def _stale_timeout(where, option, value):
    value = _seconds(where, option, value, 'that what the function raises is raised')
    # An int may be beyond every float.
    return None if value is None else float(min(value, _CENTURY))


def _version(where, option, value):
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError('{}: version must be a whole number, not {!r}; write version=2'.format(where, value))
    if not 0 <= value < 1 << 64:
        raise ValueError('{}: version must be from 0 to 2**64 - 1, not {!r}'.format(where, value))
    return int(value)


def _name(where, value):
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("{}: name must be text, not {!r}; write name='posts'".format(where, value))
    if not value:
        raise ValueError('{}: name cannot be empty; leave it out for the name of the function'.format(where))
    return value


# In seconds.
_CENTURY = 100 * 366 * 24 * 3600

_CHECKS = {
    'vary_on': _vary_on, 'skip_arg': _skip_arg, 'memoize_timeout': _seconds, 'timeout': _seconds, 'version': _version,
    'stale_timeout': _stale_timeout}

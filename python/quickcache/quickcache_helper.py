"""What one decorated function varies on, where its values live, and how its keys are spelt.

Every method says in Python what the replaced library does, and is what a subclass, a patch or a direct caller gets. While
the helper is exactly this class and nothing on it has been patched, the engine answers in its place (`_native`): each
method asks it first.
"""
import datetime
import functools
import sys
from collections import namedtuple
from types import FunctionType

from . import _native, cache_helpers
from . import logger as log
from .native_utc import utc

_Settable = namedtuple('Settable', ['to'])  # type: ignore[name-match]


def __getattr__(name):
    if name == 'logger':
        return log.logger
    raise AttributeError('module {!r} has no attribute {!r}'.format(__name__, name))


def isfunction(value):
    """A plain Python function, or one that quickcache has decorated."""
    return isinstance(value, FunctionType) or _native.is_function(value)


def callargs(fn, args, kwargs):
    """The arguments of a call by name, defaults included; an invalid call is a TypeError in `getcallargs`' words."""
    import inspect
    try:
        return inspect.getcallargs(fn, *args, **kwargs)
    except TypeError:
        # getcallargs refuses f(1, a=2) for `def f(a, /, **kwargs)`, which the function itself accepts.
        try:
            bound = inspect.signature(fn).bind(*args, **kwargs)
        except TypeError:
            bound = None
        if bound is None:
            raise
    bound.apply_defaults()
    return bound.arguments


def key_values(helper, args, kwargs):
    """What a call varies on."""
    by_name = callargs(helper.fn, args, kwargs)
    if isfunction(helper.vary_on):
        return helper.vary_on(*args, **kwargs)
    values = []
    for arg_name, attrs in helper.vary_on:
        value = by_name[arg_name]
        for attr in attrs:
            value = getattr(value, attr)
        values.append(value)
    return values


def _is_coroutine_function(fn):
    import inspect
    return inspect.iscoroutinefunction(fn)


def _uuid_class():
    # Nobody has a UUID who has not imported the module, and importing it costs more than all of quickcache.
    module = sys.modules.get('uuid')
    return module.UUID if module else ()


class QuickCacheHelper:
    # Replaced by __init__; a subclass that does not call it is served in Python.
    _plan = None

    def __init__(self, fn, vary_on, cache, skip_arg=None, assert_function=None):
        # Half of the time that importing quickcache would take, and needed here only: by whoever decorates.
        import inspect

        self.fn = fn
        self.cache = cache
        self.prefix = '{}.{}'.format(
            fn.__name__[:40] + (fn.__name__[40:] and '..'),
            self._hash(inspect.getsource(fn), 8)
        )

        spec = inspect.getfullargspec(self.fn)
        arg_names = spec.args + spec.kwonlyargs + [name for name in (spec.varargs, spec.varkw) if name]
        if not isfunction(vary_on):
            vary_on = [part.split('.') for part in vary_on]
            vary_on = [(part[0], tuple(part[1:])) for part in vary_on]
            for arg, _ in vary_on:
                if arg not in arg_names:
                    raise ValueError(
                        'We cannot vary on "{}" because the function {} has '
                        'no such argument'.format(arg, self.fn.__name__)
                    )

        self.encoding_assert = assert_function

        self.vary_on = vary_on

        if skip_arg is None or isinstance(skip_arg, str) or isfunction(skip_arg):
            self.skip_arg = skip_arg
        else:
            raise ValueError("skip_arg must be None, a string, or a function")

        if isinstance(skip_arg, str) and self.skip_arg not in arg_names:
            raise ValueError(
                'We cannot use "{}" as the "skip" parameter because the function {} has '
                'no such argument'.format(self.skip_arg, self.fn.__name__)
            )

        if not isfunction(self.vary_on):
            for arg, _ in self.vary_on:
                if arg == self.skip_arg:
                    raise ValueError(
                        'You cannot use the "{}" argument as a vary on parameter and '
                        'as the "skip cache" parameter in the function: {}'.format(arg, self.fn.__name__)
                    )

        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            import warnings
            warnings.warn(
                'quickcache on the generator function {}: the second caller gets a generator that the first '
                'one has used up. Return a list instead.'.format(fn.__name__), stacklevel=3)

        self._plan = _native.Plan()

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        if self._plan is not None:
            self._plan.retire()

    def __delattr__(self, name):
        object.__delattr__(self, name)
        if self._plan is not None:
            self._plan.retire()

    def call(self, /, *args, **kwargs):
        log.logger.debug('checking caches for {}'.format(self.fn.__name__))
        key = self.get_cache_key(*args, **kwargs)
        log.logger.debug(key)
        return _native.text_call(self, key, args, kwargs)

    def get_cached_value(self, /, *args, **kwargs):
        """
        :returns: The cached value or ``Ellipsis``
        """
        known, value = _native.get_cached_value(self, args, kwargs)
        if known:
            return value
        key = self.get_cache_key(*args, **kwargs)
        log.logger.debug(key)
        return _native.text_get(self, key)

    def set_cached_value(self, /, *args, **kwargs):
        """
        Sets the cached value: ``f.set_cached_value(*args).to(value)``
        """
        store = _native.setter(self, args, kwargs)
        if store is None:
            key = self.get_cache_key(*args, **kwargs)
            log.logger.debug(key)
            store = functools.partial(_native.text_set, self, key)
        return _Settable(lambda value: store(value))

    # `def clear(self, /, *args, **kwargs)`, in one step: the key as `get_cache_key` gives it, then out of every tier.
    clear = _native.clear

    def refresh(self, /, *args, **kwargs):
        """
        Computes the value anew now, stores it, and returns it (on a coroutine function: awaitable)
        """
        if _is_coroutine_function(self.fn):
            from . import aio
            return aio.refresh(self, args, kwargs)
        return _native.refresh(self, args, kwargs)

    def clear_all(self):
        """
        Clears every key of this function, at once
        """
        _native.clear_all(self)

    def clear_with(self, wait=False, strict=False, settle=0):
        """
        ``f.clear_with(...)(*args)``: clears as ``f.clear(*args)`` does, and says ``'applied'`` or ``'pending'``

        :param wait: return when the clear is in force on every machine, the memory tiers of others included: with a `Redis`, its
            `staleness` after the clear
        :param strict: raise ``quickcache.ClearPending`` where the answer would be ``'pending'``
        :param settle: seconds for which values computed now are returned and not stored, for a function that reads
            from a replica that is this far behind; what other processes store meanwhile is cleared at the end
        """
        from .clearing import clear_with
        return clear_with(self, wait, strict, settle)

    def clear_on_commit(self, /, *args, **kwargs):
        """
        Clears after the Django transaction commits: a clear inside one lets a reader store the old value again
        """
        from .clearing import clear_on_commit
        return clear_on_commit(self, args, kwargs)

    def stats(self):
        """
        What this function's cache has done so far, a ``quickcache.reports.Stats``
        """
        from .reports import Stats
        return Stats.of(self)

    def explain(self, /, *args, **kwargs):
        """
        What is known of one key, a ``quickcache.reports.Explanation``
        """
        from .reports import Explanation
        return Explanation.of(self, args, kwargs)

    @staticmethod
    def _hash(value, length=32):
        return _native.md5(value.encode('utf-8'))[-length:]

    def _serialize_for_key(self, value):
        if isinstance(value, str):
            return 'u' + self._hash(value)
        elif isinstance(value, bytes):
            # Text and bytes that hold the same text generate the same key.
            try:
                text = value.decode('utf-8')
            except UnicodeDecodeError:
                self.encoding_assert(False, 'Non-utf8 encoded string used as cache vary on')
                return 'u' + _native.md5(value)
            return 'u' + self._hash(text)
        elif isinstance(value, bool):
            return 'b' + str(int(value))
        elif isinstance(value, (int, float)):
            return 'n' + str(value)
        elif isinstance(value, (list, tuple)):
            return 'L' + self._hash(
                ','.join(map(self._serialize_for_key, value)))
        elif isinstance(value, dict):
            return 'D' + self._hash(
                ','.join(sorted(map(self._serialize_for_key, value.items())))
            )
        elif isinstance(value, set):
            return 'S' + self._hash(
                ','.join(sorted(map(self._serialize_for_key, value))))
        elif isinstance(value, _uuid_class()):
            return 'U{}'.format(value)
        elif isinstance(value, datetime.datetime):
            # Two datetimes of one instant give one key; naive ones never equal aware ones.
            if not value.tzinfo:
                serialized_value = value.isoformat()
            else:
                serialized_value = value.astimezone(utc).isoformat()
            return 'DT{}'.format(serialized_value)
        elif value is None:
            return 'N'
        else:
            raise ValueError('Bad type "{}": {}'.format(type(value), value))

    def get_cache_key(self, /, *args, **kwargs):
        key = _native.get_cache_key(self, args, kwargs)
        if key is not None:
            return key
        args_string = ','.join(self._serialize_for_key(value)
                               for value in key_values(self, args, kwargs))
        if len(args_string) > 150:
            args_string = 'H' + self._hash(args_string)
        return 'quickcache.{}/{}'.format(self.prefix, args_string)

    def skip(self, /, *args, **kwargs):
        if not self.skip_arg:
            return False
        elif isinstance(self.skip_arg, str):
            return callargs(self.fn, args, kwargs)[self.skip_arg]
        elif isfunction(self.skip_arg):
            return self.skip_arg(*args, **kwargs)
        else:
            raise AssertionError("skip_arg must be None, a string, or a function "
                                 "and this should have been checked in __init__")

    def __call__(self, /, *args, **kwargs):
        if _is_coroutine_function(self.fn):
            from . import aio
            return aio.call(self, args, kwargs)
        if not self.skip(*args, **kwargs):
            return self.call(*args, **kwargs)
        else:
            return _native.text_skip(self, args, kwargs)


_native.set_pristine(QuickCacheHelper, cache_helpers.TieredCache, cache_helpers.CacheWithPresets,
                     callargs, utc)

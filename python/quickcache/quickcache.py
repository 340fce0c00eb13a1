"""Configuration in three stages: at creation, by `but_with`, at the function."""
import functools
from collections import namedtuple

from . import _native
from .logger import assert_function
from .quickcache_helper import QuickCacheHelper

# What a decorated function offers beyond the replaced library; a function's own attribute of that name stays.
_ADDITIONS = ('refresh', 'clear_all', 'clear_with', 'clear_on_commit', 'stats', 'explain')


class ConfigMixin:
    """What both configurations can do. A value of `Ellipsis` means: not given yet."""

    def but_with(self, **defaults):
        """A copy of this configuration with other defaults."""
        return self._replace(**defaults)

    def __call__(self, vary_on=Ellipsis, skip_arg=Ellipsis, **new_values):
        if vary_on is not Ellipsis:
            # A generator would be used up by the first function, and leave the second one with no key at all.
            if hasattr(vary_on, '__next__'):
                vary_on = list(vary_on)
            new_values['vary_on'] = vary_on
        if skip_arg is not Ellipsis:
            new_values['skip_arg'] = skip_arg

        if new_values:
            return self.but_with(**new_values).__call__()

        missing_values = [key for key, value in self._asdict().items()
                          if value is Ellipsis]
        if missing_values:
            raise ValueError(
                'the quickcache decorator still needs values '
                'for the following parameters: {}'.format(missing_values))

        return self.call()

    def call(self):
        helper_class_kwargs = self._asdict()
        helper_class = helper_class_kwargs.pop('helper_class')

        def decorator(fn):
            return decorate(fn, helper_class(fn, **helper_class_kwargs))

        return decorator


def decorate(fn, helper):
    """The decorated object for a helper, ours or a user's."""
    import inspect
    ours = isinstance(helper, QuickCacheHelper)
    coroutine = ours and inspect.iscoroutinefunction(fn)
    inner = _native.function(helper, fn, helper._plan if ours else None, coroutine)
    functools.update_wrapper(inner, fn)
    if coroutine:
        # Imported here and not by the first call, which would keep its loop waiting.
        from .aio import coroutine_mark
        inner._is_coroutine = coroutine_mark()
    companion = _awaitable_companion if coroutine else getattr
    inner.clear = companion(helper, 'clear')
    inner.get_cache_key = helper.get_cache_key
    inner.prefix = helper.prefix
    inner.get_cached_value = companion(helper, 'get_cached_value')
    inner.set_cached_value = companion(helper, 'set_cached_value')
    for name in _ADDITIONS:
        if name not in inner.__dict__ and hasattr(helper, name):
            setattr(inner, name, companion(helper, name))
    return inner


def _awaitable_companion(helper, name):
    """What is done on a coroutine function is done at the call, and can be awaited."""
    method = getattr(helper, name)
    if name == 'refresh':
        return method
    if name == 'set_cached_value':
        companion = _then(method, lambda settable: settable._replace(to=_at_once(helper, settable.to)))
    elif name == 'clear_with':
        # Takes its options first; the function that it gives is what clears.
        companion = _then(method, lambda clear: _clear_at_once(helper, clear))
    elif name in _ASK:
        companion = _at_once(helper, method)
    else:
        companion = _then(method, _done)
    companion.__self__ = helper
    return companion


# Those that may ask a server.
_ASK = ('clear', 'clear_all', 'explain', 'get_cached_value')


def _then(function, result):
    @functools.wraps(function)
    def at_once(*args, **kwargs):
        return result(function(*args, **kwargs))
    return at_once


def _at_once(helper, function):
    """Done at the call; where a server is asked, begun at the call, by another thread."""
    @functools.wraps(function)
    def at_once(*args, **kwargs):
        if _native.asks_network(helper):
            from .aio import soon
            return soon(function, *args, **kwargs)
        return _done(function(*args, **kwargs))
    return at_once


def _clear_at_once(helper, clear):
    @functools.wraps(clear)
    def at_once(*args, **kwargs):
        if _native.asks_network(helper):
            from .aio import soon, then_wait
            return then_wait(soon(clear.now, *args, **kwargs), clear.time_to_wait)
        return _done(clear(*args, **kwargs))
    return at_once


def _done(value):
    from .aio import Done
    return Done(value)


class QuickCache(namedtuple('QuickCache', [
    'vary_on',
    'cache',
    'skip_arg',
    'helper_class',
    'assert_function'
]), ConfigMixin):
    """The configuration of a cache that is any object with get, set and delete."""


get_quickcache = QuickCache(
    vary_on=Ellipsis,
    cache=Ellipsis,
    skip_arg=None,
    helper_class=QuickCacheHelper,
    assert_function=assert_function,
).but_with

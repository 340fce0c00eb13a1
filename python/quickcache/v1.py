"""A cached function whose keys are of scheme `v1` (docs/keys.md): what it varies on, checked when it is decorated.

Its life, its companions and its guard against patches are those of `QuickCacheHelper`; only the keys differ, and the errors,
which no other library has fixed.
"""
import os

from . import _native
from .quickcache_helper import QuickCacheHelper, isfunction, key_values


class V1Function(QuickCacheHelper):
    def __init__(self, fn, vary_on, cache, skip_arg=None, name=None, version=None, stale_timeout=None):
        check_function(fn)
        self.fn = fn
        self.cache = cache
        arguments = _arguments(fn)
        self.vary_on = _sources(fn, vary_on, arguments)
        self.skip_arg = _checked_skip_arg(fn, skip_arg, arguments, self.vary_on)
        # Bytes are no text here, and need no UTF-8.
        self.encoding_assert = None
        # Seconds for which tiers keep a value beyond its timeout, for calls whose function raises.
        self.stale_timeout = stale_timeout
        module, own_name = ('', name) if name is not None else (_module(fn), fn.__qualname__)
        source = b'' if name is not None or version is not None else _native.source_hash(_source_text(fn))
        self.keys = _native.V1Keys(module, own_name, '' if version is None else str(version), source, b'')
        # No part of a key, which shows nothing: what messages and people know the function by.
        self.prefix = '{}.{}'.format(own_name, self.keys.id[:4].hex())
        self._plan = _native.Plan()

    def get_cache_key(self, /, *args, **kwargs):
        key = _native.get_cache_key(self, args, kwargs)
        return self.keys.text(list(key_values(self, args, kwargs))) if key is None else key


def check_function(fn):
    if isinstance(fn, (classmethod, staticmethod)):
        kind = type(fn).__name__
        raise TypeError('{}: quickcache takes a function, not a {}; write @quickcache(...) below @{}'.format(
            fn.__func__.__name__, kind, kind))
    if not isfunction(fn):
        raise TypeError(
            'quickcache takes a function, not {!r}; if that was an argument of a call, @quickcache stands above its function '
            "without parentheses: write @quickcache(['name']) with the arguments it varies on".format(type(fn)))
    import inspect
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(
            '{}: a generator can be used once only, so it cannot be cached; return a list instead'.format(fn.__name__))


def _module(fn):
    """The function's module. That of a script, which is named as every other one, in the processes of a pool too, is its file."""
    module = fn.__module__ or ''
    if module not in ('__main__', '__mp_main__'):
        return module
    names = getattr(fn, '__globals__', {})
    spec = names.get('__spec__')
    if spec is not None:
        # `python -m package.module`.
        return spec.name
    file = names.get('__file__')
    return os.path.realpath(file) if file else module


def _arguments(fn):
    import inspect
    spec = inspect.getfullargspec(fn)
    return spec.args + spec.kwonlyargs + [name for name in (spec.varargs, spec.varkw) if name]


def _no_such(fn, option, name, arguments):
    have = 'its arguments are {}'.format(', '.join(arguments)) if arguments else 'it has no arguments'
    return ValueError('{}: {} names {!r}, which is no argument of the function; {}'.format(fn.__name__, option, name, have))


def _sources(fn, vary_on, arguments):
    if isfunction(vary_on):
        return vary_on
    sources = []
    for path in vary_on:
        name, *attributes = path.split('.')
        if name not in arguments:
            raise _no_such(fn, 'vary_on', name, arguments)
        if not all(map(str.isidentifier, attributes)):
            raise ValueError('{}: vary_on has {!r}, which is no dotted path such as {}.id'.format(fn.__name__, path, name))
        sources.append((name, tuple(attributes)))
    return sources


def _checked_skip_arg(fn, skip_arg, arguments, vary_on):
    if skip_arg is None or isfunction(skip_arg):
        return skip_arg
    if skip_arg not in arguments:
        raise _no_such(fn, 'skip_arg', skip_arg, arguments)
    if not isfunction(vary_on) and any(name == skip_arg for name, _ in vary_on):
        raise ValueError('{}: {!r} is in vary_on and is skip_arg too; take it out of vary_on'.format(fn.__name__, skip_arg))
    return skip_arg


def _source_text(fn):
    import inspect
    try:
        return inspect.getsource(fn)
    except (OSError, TypeError) as error:
        raise ValueError(
            '{}: its source text cannot be read ({}), so that a changed function could not be told from the old one; give it a '
            'version, as in version=1'.format(fn.__name__, error)) from error


_native.set_pristine_v1(V1Function)

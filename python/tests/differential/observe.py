"""Running a scenario on one side, writing down all that a user could see, and comparing the two records.

A scenario is a function of a `World`. It builds its caches with `world.cache()`, decorates with `world.decorate()`, and does
each step through `world.attempt()`. Objects appear in the record as their repr with addresses and package names removed.
"""
import logging
import re
import warnings
from contextlib import contextmanager
from os.path import basename

from . import sides
from .backends import RecordingCache

LOGGER = logging.getLogger('quickcache')


def tidy(text):
    """Text without what may differ between two equal runs: addresses, and the alias of the package."""
    text = re.sub(r'\b0x[0-9a-fA-F]+', '0x..', text)
    # How a decorated function and the `to` of a Settable are built is no part of the contract (2.7).
    text = re.sub(r'<(?:cached )?function .*? at 0x\.\.>', '<function>', text)
    text = re.sub(r'Settable\(to=<.*>\)', 'Settable(to=...)', text)
    return text.replace('seed_quickcache', 'quickcache').replace('other_quickcache', 'quickcache')


def shape(value):
    """How a value appears in a record."""
    try:
        return tidy(repr(value))
    except Exception as error:
        return f'<{type(value).__name__} whose repr raises {type(error).__name__}>'


def error_shape(error):
    name = f'{type(error).__module__}.{type(error).__qualname__}'
    if isinstance(error, RecursionError):
        return ('raised', name)         # its text names the place where the stack ended
    try:
        return ('raised', tidy(name), tidy(str(error)))
    except Exception as second:
        return ('raised', tidy(name), f'<str raises {type(second).__name__}>')


class World:
    """What a scenario may touch: one side, and the record it writes."""

    def __init__(self, side):
        self.side = side
        self.record = []

    def note(self, *what):
        self.record.append(tuple(tidy(x) if isinstance(x, str) else shape(x) for x in what))

    def attempt(self, label, fn, *args, **kwargs):
        """Do one step; note its result or its error; return the result (None after an error)."""
        try:
            value = fn(*args, **kwargs)
        except Exception as error:
            self.record.append((label, *error_shape(error)))
            return None
        self.record.append((label, 'returned', shape(value)))
        return value

    def cache(self, name='cache', **faults):
        return RecordingCache(name, self.note, **faults)

    def decorate(self, fn, vary_on=(), *, cache=None, **options):
        """`fn` decorated in the common way, over a recording cache unless another is given."""
        cache = self.cache() if cache is None else cache
        return self.side.get_quickcache(vary_on=vary_on, cache=cache, **options)()(fn)

    def helper(self, fn, vary_on=(), cache=None, **options):
        return self.side.QuickCacheHelper(fn, vary_on, self.cache() if cache is None else cache, **options)


class _Records(logging.Handler):
    def __init__(self, note):
        super().__init__(logging.DEBUG)
        self.note = note

    def emit(self, record):
        self.note('log', record.name, record.levelname, tidy(record.getMessage()))


@contextmanager
def _listening(world, loud):
    """Log records at DEBUG (when `loud`) and all warnings go into the record, in their place among the calls."""
    handler, level, propagate = _Records(world.note), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if loud else logging.INFO)
    LOGGER.propagate = False

    def show(message, category, filename, lineno, file=None, line=None):
        world.note('warning', category.__name__, tidy(str(message)), basename(filename))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            warnings.showwarning = show
            yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def observe(side, scenario, loud=True):
    """The record of `scenario` on `side`; an error that leaves the scenario is its last entry."""
    world = World(side)
    with _listening(world, loud):
        try:
            scenario(world)
        except Exception as error:
            world.record.append(('end', *error_shape(error)))
    return world.record


def same(scenario, loud=None, allow=None):
    """The scenario has one outcome on both sides. Run with and without DEBUG logging, unless `loud` picks one.

    `allow(seed_record, our_record)` may return a pair in which an allowed difference is levelled out.
    """
    for mode in (True, False) if loud is None else (loud,):
        seed, ours = observe(sides.SEED, scenario, mode), observe(sides.OURS, scenario, mode)
        if seed != ours and allow is not None:
            seed, ours = allow(seed, ours)
        assert ours == seed, _difference(seed, ours, mode)
        assert seed, 'the scenario noted nothing: it cannot fail'


def _difference(seed, ours, loud):
    lines = [f'the two sides part (DEBUG logging {"on" if loud else "off"}):']
    for number in range(max(len(seed), len(ours))):
        left = seed[number] if number < len(seed) else '(nothing)'
        right = ours[number] if number < len(ours) else '(nothing)'
        if left == right:
            lines.append(f'     {left}')
        else:
            lines += [f'seed {left}', f'ours {right}']
            break
    return '\n'.join(lines)

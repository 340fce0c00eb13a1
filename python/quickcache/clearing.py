"""Clears with options, and the clear that waits for a transaction."""
from . import _native
from .errors import ClearPending


def clear_with(helper, wait, strict, settle):
    import threading
    for name, value in (('wait', wait), ('strict', strict)):
        if not isinstance(value, bool):
            raise TypeError('clear_with of {}: {} must be True or False, not {!r}'.format(
                helper.fn.__name__, name, value))
    if isinstance(settle, bool) or not isinstance(settle, (int, float)) or not 0 <= settle <= threading.TIMEOUT_MAX:
        raise ValueError('clear_with of {}: settle must be a number of seconds, 0 or more, not {!r}'.format(
            helper.fn.__name__, settle))

    def clear(*args, **kwargs):
        release = _native.hold(helper, args, kwargs) if settle else None
        try:
            helper.clear(*args, **kwargs)
        finally:
            if release is not None:
                timer = threading.Timer(settle, release)
                timer.daemon = True
                timer.start()
        if _native.reaches_store(helper):
            return 'applied'
        if strict:
            raise ClearPending('{}: its store cannot be opened, so other processes are not told of this clear; the log says '
                               'why'.format(helper.fn.__name__))
        return 'pending'

    return clear


def clear_on_commit(helper, args, kwargs):
    try:
        from django.db import transaction
    except ImportError as error:
        raise RuntimeError('clear_on_commit of {} needs Django; use clear without it'.format(
            helper.fn.__name__)) from error
    # The key is made now: a deleted object has lost its id by the time of the commit.
    clear = _native.clearer(helper, args, kwargs)
    if clear is None:
        def clear():
            helper.clear(*args, **kwargs)
    transaction.on_commit(clear)

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

    def clear_now(*args, **kwargs):
        release = _native.hold(helper, args, kwargs) if settle else None
        try:
            ours, applied = _native.clear_told(helper, args, kwargs)
            if not ours:
                helper.clear(*args, **kwargs)
        finally:
            if release is not None:
                timer = threading.Timer(settle, release)
                timer.daemon = True
                timer.start()
        if applied:
            return 'applied'
        if strict:
            raise ClearPending('{}: its store cannot be opened or its server cannot be reached, so others are not told of '
                               'this clear yet; the log says why'.format(helper.fn.__name__))
        return 'pending'

    def clear(*args, **kwargs):
        status = clear_now(*args, **kwargs)
        seconds = time_to_wait(status)
        if seconds:
            import time
            time.sleep(seconds)
        return status

    def time_to_wait(status):
        # Nobody is told of a pending clear, however long one waits.
        return (_native.staleness(helper) or 0) if wait and status == 'applied' else 0

    # For who waits otherwise.
    clear.now, clear.time_to_wait = clear_now, time_to_wait
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

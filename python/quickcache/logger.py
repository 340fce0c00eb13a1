"""The logger of the library, and the default for `assert_function`.

`logging` costs half of what importing quickcache does, so it is imported when `logger` is first asked for.
"""
import sys


def __getattr__(name):
    if name != 'logger':
        raise AttributeError('module {!r} has no attribute {!r}'.format(__name__, name))
    import logging
    found = globals()['logger'] = logging.getLogger('quickcache')
    return found


def _warn(message):
    """What the engine has to say, in whichever thread."""
    sys.modules[__name__].logger.warning(message)


def assert_function(assertion, message):
    # The test is inverted, and stays so: it is called with False, and the default never warned anybody.
    if assertion:
        sys.modules[__name__].logger.warning(message)

"""Bad input, in the order of the list that the project began with: one error that names the function, the option and the fix.

Each test compares the whole text. Where the replaced library has a text of its own, that text stands, with help behind it at
most. Every error leaves alone what is cached: `kept` asks for it when the test is over.
Both distributions installed: `test_import.py`. A missing alias of Django's: `tests/django/test_bad_input.py`.
Of Rust's own front: `crates/quickcache-macros/tests/ui` and `front_faults.rs`.
"""
import datetime
import decimal
import pickle
import sys
import threading

import pytest

from quickcache import Memory, TieredCache, _native, get_quickcache

from .tools import LONG, PACKAGE, Gate, Source, UserCache, Waits, cached, script, start


@pytest.fixture
def memory():
    """A memory with a value in it that no error may cost."""
    memory = Memory()
    source = Source()
    f = source.cached(memory)
    f(1)
    memory.set('by text', 'kept')
    yield memory
    source.value = 'computed again'
    assert f(1) == f.get_cached_value(1) == 1
    assert memory.get('by text') == 'kept'


def one_error(kind, text, function, *args, **kwargs):
    """Exactly this one, raised for nothing else and hiding nothing else."""
    with pytest.raises(kind) as raised:
        function(*args, **kwargs)
    assert type(raised.value) is kind
    assert str(raised.value) == text
    return raised.value


def look_up(key, force=False):
    return key


# ---- an unknown option ----

OPTIONS = ': its options are timeout, max_entries, max_bytes and copy'


def test_an_unknown_option_of_memory(memory):
    one_error(TypeError, "Memory() got an unexpected keyword argument 'max_size'" + OPTIONS, Memory, max_size=10)
    one_error(TypeError, "Memory() got an unexpected keyword argument 'ttl'" + OPTIONS, Memory, 5, ttl=10)


@pytest.mark.parametrize('stage', ['creation', 'but_with', 'function'])
def test_an_unknown_option_of_a_configuration_is_told_as_ever(memory, stage):
    base = get_quickcache(cache=memory)
    kind = TypeError if sys.version_info >= (3, 13) else ValueError    # namedtuple's own (drop-in.md C3)
    use = {'creation': get_quickcache, 'but_with': base.but_with, 'function': lambda **options: base(['key'], **options)}[stage]
    one_error(kind, "Got unexpected field names: ['timeuot']", use, timeuot=5)


def test_an_unknown_option_of_clear_with(memory):
    f = cached(memory)(look_up)
    f(1)
    with pytest.raises(TypeError, match=r"clear_with\(\) got an unexpected keyword argument 'patience'$"):
        f.clear_with(patience=1)(1)
    assert f.get_cached_value(1) == 1


# ---- a wrong type of option ----

@pytest.mark.parametrize('options, text', [
    ({'timeout': '5'}, 'Memory: timeout must be a number of seconds, a timedelta or None, not str'),
    ({'timeout': True}, 'Memory: timeout must be a number of seconds, a timedelta or None, not bool'),
    ({'max_entries': 1.5}, 'Memory: max_entries must be an integer or None, not float'),
    ({'max_entries': '10'}, 'Memory: max_entries must be an integer or None, not str'),
    ({'max_bytes': b'1'}, 'Memory: max_bytes must be an integer or None, not bytes'),
    ({'copy': 1}, 'Memory: copy must be True, False or None, not 1'),
], ids=lambda v: str(v) if isinstance(v, dict) else '')
def test_a_wrong_type_of_an_option_of_memory(memory, options, text):
    one_error(TypeError, text, Memory, **options)


def test_a_wrong_type_of_a_timeout_of_a_set(memory):
    for use in (lambda: memory.set('by text', 'other', '5'), lambda: memory.touch('by text', '5')):
        one_error(TypeError, "Memory: timeout must be a number of seconds, a timedelta or None, not '5'", use)


def test_a_wrong_type_of_a_key(memory):
    one_error(TypeError, "a key of Memory must be a str, not int: that of a cached function's call is f.get_cache_key(...)",
              memory.get, 1)


def test_a_wrong_count_of_shrink(memory):
    one_error(ValueError, 'Memory.shrink: count must be an integer, 0 or more, not -1', memory.shrink, -1)


@pytest.mark.parametrize('options, kind, text', [
    ({'vary_on': None}, TypeError, "'NoneType' object is not iterable"),
    ({'vary_on': 5}, TypeError, "'int' object is not iterable"),
    ({'skip_arg': 5}, ValueError, 'skip_arg must be None, a string, or a function'),
    ({'skip_arg': 'forec'}, ValueError,
     'We cannot use "forec" as the "skip" parameter because the function look_up has no such argument'),
    ({'vary_on': ['key', 'force'], 'skip_arg': 'force'}, ValueError,
     'You cannot use the "force" argument as a vary on parameter and as the "skip cache" parameter in the function: look_up'),
], ids=lambda v: str(v) if isinstance(v, dict) else '')
def test_a_wrong_type_of_an_option_of_a_function_is_told_as_ever(memory, options, kind, text):
    one_error(kind, text, lambda: get_quickcache(cache=memory)(**{'vary_on': ['key'], **options})(look_up))


def test_an_option_that_was_left_out_is_told_as_ever(memory):
    missing = 'the quickcache decorator still needs values for the following parameters: '
    one_error(ValueError, missing + "['vary_on', 'cache']", get_quickcache())
    one_error(ValueError, missing + "['vary_on']", get_quickcache(cache=memory), skip_arg='force')


@pytest.mark.parametrize('options, kind, text', [
    ({'wait': 1}, TypeError, 'clear_with of look_up: wait must be True or False, not 1'),
    ({'strict': 'no'}, TypeError, "clear_with of look_up: strict must be True or False, not 'no'"),
    ({'settle': -1}, ValueError, 'clear_with of look_up: settle must be a number of seconds, 0 or more, not -1'),
], ids=lambda v: str(v) if isinstance(v, dict) else '')
def test_a_wrong_type_of_an_option_of_clear_with(memory, options, kind, text):
    f = cached(memory)(look_up)
    f(1)
    one_error(kind, text, lambda: f.clear_with(**options)(1))
    assert f.get_cached_value(1) == 1


# ---- a negative timeout ----

@pytest.mark.parametrize('timeout, said', [
    (-1, '-1'), (0, '0'), (-0.5, '-0.5'), (float('nan'), 'nan'), (datetime.timedelta(days=-1), 'datetime.timedelta(days=-1)')])
def test_a_negative_timeout(memory, timeout, said):
    text = f'Memory: timeout must be more than 0 seconds, not {said}; None means no expiry'
    one_error(ValueError, text, Memory, timeout)
    one_error(ValueError, text, Memory, timeout=timeout)


@pytest.mark.parametrize('bound', ['max_entries', 'max_bytes'])
def test_a_negative_bound(memory, bound):
    one_error(ValueError, f'Memory: {bound} must be more than 0, not -5; None means no bound', Memory, **{bound: -5})


# ---- a name in vary_on that does not exist ----

@pytest.mark.parametrize('vary_on, name', [(['kye'], 'kye'), (['key', 'person.id'], 'person'), ([''], ''), ('ab', 'a')])
def test_a_name_that_does_not_exist(memory, vary_on, name):
    one_error(ValueError, f'We cannot vary on "{name}" because the function look_up has no such argument',
              lambda: get_quickcache(cache=memory)(vary_on)(look_up))


def test_an_attribute_that_does_not_exist_is_the_callers_own_error(memory):
    f = cached(memory, vary_on=['key.id'])(look_up)
    one_error(AttributeError, "'int' object has no attribute 'id'", f, 1)


# ---- a key value that is not hashable or not supported ----

class Unhashable:
    __hash__ = None

    def __repr__(self):
        return 'Unhashable()'


@pytest.mark.parametrize('make_cache', [Memory, UserCache, lambda: TieredCache([Memory(), UserCache()])], ids=['memory', 'user', 'both'])
@pytest.mark.parametrize('value', [Unhashable(), datetime.date(2024, 1, 2), decimal.Decimal('1.5'), frozenset([1]), 1j], ids=repr)
def test_a_key_value_that_is_not_supported_is_told_as_ever(make_cache, value):
    source = Source()
    f = source.cached(make_cache())
    f(1)
    text = f'Bad type "{type(value)}": {value}'
    for use in (f, f.clear, f.get_cache_key, f.get_cached_value, f.set_cached_value, f.explain):
        one_error(ValueError, text, use, value)
        one_error(ValueError, text, use, [1, {'a': value}])
    assert f(1) == 1 and source.executions == 1


def test_a_list_is_hashable_enough(memory):
    f = cached(memory)(look_up)
    assert f([1]) == f([1]) == [1] and f.stats().executions == 1


# ---- a value that cannot be copied or encoded ----

COPIED = ('{}: a value of type function cannot be copied ({}), so it is not cached; return another type, or use '
          'Memory(copy=False) to share one object among all callers')


def pickling_error():
    """What this CPython raises for a lambda of a function."""
    try:
        pickle.dumps(lambda: None)
    except Exception as error:
        return error


@pytest.mark.parametrize('make_cache', [
    lambda: Memory(copy=True), lambda: TieredCache([Memory(copy=True)]), lambda: TieredCache([Memory(copy=True), Memory(copy=False)]),
    lambda: TieredCache([UserCache(), Memory(copy=True)]),
], ids=['memory', 'tiered', 'memory+memory', 'user+memory'])
def test_a_value_that_cannot_be_copied_is_returned_and_said_once(make_cache, caplog, request):
    def gives_a_function(key):
        return (lambda: key) if key else 'plain'
    # Functions of one name and text are one function.
    gives_a_function.__name__ = name = request.node.callspec.id.replace('+', '_')
    f = cached(make_cache())(gives_a_function)
    assert f(0) == 'plain'
    assert [f(key)() for key in (1, 2, 1)] == [1, 2, 1]
    f.set_cached_value(1).to(lambda: 'set')
    assert f.refresh(2)() == 2
    said = [record.getMessage() for record in caplog.records if record.name == 'quickcache' and record.levelname == 'WARNING']
    assert said == [COPIED.format(name, type(pickling_error()).__name__)]
    assert f(0) == 'plain' and f.get_cached_value(0) == 'plain'


def test_a_value_that_cannot_be_copied_is_counted():
    f = cached(Memory(copy=True))(lambda key: lambda: key)
    f(1), f(2)
    assert (f.stats().executions, f.stats().fills, f.stats().refused_fills) == (2, 0, 2)


def test_a_value_that_cannot_be_copied_replaces_what_it_is_newer_than():
    for cache in (Memory(copy=True), TieredCache([Memory(copy=True), UserCache()]), TieredCache([UserCache(), Memory(copy=True)])):
        f = cached(cache)(look_up)
        f.set_cached_value(1).to('old')
        f.set_cached_value(1).to(threading.Lock())
        assert f.get_cached_value(1) != 'old'


def test_a_value_that_cannot_be_copied_is_an_error_of_set():
    memory = Memory(copy=True)
    memory.set('key', 'kept')
    cause = pickling_error()
    error = one_error(
        TypeError, 'Memory.set: a value of type function cannot be copied ({}); use Memory(copy=False) to share one object '
        'among all callers'.format(str(cause).replace('pickling_error', 'test_a_value_that_cannot_be_copied_is_an_error_of_set')),
        memory.set, 'key', lambda: None)
    assert type(error.__cause__) is type(cause)
    assert memory.get('key') == 'kept'


def test_an_interrupt_while_a_value_is_copied_is_no_fault_of_the_value():
    class Interrupted:
        def __reduce__(self):
            raise KeyboardInterrupt

    f = cached(Memory(copy=True))(lambda key: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        f(1)
    with pytest.raises(KeyboardInterrupt):
        Memory(copy=True).set('key', Interrupted())


# ---- a cache object without a needed method ----

NEEDS = ': a cache for quickcache needs get(key, default), set(key, value) and delete(key), and that of look_up '


def without(*names):
    methods = {name: getattr(UserCache, name) for name in ('__init__', 'get', 'set', 'delete') if name not in names}
    return type('Poor', (), methods)()


@pytest.mark.parametrize('behind', [False, True], ids=['alone', 'behind memory'])
@pytest.mark.parametrize('method, wanted', [('get', 'get(key, default)'), ('set', 'set(key, value)'), ('delete', 'delete(key)')])
def test_a_cache_object_without_a_method(method, wanted, behind):
    cache = without(method)
    f = cached(TieredCache([Memory(), cache]) if behind else cache)(look_up)

    def use():
        f(1)
        f.clear(1)
    one_error(AttributeError, f"'Poor' object has no attribute '{method}'" + NEEDS + f'lacks {wanted}', use)


def test_no_cache_object_at_all():
    one_error(AttributeError, "'NoneType' object has no attribute 'get'" + NEEDS + 'lacks get(key, default)', cached(None)(look_up), 1)


def test_a_dict_is_no_cache_object():
    one_error(TypeError, 'dict.get() takes no keyword arguments' + NEEDS + 'takes no keyword default', cached({})(look_up), 1)


def test_a_get_without_a_default():
    class Poor(UserCache):
        def get(self, key):
            raise AssertionError('not called')
    words = f"{Poor.get.__qualname__ if sys.version_info >= (3, 10) else 'get'}() got an unexpected keyword argument 'default'"
    one_error(TypeError, words + NEEDS + 'takes no keyword default', cached(Poor())(look_up), 1)


def test_the_class_in_place_of_an_object():
    f = cached(Memory)(look_up)
    with pytest.raises(TypeError) as raised:
        f(1)
    assert str(raised.value).endswith(NEEDS + 'is a class: give an object of it')


def test_an_error_out_of_a_cache_object_is_its_own():
    class Failing(UserCache):
        def get(self, key, default=None):
            return {}.nothing

        def set(self, key, value):
            [].get(key)
    failing = Failing()
    one_error(AttributeError, "'dict' object has no attribute 'nothing'", cached(failing)(look_up), 1)
    Failing.get = UserCache.get
    one_error(AttributeError, "'list' object has no attribute 'get'", cached(failing)(look_up), 1)


def test_a_tiered_cache_of_one_cache_that_is_no_list(memory):
    one_error(TypeError, "'quickcache.Memory' object is not iterable: TieredCache takes a list of caches, the fastest first",
              cached(TieredCache(memory))(look_up), 1)


# ---- a sub-interpreter ----

SUB_INTERPRETER = """
    import sys
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters

    IMPORT = '''
    try:
        import quickcache
    except ImportError as error:
        print(error, flush=True)
    else:
        print('imported', flush=True)
    '''

    def in_a_sub_interpreter():
        for kind in kinds:
            interpreter = interpreters.create(**kind)
            run = getattr(interpreters, 'exec', None) or interpreters.run_string
            run(interpreter, IMPORT)
            interpreters.destroy(interpreter)

    # With a GIL of its own, and with the one of the main interpreter, as mod_wsgi makes them.
    kinds = {(3, 12): [{'isolated': True}, {'isolated': False}]}.get(sys.version_info[:2], [{}])
    if sys.version_info >= (3, 13):
        kinds = [{'config': 'isolated'}, {'config': 'legacy'}]
    in_a_sub_interpreter()
    exec(IMPORT)
    import quickcache

    def f(key):
        return object()
    f = quickcache.get_quickcache(cache=quickcache.Memory())(['key'])(f)
    first = f(1)
    in_a_sub_interpreter()
    print('kept' if f(1) is first else 'lost', len(kinds))
"""


def test_a_sub_interpreter_is_told_which_setting_to_change(tmp_path):
    """Before and after the import in the main interpreter, which works in any case."""
    done = script(tmp_path, SUB_INTERPRETER)
    assert (done.returncode, done.stderr) == (0, '')
    said = ('quickcache cannot be imported in a sub-interpreter, where it would share its memory with others. Under mod_wsgi set '
            'WSGIApplicationGroup %{GLOBAL}, so that the application runs in the main interpreter')
    *lines, last = done.stdout.splitlines()
    kinds = int(last.split()[1])
    assert lines == [said] * kinds + ['imported'] + [said] * kinds
    assert last == f'kept {kinds}' and kinds == (2 if sys.version_info >= (3, 12) else 1)


# ---- a fault of our own ----

provoked = pytest.mark.skipif(not hasattr(_native, 'panic_at'), reason='a release build, which cannot be made to panic')
CACHES = {'memory': Memory, 'user': UserCache, 'memory+user': lambda: TieredCache([Memory(), UserCache()])}
# Where, over which caches, by which use.
PANICS = [(place, cache, use) for places, caches, uses in [
    ('call', 'memory user memory+user', 'call skip'), ('land fill', 'memory memory+user', 'call'), ('announced', 'user memory+user', 'call'),
    ('store', 'memory user memory+user', 'set refresh skip'), ('supersede', 'user memory+user', 'set refresh skip'),
    ('clear', 'memory user memory+user', 'clear'), ('delete', 'user memory+user', 'clear'),
] for place in places.split() for cache in caches.split() for use in uses.split()]


@provoked
@pytest.mark.parametrize('place, make_cache, use', [(p, CACHES[c], u) for p, c, u in PANICS], ids=map('-'.join, PANICS))
def test_a_panic_is_an_error_of_its_call_and_ends_nothing_else(place, make_cache, use, capfd):
    source = Source('old')
    f = source.cached(make_cache(), skip_arg='force')
    assert f('other') == 'old'
    if use != 'call':
        f('key')
    source.value = 'new'
    uses = {'call': lambda: f('key'), 'skip': lambda: f('key', force=True), 'set': lambda: f.set_cached_value('key').to('new'),
            'refresh': lambda: f.refresh('key'), 'clear': lambda: f.clear('key')}
    _native.panic_at(place)
    one_error(SystemError, f'quickcache: internal error: provoked at {place}', uses[use])
    assert 'provoked at' in capfd.readouterr().err
    # Nothing else is lost, nobody waits for what was half done, and the same use works.
    assert f('other') == 'old'
    uses[use]()
    f.clear('key')
    assert f('key') == 'new' == f.get_cached_value('key')
    executions = source.executions
    assert f('key') == 'new' and source.executions == executions


@provoked
@pytest.mark.parametrize('place', ['land', 'fill'])
def test_a_panic_of_a_leader_lets_its_followers_go(place, capfd):
    source = Source()
    f = source.cached(Memory())
    source.gate = Gate()
    with Waits() as waits:
        leader = start(f, 1)
        source.gate.reached()
        followers = [start(f, 1) for _ in range(3)]
        waits.reach(3)
        _native.panic_at(place)
        source.gate.open()
        assert isinstance(leader.exception(), SystemError)
    assert [follower.result() for follower in followers] == [1, 1, 1]
    assert f(1) == 1 and source.executions == 2


@provoked
@pytest.mark.parametrize('place', ['land', 'fill'])
def test_a_panic_under_asyncio_is_met_by_looking_again(place, capfd):
    import asyncio

    async def nothing():
        pass
    source = Source()
    source.gate = nothing
    f = source.cached_async(Memory())

    async def main():
        _native.panic_at(place)
        assert await asyncio.wait_for(asyncio.gather(f(1), f(1), f(2)), LONG) == [1, 1, 1]
        assert (await f.stats()).executions == 3
    asyncio.run(main())


def test_a_release_build_cannot_be_made_to_panic():
    """The switch is a feature of the crate, off by default, and only a build for tests turns it on."""
    manifest = (PACKAGE / 'Cargo.toml').read_text()
    assert 'faults = []' in manifest and 'default = ' not in manifest
    builder = (PACKAGE.parent / 'tools' / 'setup' / 'extension.py').read_text()
    assert "[] if profile == 'release' else ['--features', 'faults']" in builder
    assert 'features' not in (PACKAGE / 'pyproject.toml').read_text()

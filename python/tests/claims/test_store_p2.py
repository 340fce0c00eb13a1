"""P2: what one process stores all have, and what one clears none has, its memory tier included."""
import pytest

#: Under both schemes of keys, and as a coroutine function.
every_kind = pytest.mark.parametrize('f', ['f', 'g', 'h'], ids=['seed', 'v1', 'v1 async'])


@every_kind
def test_what_one_process_computed_the_others_hit(site, f):
    one, two = site.two()
    assert one.do(f'{f}(1)') == two.do(f'{f}(1)') == [1, 1]
    assert two.do(f'{f}(1)') == [1, 1]
    assert site.executions == [one.pid]
    stats = two.do(f'{f}.stats()')
    assert (stats.store_hits, stats.memory_hits, stats.executions, stats.misses) == (1, 1, 0, 0)
    stats = one.do(f'{f}.stats()')
    assert (stats.store_hits, stats.memory_hits, stats.executions, stats.misses, stats.fills) == (0, 0, 1, 1, 1)


CHANGES = {
    'clear': '{f}.clear(1)', 'clear_all': '{f}.clear_all()', 'refresh': '{f}.refresh(1)', 'skip_arg': '{f}(1, force=True)',
    'set_cached_value': "{f}.set_cached_value(1).to([1, 2])", 'Store.delete': 'STORE.delete({f}.get_cache_key(1))',
    'Store.clear': 'STORE.clear()', 'clear_with': "{f}.clear_with()(1)",
}


@every_kind
@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_p2_a_change_in_one_process_is_seen_by_the_next_call_of_every_other(site, f, change):
    one, two = site.two()
    three = site.start()
    for process in (one, two, three):
        assert process.do(f'{f}(1)') == process.do(f'{f}(1)') == [1, 1]
        process.do("source['value'] = 2")
    for process, others in ((one, (two, three)), (two, (one, three))):
        process.do(change.format(f=f))
        for other in others:
            assert other.do(f'{f}.get_cached_value(1)') in ([1, 2], ...)
            assert other.do(f'{f}(1)') == [1, 2], 'of before the change'
        assert process.do(f'{f}(1)') == [1, 2]
    # What was stored instead is shared as well: nobody runs a third time for it.
    ran = len(site.executions)
    assert all(process.do(f'{f}(1)') == [1, 2] for process in (one, two, three))
    assert len(site.executions) == ran


@every_kind
def test_p2_a_clear_clears_its_key_only(site, f):
    one, two = site.two()
    for key in range(20):
        one.do(f'{f}({key})'), two.do(f'{f}({key})')
    one.do(f"{f}.clear(3); source['value'] = 2")
    two.do("source['value'] = 2")
    assert [two.do(f'{f}({key})')[1] for key in range(20)] == [2 if key == 3 else 1 for key in range(20)]


@every_kind
def test_p2_clear_all_leaves_other_functions_alone(site, f):
    one, two = site.two(more="""
        @seed(['key'])
        def seed_other(key):
            return read()

        @v1(['key'])
        def v1_other(key):
            return read()
    """)
    for call in (f'{f}(1)', f'{f}(2)', 'seed_other(1)', 'v1_other(1)'):
        one.do(call), two.do(call)
    one.do(f'{f}.clear_all()')
    two.do("source['value'] = 2")
    assert two.do(f'{f}(1)') == [1, 2] and two.do(f'{f}(2)') == [2, 2]
    assert two.do('seed_other(1)') == two.do('v1_other(1)') == 1


@every_kind
@pytest.mark.parametrize('change', ['{f}.clear(1)', '{f}.clear_all()', 'STORE.clear()', 'STORE.delete({f}.get_cache_key(1))'],
                         ids=['clear', 'clear_all', 'Store.clear', 'Store.delete'])
def test_p2_a_fill_that_another_process_overtook_with_a_clear_is_never_found(site, f, change):
    one, two = site.two()
    one.do("source['gates'] = ['gate']")
    slow = one.begin(f'{f}(1)')
    one.reached()
    two.do(change.format(f=f) + "; source['value'] = 2")
    one.do("source.update(value=2, gates=())")
    one.open()
    assert slow.result(20) == [1, 1], 'its call began before the clear'
    assert two.do(f'{f}.get_cached_value(1)') is one.do(f'{f}.get_cached_value(1)') is ...
    assert two.do(f'{f}(1)') == one.do(f'{f}(1)') == [1, 2]


@every_kind
@pytest.mark.parametrize('store', ['{f}.refresh(1)', '{f}(1, force=True)'], ids=['refresh', 'skip_arg'])
def test_p2_a_refresh_that_another_process_overtook_with_a_clear_is_never_found(site, f, store):
    one, two = site.two()
    one.do(f'{f}(1)'), two.do(f'{f}(1)')
    one.do("source['gates'] = ['gate']")
    slow = one.begin(store.format(f=f))
    one.reached()
    two.do(f"{f}.clear(1); source['value'] = 2")
    one.do("source.update(value=2, gates=())")
    one.open()
    assert slow.result(20) == [1, 1]
    assert one.do(f'{f}.get_cached_value(1)') is ...
    assert one.do(f'{f}(1)') == two.do(f'{f}(1)') == [1, 2]


@every_kind
def test_p2_a_call_that_begins_after_the_clear_joins_no_flight_of_before(site, f):
    """The flight is of its own process, and the clear comes from another."""
    one, two = site.two()
    one.do("source['gates'] = ['gate']")
    slow = one.begin(f'{f}(1)')
    one.reached()
    two.do(f'{f}.clear(1)')
    one.do("source.update(value=2, gates=())")
    assert one.do(f'{f}(1)') == [1, 2]
    one.open()
    assert slow.result(20) == [1, 1]
    assert one.do(f'{f}(1)') == two.do(f'{f}(1)') == [1, 2]


def test_p2_a_value_that_is_set_while_another_process_computes_stays(site):
    one, two = site.two()
    one.do("source['gates'] = ['gate']")
    slow = one.begin('f(1)')
    one.reached()
    two.do("f.set_cached_value(1).to('set')")
    one.open()
    assert slow.result(20) == [1, 1]
    assert one.do('f(1)') == two.do('f(1)') == 'set'


METHODS = """
    class Repo:
        def __init__(self, id):
            self.id = id

        @seed(['self.id', 'key'])
        def seed_method(self, key):
            return [self.id, read()]

        @v1(['self.id', 'key'])
        def v1_method(self, key):
            return [self.id, read()]

        @v1(['self.id', 'key'])
        async def async_method(self, key):
            return [self.id, read()]

        @classmethod
        @v1(['key'])
        def class_method(cls, key):
            return [cls.__name__, read()]

        @staticmethod
        @seed(['key'])
        def static_method(key):
            return [key, read()]
"""


@pytest.mark.parametrize('method', ['Repo(7).seed_method', 'Repo(7).v1_method', 'Repo(7).async_method', 'Repo.class_method',
                                    'Repo.static_method'])
def test_p2_methods_share_and_are_cleared_as_functions_are(site, method):
    one, two = site.two(more=METHODS)
    before = one.do(f'{method}(1)')
    assert two.do(f'{method}(1)') == two.do(f'{method}(1)') == before
    assert site.executions == [one.pid]
    one.do("source['value'] = 2")
    two.do("source['value'] = 2")
    # The companions of a method take its instance, as ever.
    function = method.replace('(7)', '')
    receiver = 'Repo(7), ' if '(7)' in method else 'Repo, ' if 'class' in method else ''
    one.do(f'{function}.clear({receiver}1)')
    assert two.do(f'{method}(1)') == [before[0], 2]


def test_two_instances_of_a_class_do_not_share(site):
    one, two = site.two(more=METHODS)
    assert one.do('Repo(7).v1_method(1)') == [7, 1] and two.do('Repo(8).v1_method(1)') == [8, 1]
    assert len(site.executions) == 2


PROGRAM = """
    from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache
    {configuration}

    @{quickcache}
    def f(key):
        {body}
"""
SEED = dict(configuration='quickcache = get_quickcache(cache=TieredCache([Memory(), Store(FOLDER)]))', quickcache="quickcache(['key'])")
V1 = dict(configuration='quickcache = get_local_quickcache(path=FOLDER)')


def runs(site, first, second):
    """How often two programs run their f(1)."""
    for number, options in enumerate((first, second)):
        site.start(PROGRAM.format(**options), name=f'site_{number}.py').do('f(1)')
    return len(site.executions)


def test_under_seed_functions_of_one_text_share(site):
    assert runs(site, dict(SEED, body='ran(); return 1'), dict(SEED, body='ran(); return 1')) == 1


def test_under_seed_a_changed_text_is_another_function(site):
    assert runs(site, dict(SEED, body='ran(); return 1'), dict(SEED, body='ran(); return 1.0')) == 2


@pytest.mark.parametrize('first, second, count', [
    ("['key'], name='f', version=1", "['key'], name='f', version=1", 1),
    ("['key'], name='f', version=1", "['key'], name='f', version=2", 2),
    ("['key'], name='f', version=1", "['key'], name='g', version=1", 2),
    ("['key'], version=1", "['key'], version=1", 1),
    ("['key']", "['key']", 2),
])
def test_under_v1_functions_of_one_name_and_version_share_whatever_their_text(site, first, second, count):
    assert runs(site, dict(V1, quickcache=f'quickcache({first})', body='ran(); return 1'),
                dict(V1, quickcache=f'quickcache({second})', body='ran(); return 1.0')) == count


def test_another_folder_is_another_store(site):
    one = site.start()
    site.folder = site.tmp_path / 'other'
    two = site.start()
    assert one.do('f(1)') == two.do('f(1)')
    assert len(site.executions) == 2


def test_without_a_path_the_store_is_in_the_users_cache_folder(site, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(site.tmp_path / 'caches'))
    one, two = site.two("""
        from quickcache import get_local_quickcache

        @get_local_quickcache()(['key'])
        def f(key):
            ran()
            return key
    """)
    assert one.do('f(1)') == two.do('f(1)') == 1 and len(site.executions) == 1
    folder = site.tmp_path / 'caches' / 'quickcache'
    assert (folder / 'generations').exists()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir() if file.is_file()} == {0o600}

"""What is wrong with the folder of a store never comes out of a call: it is logged once, counted, and mended by itself."""
import logging
import os
import pathlib
import shutil
import stat
import time

import pytest

from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache
from quickcache.clearing import ClearPending

from .tools import LONG


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == 'quickcache' and record.levelno == logging.WARNING]


def until(check):
    """Waits for what a store does by the time: it looks after its folder every 0.1 s, and tries again after a second."""
    end = time.monotonic() + LONG
    while not check():
        assert time.monotonic() < end, 'it never healed'
        time.sleep(0.02)


class Counted:
    def __init__(self, folder, **options):
        self.ran = []

        def f(key):
            self.ran.append(key)
            return [key]
        self.f = get_local_quickcache(path=folder, max_bytes=1 << 20)(['key'], name='folder', version=1, **options)(f)

    def runs(self, count=3):
        """How often it runs for one key; the value is right in any case."""
        before = len(self.ran)
        assert [self.f(1) for _ in range(count)] == [[1]] * count
        return len(self.ran) - before

    def is_cached(self):
        self.f(1)
        return self.runs() == 0


def is_a_file(folder):
    folder.write_text('mine')


def is_open_to_others(folder):
    folder.mkdir()
    folder.chmod(0o777)


def lies_in_a_folder_open_to_others(folder):
    folder.parent.chmod(0o777)


def is_a_link(folder):
    target = folder.with_name('target')
    target.mkdir(mode=0o700)
    folder.symlink_to(target)


def lies_in_a_file(folder):
    folder.parent.rmdir()
    folder.parent.write_text('mine')


def is_of_another_user(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


WRONG = [
    (is_a_file, lambda folder: folder.unlink(), 'Not a directory'),
    (is_open_to_others, lambda folder: folder.chmod(0o700), 'others may write to it: chmod 0700 it'),
    (lies_in_a_folder_open_to_others, lambda folder: folder.parent.chmod(0o700), 'others may write to the folder it lies in'),
    (is_a_link, lambda folder: folder.unlink(), ''),
    (lies_in_a_file, lambda folder: folder.parent.unlink(), '/in cannot be made: '),
    pytest.param(is_of_another_user, lambda folder: os.chown(folder, os.geteuid(), -1), 'it belongs to another user',
                 marks=pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a folder away')),
]


@pytest.mark.parametrize('spoil, mend, said', WRONG)
def test_a_folder_that_cannot_be_used_costs_the_cache_and_one_warning_and_heals_by_itself(tmp_path, caplog, spoil, mend, said):
    folder = tmp_path / 'in' / 'store'
    folder.parent.mkdir(mode=0o700)
    spoil(folder)
    counted = Counted(folder)
    f = counted.f
    assert counted.runs() == 3, 'a value that other processes cannot clear was served'
    assert f.get_cached_value(1) is ...
    f.set_cached_value(1).to('set')
    assert f(1) == f.refresh(1) == [1]
    assert f.clear(1) is f.clear_all() is None
    assert f.clear_with()(1) == 'pending'
    with pytest.raises(ClearPending) as raised:
        f.clear_with(strict=True)(1)
    assert str(raised.value).startswith('f: its store cannot be opened') and 'the log says why' in str(raised.value)
    assert f.stats().pending_clears == 4
    assert f.explain(1).tier is None
    lines = warnings(caplog)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f'the store in {folder}: it cannot be used: ') and said in lines[0]
    assert 'run uncached' in lines[0] and lines[0].endswith('it is tried again every second')
    mend(folder)
    until(counted.is_cached)
    assert f.clear_with(strict=True)(1) == 'applied' and f.stats().pending_clears == 4
    assert f.explain(1).tier is None and f(1) == [1] and f.explain(1).tier == 'memory'
    assert len(warnings(caplog)) == 1


CLEARS = {
    'clear': 'f.clear(1)',
    'clear_all': 'f.clear_all()',
    'set': "f.set_cached_value(1).to('not stored')",
    'refresh': 'f.refresh(1)',
    'everything': 'STORE.clear()',
    'delete': 'STORE.delete(f.get_cache_key(1))',
    'by text': "STORE.set(f.get_cache_key(1), 'not stored')",
}


@pytest.mark.parametrize('clear', CLEARS.values(), ids=CLEARS)
def test_p9_what_was_cleared_while_the_store_could_not_be_opened_is_not_found_when_it_can(site, clear):
    """Not by the process that cleared, and from then on by no other one either."""
    old, new = site.start(PROGRAM), site.start(PROGRAM)
    assert old.do('f(1)') == [1, 1]
    site.folder.chmod(0o777)
    new.do("source['value'] = 2")
    new.do(clear)
    site.folder.chmod(0o700)
    until(lambda: new.do('STORE.stats()')['open'])
    assert new.do('f(1)') == [1, 2] == old.do('f(1)')


@pytest.mark.parametrize('spoil, mend, said', WRONG[:1])
def test_as_an_ordinary_cache_it_holds_nothing_meanwhile_and_raises_nothing(tmp_path, spoil, mend, said):
    folder = tmp_path / 'in' / 'store'
    folder.parent.mkdir(mode=0o700)
    spoil(folder)
    store = Store(folder)
    assert store.set('key', 1) is None and store.get('key', 'default') == 'default' and store.get('key') is None
    assert store.add('key', 1) is False and store.touch('key') is False and store.delete('key') is False and 'key' not in store
    assert store.time_left('key') == 0.0 and store.clear() is None
    with pytest.raises(ValueError, match="Key 'key' not found"):
        store.incr('key')
    stats = store.stats()
    assert (stats['open'], stats['entries'], stats['path']) == (False, 0, folder) and stats['failures'] >= 1
    mend(folder)
    until(lambda: store.add('key', 1))
    assert store.get('key') == 1 and store.stats()['open'] is True


PROGRAM = """
    import logging, os, signal, sys
    from quickcache import Store, get_local_quickcache
    lines = []

    class Keeps(logging.Handler):
        def emit(self, record):
            lines.append((record.name, record.levelname, record.getMessage()))
    logging.getLogger('quickcache').addHandler(Keeps())
    import quickcache.reports
    if ARGUMENTS:
        os.setgid(12345), os.setuid(12345)
    STORE = Store(FOLDER, max_bytes=1 << 20)
    quickcache = get_local_quickcache(path=FOLDER, max_bytes=1 << 20)
    source = {'value': 1}

    @quickcache(['key'])
    def f(key):
        ran()
        return [key, source['value']]
"""


@pytest.mark.skipif(os.geteuid() != 0, reason='as root: another user is needed whom permissions hold for')
def test_a_read_only_folder_costs_the_cache_and_one_warning(site):
    for parent in (site.tmp_path, *site.tmp_path.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    site.folder.mkdir(mode=0o700)
    os.chown(site.folder, 12345, 12345)
    site._executions.chmod(0o666)
    site.folder.chmod(0o500)
    process = site.start(PROGRAM, 'as another user')
    assert process.do('[f(1), f(1), f(2)]') == [[1, 1], [1, 1], [2, 1]]
    assert len(site.executions) == 3
    (logger, level, line), = process.do('lines')
    assert (logger, level) == ('quickcache', 'WARNING') and 'Permission denied' in line
    site.folder.chmod(0o700)
    until(lambda: process.do('f(1), f(1), f.explain(1).tier')[2] == 'memory')


def removed(folder):
    shutil.rmtree(folder)


def renamed_away(folder):
    folder.rename(folder.with_name('elsewhere'))


def replaced_by_an_empty_one(folder):
    renamed_away(folder)
    folder.mkdir(mode=0o700)


def without_its_table(folder):
    (folder / 'generations').unlink()


def without_its_values(folder):
    (folder / 'values-1').unlink()


def emptied(folder):
    for file in folder.iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()


GONE = [removed, renamed_away, replaced_by_an_empty_one, without_its_table, without_its_values, emptied]


@pytest.mark.parametrize('lose', GONE)
def test_a_folder_that_is_lost_while_it_is_open_is_made_again_and_shared_again(site, lose):
    # What the memory has is served for as long as it may be, and nothing looks meanwhile.
    one, two = site.two(PROGRAM.replace('path=FOLDER', 'path=FOLDER, memoize_timeout=1'))
    assert one.do('f(1)') == two.do('f(1)') == [1, 1]
    lose(site.folder)
    # Each sees it within the tenth of a second in which it looks; no call fails meanwhile.
    until(lambda: (one.do('f(1)'), two.do('f(1)')) and (site.folder / 'values-1').exists() and (site.folder / 'generations').exists())
    for process in (one, two):
        process.do("source['value'] = 2")

    def coherent():
        """What one clears the other has not, and finds what it computes instead."""
        one.do("f(1), f.clear(1)")
        before = len(site.executions)
        return one.do('f(1)') == two.do('f(1)') == [1, 2] and len(site.executions) == before + 1
    until(coherent)
    for _ in range(5):
        assert coherent()
    assert one.do('lines') == two.do('lines') == []


@pytest.mark.parametrize('lose', GONE)
def test_p2_a_process_that_comes_after_the_loss_is_heard_by_those_from_before(site, lose):
    """From the moment on at which the first of them has looked."""
    old = site.start(PROGRAM)
    assert old.do('f(1)') == old.do('f(1)') == [1, 1]
    lose(site.folder)
    new = site.start(PROGRAM)
    until(lambda: new.do("f(1), f.explain(1).tier")[1] == 'memory' and (site.folder / 'generations').exists())
    time.sleep(0.2)  # the tenth of a second, on a busy machine
    old.do('f(0)')
    for process in (old, new):
        process.do("source['value'] = 2")
    new.do('f.clear(1)')
    assert old.do('f(1)') == [1, 2]


@pytest.mark.parametrize('name', ['generations', 'values-1'])
@pytest.mark.parametrize('content', [b'', b'of another program' * 1000, b'\0' * 5_000_000], ids=['empty', 'foreign', 'zeros'])
def test_a_file_of_another_kind_is_set_aside_with_one_warning(site, name, content):
    site.folder.mkdir(mode=0o700)
    file = site.folder / name
    file.write_bytes(content)
    file.chmod(0o600)
    one = site.start(PROGRAM)
    assert one.do('[f(1), f(1)]') == [[1, 1]] * 2 and len(site.executions) == 1
    lines = one.do('lines')
    assert len(lines) == 1 and f'the file `{name}` was set aside' in lines[0][2]
    assert (site.folder / f'{name}.set-aside').read_bytes()[:100] == content[:100]
    two = site.start(PROGRAM)
    assert two.do('f(1)') == [1, 1] and two.do('lines') == [] and len(site.executions) == 1


def test_p10_the_head_of_each_file_flipped_byte_by_byte_while_nobody_has_it_open(site):
    """Whatever it is taken for: the values are right, and what is then stored is found."""
    import random
    for number, name in enumerate(['generations', 'values-1'] * 8):
        for process in site._processes:
            process.end()
        site._processes.clear()
        site.start(PROGRAM).do('f.clear_all(), [f(key) for key in range(20)]')
        for process in site._processes:
            process.end()
        file = site.folder / name
        whole = bytearray(file.read_bytes())
        for at in random.Random(number).sample(range(256), 3):
            whole[at] ^= 0x10
        file.write_bytes(whole)
        one, two = site.start(PROGRAM), site.start(PROGRAM)
        expected = [[key, 1] for key in range(20)]
        assert one.do('[f(key) for key in range(20)]') == two.do('[f(key) for key in range(20)]') == expected
        before = len(site.executions)
        assert two.do('[f(key) for key in range(20)]') == expected and len(site.executions) == before
        one.do("f.clear(1); source['value'] = 2"), two.do("source['value'] = 2")
        assert two.do('f(1)') == [1, 2]


# ---- what may be given ----

@pytest.mark.parametrize('make', [str, pathlib.Path], ids=['str', 'pathlib'])
def test_a_path_is_text_or_whatever_stands_for_it(folder, make):
    class Like:
        def __fspath__(self):
            return str(folder)
    store = Store(make(folder))
    assert store.path == folder == Store(Like()).path
    store.set('key', 1)
    assert Store(folder).get('key') == 1


def test_a_relative_path_is_what_it_was_when_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store('store')
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    store.set('key', 1)
    assert (tmp_path / 'store' / 'generations').exists() and not list(elsewhere.iterdir())


def test_a_folder_of_a_name_that_is_no_utf_8(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b'/st\xff\xfere')
    store = Store(folder)
    store.set('key', 1)
    assert store.get('key') == 1 and os.path.isdir(folder) and store.path == pathlib.Path(folder)
    assert repr(store)


class LikeBytes:
    def __fspath__(self):
        return b'store'


BAD = [
    (dict(path=3), TypeError, 'Store: path must be a str, an os.PathLike of one, or None, not int'),
    (dict(path=b'store'), TypeError, 'not bytes; write os.fsdecode(path)'), (dict(path=LikeBytes()), TypeError, 'not bytes; write'),
    (dict(path=''), ValueError, "Store: path '' names no folder; leave it out for this user's cache folder"),
    (dict(path='a\0b'), ValueError, "Store: path 'a\\x00b' names no folder"),
    (dict(timeout='10'), TypeError, 'Store: timeout must be a number of seconds, a timedelta or None, not str'),
    (dict(timeout=True), TypeError, 'Store: timeout must be a number of seconds, a timedelta or None, not bool'),
    (dict(timeout=0), ValueError, 'Store: timeout must be more than 0 seconds, not 0; None means no expiry'),
    (dict(timeout=-1.5), ValueError, 'Store: timeout must be more than 0 seconds, not -1.5; None means no expiry'),
    (dict(timeout=float('nan')), ValueError, 'Store: timeout must be more than 0 seconds, not nan; None means no expiry'),
    (dict(max_bytes=0), ValueError, 'Store: max_bytes must be more than 0'), (dict(max_bytes=-5), ValueError, 'not -5'),
    (dict(max_bytes=None), TypeError, 'Store: max_bytes must be an integer, not NoneType'),
    (dict(max_bytes=1e6), TypeError, 'Store: max_bytes must be an integer, not float'),
    (dict(max_bytes=True), TypeError, 'Store: max_bytes must be an integer, not bool'),
    (dict(max_bytes=2 ** 63), ValueError, 'Store: max_bytes must be more than 0 and less than 2**63'),
    (dict(max_byte=3), TypeError, "Store() got an unexpected keyword argument 'max_byte': its options are path, timeout and max_bytes"),
]


@pytest.mark.parametrize('options, kind, text', BAD, ids=lambda value: str(value)[:30])
def test_a_bad_option_is_one_error_that_names_it_and_what_it_may_be(options, kind, text):
    with pytest.raises(kind) as raised:
        Store(**options)
    assert text in str(raised.value)


@pytest.mark.parametrize('options, kind, text', [
    (dict(path=3), TypeError, 'path must be'), (dict(timeout='10'), TypeError, 'timeout must be'),
    (dict(timeout=0), ValueError, 'timeout must be'), (dict(memoize_timeout=0), ValueError, 'memoize_timeout must be'),
    (dict(memoize_timeout='1'), TypeError, 'memoize_timeout must be'), (dict(max_bytes=0), ValueError, 'max_bytes must be'),
    (dict(max_entries=1), TypeError, "there is no option 'max_entries'; the options are path, max_bytes, vary_on, skip_arg, "),
    (dict(pth='/'), TypeError, "there is no option 'pth', did you mean path; "), (dict(name='n'), TypeError, "name is one function's own"),
])
def test_a_bad_option_of_get_local_quickcache_is_one_error_that_names_it(options, kind, text):
    with pytest.raises(kind) as raised:
        get_local_quickcache(**options)
    assert text in str(raised.value) and str(raised.value).startswith(('Store', 'get_local_quickcache'))


@pytest.mark.parametrize('method', ['get', 'set', 'add', 'incr', 'touch', 'delete', 'time_left', '__contains__'])
@pytest.mark.parametrize('key', [1, None, b'key', ('key',)], ids=repr)
def test_a_key_that_is_no_text_is_a_typeerror_that_names_store(folder, method, key):
    store = Store(folder)
    with pytest.raises(TypeError, match='^a key of Store must be a str, not '):
        getattr(store, method)(key, *([1] if method in ('set', 'add') else []))


@pytest.mark.parametrize('path', ['x' * 300, 'x/' * 3000], ids=['name', 'path'])
def test_a_path_that_is_too_long_costs_the_cache_and_one_warning(tmp_path, caplog, path):
    counted = Counted(tmp_path / path)
    assert counted.runs() == 3
    assert len(warnings(caplog)) == 1 and 'too long' in warnings(caplog)[0]
    # Not half of its folders either.
    assert not list(tmp_path.iterdir())


def test_two_sizes_of_one_folder_are_one_store_and_one_warning(folder, caplog):
    one = Store(folder, max_bytes=1 << 20)
    two = Store(folder, max_bytes=2 << 20)
    one.set('key', 1)
    assert two.get('key') == 1
    line, = warnings(caplog)
    assert 'has max_bytes 1048576' in line and 'not 2097152' in line


def test_two_names_of_one_folder_are_one_store(tmp_path):
    (tmp_path / 'real').mkdir(mode=0o700)
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    one, two = Counted(tmp_path / 'real' / 'store'), Counted(tmp_path / 'link' / 'store')
    assert one.f(1) == two.f(1) == two.f(1) == [1] and (len(one.ran), len(two.ran)) == (1, 0)
    one.f.clear(1)
    assert two.f.get_cached_value(1) is ...


@pytest.mark.parametrize('max_bytes', [1, 64, 4096, 65536])
def test_the_smallest_stores_serve(folder, max_bytes):
    store = Store(folder, max_bytes=max_bytes)
    for key in range(1000):
        store.set(str(key), key)
        assert store.get(str(key)) == key
    assert stat.S_ISREG((folder / 'values-1').stat().st_mode) and (folder / 'values-1').stat().st_size <= 65536


def test_a_store_that_is_made_and_never_used_makes_no_files(folder):
    store = Store(folder)

    @get_quickcache(cache=TieredCache([Memory(), store]))(['key'])
    def f(key):
        return key
    assert repr(store) == f'<quickcache.Store {folder} timeout=300s>' and not folder.exists()
    f(1)
    assert folder.exists()

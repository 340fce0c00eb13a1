"""A fork of a process that has the store open: parent and child share values and clears, and neither waits for the other's flights."""
import multiprocessing
import os

import pytest

from quickcache import Memory, Store, TieredCache, get_local_quickcache, get_quickcache

from .tools import LONG, Gate, in_child, start


class Site:
    """A function over the store, whose executions are counted over all processes."""

    def __init__(self, folder, **options):
        self.value = 1
        self.gate = lambda: None
        self.runs = folder.with_name('runs')
        self.runs.touch()

        def f(key):
            with open(self.runs, 'a') as file:
                file.write('x')
            value = self.value
            self.gate()
            return [key, value]
        self.f = get_local_quickcache(path=folder, max_bytes=4 << 20)(['key'], name='forked', version=1)(f)

    def count(self):
        return len(self.runs.read_text())


@pytest.fixture
def forked(folder):
    return Site(folder)


class Pipe:
    """One byte is an event that another process sees."""

    def __init__(self):
        self.read, self.write = os.pipe()

    def tell(self):
        os.write(self.write, b'x')

    def told(self):
        import select
        # Not select.select: the tests before have opened more files than it knows numbers.
        told = select.poll()
        told.register(self.read, select.POLLIN)
        assert told.poll(LONG * 1000), 'the other process told nothing'
        os.read(self.read, 1)


def test_a_child_finds_what_its_parent_stored_in_memory_and_in_the_store(forked):
    f = forked.f
    f(1), f(2)

    def child():
        assert f(1) == [1, 1] and f.stats().memory_hits == 1
        fresh = Store(forked.runs.with_name('store'), max_bytes=4 << 20)
        assert fresh.get(f.get_cache_key(2)) == [2, 1]
    in_child(child)
    assert forked.count() == 2


def test_p2_parent_and_child_see_each_others_clears(forked):
    f = forked.f
    assert f(1) == [1, 1] and f(2) == [2, 1]
    there, back = Pipe(), Pipe()

    def child():
        assert f(1) == [1, 1]
        there.tell()
        back.told()
        forked.value = 2
        assert f(1) == [1, 2], 'the clear of the parent was not seen'
        f.clear(2)

    def parent():
        there.told()
        f.clear(1)
        back.tell()
    running = start(parent)
    in_child(child)
    running.result()
    assert f(1) == [1, 2], 'what the child computed anew'
    forked.value = 3
    assert f(2) == [2, 3], 'the clear of the child was not seen'


def test_p7_parent_and_child_run_a_cold_key_once(forked):
    """The child has a place of its own among the workers: it waits for the parent, and would not for itself."""
    f = forked.f
    f(0)
    there, back = Pipe(), Pipe()
    forked.gate = lambda: (there.tell(), back.told())

    def child():
        there.told()
        forked.gate = lambda: None
        call = start(f, 1)
        call.thread.join(0.2)
        assert call.running(), 'the child has not waited for its parent'
        back.tell()
        assert call.result() == [1, 1]

    def in_parent():
        # When the child is there.
        return f(1)
    ready = Pipe()
    parent = start(lambda: (ready.told(), in_parent())[1])

    def child_first():
        ready.tell()
        child()
    in_child(child_first)
    assert parent.result() == [1, 1]
    assert forked.count() == 2


def test_p11_a_child_does_not_wait_for_a_flight_of_its_parent(forked):
    """Which another thread runs, that the child has not; its lease is the parent's, which lives: the child's patience is a second."""
    f = forked.f
    f(0)
    gate = forked.gate = Gate()
    call = start(f, 1)
    gate.reached()

    def child():
        forked.gate = lambda: None
        assert f(1) == [1, 1]
        assert f(2) == [2, 1]
    in_child(child)
    gate.open()
    assert call.result() == [1, 1]
    assert f(1) == f(1) == [1, 1]


def test_a_fork_from_inside_an_execution(forked):
    """As a function does that starts a process: what the child computes of the key is stored too, and the parent's flight goes on."""
    f = forked.f
    f(0)
    forked.gate = lambda: in_child(child)

    def child():
        forked.gate = lambda: None
        assert f(2) == [2, 1]
        assert f(1) == [1, 1], 'a child inside the execution of f(1) waits for nobody'
    assert f(1) == [1, 1]
    forked.gate = lambda: None
    runs = forked.count()
    assert f(1) == [1, 1] and f(2) == [2, 1] and forked.count() == runs


def test_many_forks_one_after_the_other(forked):
    f = forked.f
    for n in range(30):
        f(n)

        def child():
            assert [f(key) for key in range(n + 2)] == [[key, 1] for key in range(n + 2)]
        in_child(child)
    assert forked.count() == 31


def test_forks_while_other_threads_use_the_store(forked):
    """Whatever those hold at the moment of the fork is free in the child."""
    f, stop = forked.f, []

    def busy(offset):
        n = 0
        while not stop:
            n += 1
            f(offset + n % 50), f.clear(offset + n % 50)
        return n
    threads = [start(busy, 1000 * (n + 1)) for n in range(4)]
    try:
        for n in range(40):
            def child():
                assert f(n) == [n, 1] and f(n) == [n, 1]
                f.clear(n)
                assert f(1001)[0] == 1001
            in_child(child)
    finally:
        stop.append(True)
    assert all(thread.result() > 0 for thread in threads)


def test_children_of_one_parent_that_open_a_store_first_and_at_once_share_it(tmp_path):
    """What the parent keeps its random numbers in is the same in each of them."""
    context = multiprocessing.get_context('fork')
    for number in range(5):
        (tmp_path / str(number)).mkdir(mode=0o700)
        site = Site(tmp_path / str(number) / 'store')
        barrier, found = context.Barrier(4), context.SimpleQueue()

        def child(f=site.f, barrier=barrier, found=found):
            barrier.wait(LONG)
            found.put(f(1))
        children = [context.Process(target=child) for _ in range(4)]
        for each in children:
            each.start()
        for each in children:
            each.join(LONG)
            assert each.exitcode == 0
        assert [found.get() for _ in children] == [[1, 1]] * 4
        assert site.count() == 1


def test_f_tables_that_two_children_make_have_nothing_in_common(tmp_path):
    """Else an entry of the one would be taken for fresh in the other, which takes its place."""
    for name in ('one', 'two'):
        in_child(lambda: Store(tmp_path / name).set('key', name))
    tables = [(tmp_path / name / 'generations').read_bytes() for name in ('one', 'two')]
    words = [{table[at:at + 8] for at in range(0, len(table), 8)} - {bytes(8)} for table in tables]
    # The magic number, the layout, the sizes, the boot id.
    assert len(words[0] & words[1]) < 16 and len(words[0]) > 1000


def test_p2_isolated_blocks_of_two_children_are_apart(forked):
    from quickcache import testing

    def child():
        with testing.isolated():
            assert forked.f.get_cached_value(1) is ...
            forked.f(1)
    in_child(child)
    in_child(child)


def test_the_death_of_a_parent_is_seen_though_a_child_of_its_lives(site):
    """A child that kept its parent's lock would keep it alive to those who wait for its lease."""
    more = """
        import os
        def leaves_a_child():
            read_end, write_end = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(write_end, b'x')
                import signal
                signal.pause()
            os.read(read_end, 1)
            return pid
    """
    leader, other = site.two(more=more)
    leader.do('g(0)')
    child = leader.do('leaves_a_child()')
    leader.do("source['gates'] = ['gate']")
    leader.begin('g(1)')
    leader.reached()
    waiting = other.begin('g(1)')
    try:
        leader.kill()
        assert waiting.result(LONG) == [1, 1]
    finally:
        os.kill(child, 9)


def work(f, pipe, key):
    pipe.send(f(key))
    while True:
        asked = pipe.recv()
        if asked is None:
            return
        pipe.send(f(asked) if isinstance(asked, int) else eval(asked, {'f': f}))


@pytest.mark.parametrize('used_before', [True, False], ids=['used before', 'imported only'])
def test_workers_that_are_forked_from_a_parent_share_as_those_of_gunicorn_do(forked, used_before):
    """The parent imports the site, and may use it; then it forks its workers, which live side by side."""
    f, context = forked.f, multiprocessing.get_context('fork')
    if used_before:
        f(1), f(5)
    workers = []
    for _ in range(3):
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(f, theirs, 1))
        worker.start()
        workers.append((worker, ours))

    def ask(pipe, what):
        pipe.send(what)
        return answer(pipe)

    def answer(pipe):
        assert pipe.poll(LONG), 'a worker does not answer'
        return pipe.recv()
    try:
        assert [answer(pipe) for _, pipe in workers] == [[1, 1]] * 3
        assert forked.count() == (2 if used_before else 1)
        for number, (_, pipe) in enumerate(workers):
            assert ask(pipe, 10 + number) == [10 + number, 1]
        runs = forked.count()
        assert all(ask(pipe, 10 + number) == [10 + number, 1] for _, pipe in workers for number in range(3))
        assert forked.count() == runs
        for cleared_by, (_, pipe) in enumerate(workers):
            assert ask(pipe, 'f.clear(1)') is None
            runs = forked.count()
            assert [ask(pipe, 1) for _, pipe in workers] == [[1, 1]] * 3
            assert forked.count() == runs + 1, f'after the clear of worker {cleared_by}'
        f.clear(1)
        runs = forked.count()
        assert ask(workers[0][1], 1) == f(1) == [1, 1] and forked.count() == runs + 1
    finally:
        for worker, pipe in workers:
            pipe.send(None)
            worker.join(LONG)
            assert worker.exitcode == 0


def takes_a_store(store, key, pipe):
    pipe.send((store.get(key), store.timeout, store.path))
    store.set(key, 'of the child')


def test_a_store_is_an_argument_of_a_spawned_process(folder):
    store = Store(folder, timeout=77, max_bytes=4 << 20)
    store.set('key', 'of the parent')
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    child = context.Process(target=takes_a_store, args=(store, 'key', theirs))
    child.start()
    try:
        assert ours.poll(LONG)
        assert ours.recv() == ('of the parent', 77.0, folder)
    finally:
        child.join(LONG)
    assert child.exitcode == 0 and store.get('key') == 'of the child'


def test_a_copy_of_a_store_is_the_same_store(folder, caplog):
    import copy
    import pickle
    store = Store(folder, timeout=None, max_bytes=4 << 20)
    for made in (copy.copy(store), copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert type(made) is Store and made.path == folder and made.timeout is None
        made.set('key', id(made))
        assert store.get('key') == id(made)
    assert not caplog.records, 'of another size'


def test_a_copy_of_a_configuration_has_the_same_tiers(folder):
    import copy
    quickcache, ran = get_local_quickcache(path=folder), []

    def f(key):
        ran.append(key)
        return key
    one = quickcache(['key'], name='copied', version=1)(f)
    two = copy.copy(quickcache)(['key'], name='copied', version=1)(f)
    assert one(1) == two(1) == 1 and ran == [1] and two.stats().memory_hits == 1
    tiers = TieredCache([Memory(), Store(folder)])
    three = get_quickcache(cache=copy.copy(tiers))(['key'])(f)
    assert three(1) == three(1) == 1 and three.stats().memory_hits == 1

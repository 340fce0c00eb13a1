"""Calls of coroutine functions, on asyncio.

The caller that leads asks the slower tiers itself; cancelled meanwhile, it leaves that to the next. A flight owns the task
that runs the function. Every caller, the first one too, waits for that on a future of its own loop: to cancel one of them
cancels its wait only, and the task is cancelled when nobody waits any more.
"""
import asyncio
import concurrent.futures.thread  # noqa: F401  which asyncio imports at its first use of an executor, on the loop
import time
import weakref

from . import _native


class _Owner:
    """The task of a flight, how many wait for it, and what it gave, for the caller that leads: the caches may not have it."""
    __slots__ = ('loop', 'task', 'waiters', 'leads', 'result', 'stopped')

    # None until the function is run.
    task: 'asyncio.Task | None'

    def __init__(self, loop):
        self.loop = loop
        self.task = None
        self.waiters = 0
        # Whether the caller that leads still waits, and what stopped the function instead of a result.
        self.leads = True
        self.result = None
        self.stopped = None

    def leave(self):
        self.waiters -= 1
        task = self.task
        if task is not None and not self.waiters and not task.done() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(task.cancel)


async def call(helper, args, kwargs):
    """One call that was not a hit."""
    if _native.disabled():
        with _native.Execution(helper):
            return await helper.fn(*args, **kwargs)
    if helper.skip(*args, **kwargs):
        _native.skipped(helper)
        return await refresh(helper, args, kwargs)
    step = _native.Step(helper, args, kwargs)
    loop = asyncio.get_running_loop()
    if step.takes_time():
        await loop.run_in_executor(None, step.fetch)
    # A follower waits for two flights at most.
    for _ in range(3):
        found, value = step.look()
        if found:
            return value
        kind = step.enter()
        if kind == 'lead':
            owner = _Owner(loop)
            step.owned_by(owner)
        if kind != 'follow':
            found, value = await _ask(step, loop)
            if found:
                return value
        if kind == 'alone':
            return await _execute(step, loop, helper, args, kwargs)
        if kind == 'lead':
            waiting, patience = step.waiting(), None
            owner.task = loop.create_task(_lead(step, owner, helper, args, kwargs))
        else:
            owner = step.owner()
            waiting, patience = step, step.patience()
            if owner is not None and owner.loop.is_closed():
                step.detach()
                continue
        try:
            await _flight_end(waiting, owner, loop, patience)
        except asyncio.TimeoutError:
            break
        except BaseException:
            if kind == 'lead':
                owner.leads = False
            raise
        found, value = waiting.outcome()
        if found:
            return value
        if kind == 'lead' and owner.result is not None:
            return owner.result[0]
        if kind == 'lead' and owner.stopped is not None:
            raise owner.stopped
    try:
        with _native.Execution(helper):
            return await helper.fn(*args, **kwargs)
    except Exception as error:
        found, value = await _last(step, loop, error)
        if not found:
            raise
        return value


async def _flight_end(step, owner, loop, patience):
    future = loop.create_future()

    def wake():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_wake, future)

    if owner is not None:
        owner.waiters += 1
    try:
        if step.on_wake(wake):
            await (future if patience is None else asyncio.wait_for(future, patience))
    except BaseException:
        step.leave()
        raise
    finally:
        if owner is not None:
            owner.leave()


def _wake(future):
    if not future.done():
        future.set_result(None)


async def _lead(step, owner, helper, args, kwargs):
    """The flight's task. What the function raises goes to those who wait; what stops it, to the caller that leads."""
    step.inside()
    try:
        owner.result = (await _execute(step, owner.loop, helper, args, kwargs),)
    except Exception:
        # It is in the cell, and raised in each caller.
        return
    except GeneratorExit:
        # Somebody closed this coroutine: everyone looks again.
        raise
    except BaseException as error:
        owner.stopped = error
        if isinstance(error, asyncio.CancelledError) or not owner.leads:
            raise


async def _ask(step, loop):
    """Whether a slower tier has the value, and the value. What is raised meanwhile ends the flight."""
    try:
        return await _turn(step, loop)
    except _STOPS:
        step.abandon()
        raise
    except BaseException as error:
        step.raised(error)
        raise


async def _turn(step, loop):
    """Whether a tier that others share has the value, and the value: waits for another process that runs the function."""
    pause = 0.001
    while True:
        turn, value = step.turn()
        if turn == 'found':
            return True, value
        if turn == 'run':
            break
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.02)
    pause = 0.002
    asking = step.ask()
    while asking is not None:
        await _answer(asking, loop)
        turn, value = step.answered(asking)
        if turn == 'ask':
            asking = value
        elif turn == 'wait':
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
            asking = step.ask()
        else:
            return turn == 'found', value
    return False, None


# Where the answers to the questions of each loop come in; False: it cannot read from files.
_mailboxes: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _mailbox(loop):
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        # What was asked on a loop that was closed keeps that alive, and the right to store that it may have been given.
        for reference in _mailboxes.keyrefs():
            other = reference()
            if other is not None and other.is_closed():
                closed = _mailboxes.pop(other, None)
                if closed:
                    closed.close()
        try:
            mailbox = _native.Mailbox()
            loop.add_reader(mailbox, mailbox.receive)
        except (AttributeError, NotImplementedError):
            mailbox = False
        except OSError:
            # There is no file left: perhaps the next time.
            return False
        _mailboxes[loop] = mailbox
    return mailbox


async def _answer(asking, loop):
    """Awaits what a server answers. Nothing else knows how a loop waits for the network."""
    mailbox = _mailbox(loop)
    if mailbox:
        future = mailbox.ask(asking, loop.create_future)
        if future is not None:
            try:
                await future
            except BaseException:
                mailbox.forget(asking)
                raise
        return
    try:
        asked = loop.run_in_executor(None, asking.run)
    except RuntimeError:
        # The loop, or the interpreter, is about to end, and gives nobody a thread.
        asking.run()
    else:
        await asked


async def _store(step, loop, *value):
    """Stores the value in the tier that machines share, or gives the right to do so back."""
    asking = step.store(*value)
    if asking is not None:
        await _answer(asking, loop)
        step.stood(asking)


async def _last(step, loop, error):
    """Whether there is a last value in place of what the function raised, and the value; then the flight is over."""
    if not step.may_be_stale(error):
        return False, None
    asking = step.past()
    if asking is not None:
        await _answer(asking, loop)
    return step.last(asking)


async def _execute(step, loop, helper, args, kwargs):
    try:
        step.begin()
        with _native.Execution(helper):
            value = await helper.fn(*args, **kwargs)
    except _STOPS:
        step.abandon()
        raise
    except BaseException as error:
        try:
            await _store(step, loop)
            found, value = await _last(step, loop, error)
        except _STOPS:
            step.abandon()
            raise
        if found:
            return value
        step.raised(error)
        raise
    try:
        await _store(step, loop, value)
        step.finish(value)
    except _STOPS:
        step.abandon()
        raise
    except BaseException as error:
        step.raised(error)
        raise
    return value


# What stops a flight, and is no result of its function.
_STOPS = asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit


async def refresh(helper, args, kwargs):
    """Computes anew and stores."""
    if _native.asks_network(helper):
        anew = await soon(_native.Anew, helper, args, kwargs)
        with _native.Execution(helper):
            value = await helper.fn(*args, **kwargs)
        await soon(anew.store, helper, args, kwargs, value)
        return value
    anew = _native.Anew(helper, args, kwargs)
    with _native.Execution(helper):
        value = await helper.fn(*args, **kwargs)
    anew.store(helper, args, kwargs, value)
    return value


def soon(function, *args, **kwargs):
    """Begins what asks a server, in another thread; what it gives is to be awaited. Without a loop nobody is kept waiting."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return Done(function(*args, **kwargs))
    import contextvars
    import functools
    run = contextvars.copy_context().run
    try:
        return loop.run_in_executor(None, functools.partial(run, function, *args, **kwargs))
    except RuntimeError:
        # It is about to end.
        return Done(function(*args, **kwargs))


def then_wait(done, time_to_wait):
    """What `done` gives, after the time that it asks for."""
    async def wait():
        status = await done
        await asyncio.sleep(time_to_wait(status))
        return status
    if isinstance(done, Done):
        # There is no loop.
        time.sleep(time_to_wait(done._value))
        return done
    # A coroutine would be told of if nobody awaits it, and nobody need.
    return asyncio.ensure_future(wait())


def coroutine_mark():
    """What asyncio and asgiref look for on Pythons whose `inspect` knows plain functions only."""
    return getattr(asyncio.coroutines, '_is_coroutine', True)


async def nothing():
    """A coroutine that has not begun, to throw into."""


class Done:
    """An awaitable for what has been done already: awaiting it gives the result, and leaving it alone loses nothing."""
    __slots__ = ('_value',)

    def __init__(self, value):
        self._value = value

    def __await__(self):
        return self._value
        yield

"""The child's side of `processes`: runs the program, then what it is asked for, each on a thread of its own."""
import asyncio
import inspect
import linecache
import multiprocessing.connection
import os
import pickle
import sys
import threading
import types

descriptor, path, folder, executions, *arguments = sys.argv[1:]
LONG = float(os.environ['CLAIMS_LONG'])
connection = multiprocessing.connection.Connection(int(descriptor))
sending = threading.Lock()
gates, waiting, gates_lock = {}, {}, threading.Lock()


def send(*message):
    data = pickle.dumps(message)
    with sending:
        connection.send_bytes(data)


def gate_of(name):
    with gates_lock:
        return gates.setdefault(name, threading.Event())


def gate(name='gate'):
    """Stops here until the test opens it."""
    send('reached', name, None)
    assert gate_of(name).wait(LONG), f'the gate {name} was never opened'


async def agate(name='gate'):
    """The same for a coroutine, which may be cancelled here."""
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    with gates_lock:
        waiting.setdefault(name, []).append(lambda: loop.is_closed() or loop.call_soon_threadsafe(opened.set))
    send('reached', name, None)
    if not gate_of(name).is_set():
        await asyncio.wait_for(opened.wait(), LONG)


def open_gate(name):
    gate_of(name).set()
    with gates_lock:
        callbacks = waiting.pop(name, [])
    for callback in callbacks:
        callback()


def note(name):
    """Tells the test that this place is reached, and goes on."""
    send('reached', name, None)


def ran():
    """Notes an execution, so that it counts though the process may be killed."""
    file = os.open(executions, os.O_WRONLY | os.O_APPEND)
    os.write(file, b'%d\n' % os.getpid())
    os.close(file)


async def awaited(value):
    return await value


def answer(number, text):
    try:
        try:
            code = compile(text, '<asked>', 'eval')
        except SyntaxError:
            code = compile(text, '<asked>', 'exec')
        value = eval(code, program.__dict__)
        if inspect.isawaitable(value):
            value = asyncio.run(awaited(value))
        send('done', number, value)
    except BaseException as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f'{type(error).__name__}: {error}')
        send('raised', number, error)


program = types.ModuleType('site_of_the_test')
program.__dict__.update(FOLDER=folder, ARGUMENTS=arguments, gate=gate, agate=agate, note=note, ran=ran, awaited=awaited, __file__=path)
# Values of its own classes are pickled by name.
sys.modules[program.__name__] = program


def main():
    with open(path) as file:
        text = file.read()
    linecache.checkcache(path)
    exec(compile(text, path, 'exec'), program.__dict__)
    while True:
        try:
            kind, what, value = connection.recv()
        except EOFError:
            os._exit(0)
        if kind == 'open':
            open_gate(what)
        else:
            threading.Thread(target=answer, args=(what, value), daemon=True).start()


if __name__ == '__main__':
    main()

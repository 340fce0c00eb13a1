"""What a fleet costs its Redis as it grows: connections, messages and bytes of a clear, and what goes on when nothing happens.

    python bench/python/fleet_cost.py           no bounds: the figures of docs/redis.md

Processes stand for processes; "machines" are folders in which they meet. Each has a memory tier before the Redis, and has
called one function in one thread.
"""
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
CLEARS = 300
SECONDS = 3

WORKER = """
import sys
from quickcache import Memory, Redis, TieredCache, get_quickcache

url, folder = sys.argv[1:]

@get_quickcache(cache=TieredCache([Memory(timeout=600), Redis(url, timeout=600, folder=folder)]))(['key'])
def f(key):
    return key

f(1)
print('ready', flush=True)
for line in sys.stdin:
    for key in range(int(line)):
        f.clear(key)
    print('done', flush=True)
"""


def main():
    sys.path.insert(0, str(TOOLS))
    import servers
    print(f'{"machines":>8} {"processes":>9} | {"connections":>11} {"listening":>9} {"KiB each":>8} | '
          f'{"idle: commands/s":>16} {"server CPU":>10} | {"a clear: us":>11} {"messages":>8} {"bytes out":>9} {"server us":>9}')
    for machines, each in ((1, 1), (1, 8), (1, 32), (1, 100), (8, 4), (32, 1), (32, 4), (100, 1), (100, 2)):
        with servers.redis() as server:
            measure(server, machines, each)


def measure(server, machines, each):
    import redis
    client = redis.Redis.from_url(server.url)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='bench-'))
        program = Path(folder, 'worker.py')
        program.write_text(WORKER)
        workers = []
        for number in range(machines * each):
            # A few at a time: they are to run, not to start.
            if len(workers) % 8 == 0:
                for worker in workers[-8:]:
                    worker.stdout.readline()
            command = [sys.executable, str(program), server.url, f'{folder}/{number % machines}']
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(end, worker)
            workers.append(worker)
        for worker in workers[-(len(workers) % 8 or 8):]:
            worker.stdout.readline()
        time.sleep(3)
        clients = [one for one in client.client_list() if int(one['id']) != client.client_id()]
        channel, = [name for name in client.pubsub_channels() if name.endswith(b':clears')]
        (_, listening), = client.pubsub_numsub(channel)
        memory = sum(int(one['tot-mem']) for one in clients) / 1024 / len(clients)

        before, begun = state(client), time.monotonic()
        time.sleep(SECONDS)
        idle, took = changes(before, state(client)), time.monotonic() - begun
        idle = {name: change / took for name, change in idle.items()}

        before, begun = state(client), time.monotonic()
        workers[0].stdin.write(f'{CLEARS}\n')
        workers[0].stdin.flush()
        workers[0].stdout.readline()
        took = time.monotonic() - begun
        cleared = changes(before, state(client))
        of_a_clear = {name: (change - idle[name] * took) / CLEARS for name, change in cleared.items()}
        print(f'{machines:8} {machines * each:9} | {len(clients):11} {listening:9} {memory:8.0f} | '
              f'{idle["commands"]:16.0f} {idle["cpu"]:10.2%} | {took / CLEARS * 1e6:11.0f} {listening:8} '
              f'{of_a_clear["bytes"]:9.0f} {of_a_clear["cpu"] * 1e6:9.0f}', flush=True)


def state(client):
    info = client.info()
    return {'commands': info['total_commands_processed'], 'bytes': info['total_net_output_bytes'],
            'cpu': info['used_cpu_user'] + info['used_cpu_sys']}


def changes(before, after):
    return {name: after[name] - before[name] for name in before}


def end(worker):
    worker.stdin.close()
    worker.wait()


if __name__ == '__main__':
    main()

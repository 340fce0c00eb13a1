"""How gunicorn serves the site: sync workers on one free port of 127.0.0.1, which is printed when it is open.

    gunicorn --config gunicorn_conf.py config.wsgi

Beside the port that the workers share each has one of its own, so that the demo can ask a worker of its choice: it
lies in BLOG_WORKERS, a folder, as an empty file PID.PORT for as long as the worker lives. A site needs nothing of this.

gunicorn ends on SIGTERM, on Ctrl-C, and when its standard input closes, so that no server outlives the program that
started it.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

bind = "127.0.0.1:0"
workers = 4
graceful_timeout = 3
control_socket_disable = True

_folder = Path(os.environ["BLOG_WORKERS"]) if "BLOG_WORKERS" in os.environ else None


def on_starting(server):
    if _folder:
        _folder.mkdir(exist_ok=True)
    if not sys.stdin.isatty():
        threading.Thread(target=_end_with_the_starter, daemon=True).start()


def when_ready(server):
    print(f"serving 127.0.0.1:{server.LISTENERS[0].getsockname()[1]}", flush=True)


def post_fork(server, worker):
    if _folder:
        own = socket.create_server(("127.0.0.1", 0))
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as gunicorn does on the shared one
        worker.sockets = [*worker.sockets, own]


def post_worker_init(worker):
    if _folder:
        (_folder / f"{worker.pid}.{worker.sockets[-1].getsockname()[1]}").touch()


def child_exit(server, worker):
    if _folder:
        for path in _folder.glob(f"{worker.pid}.*"):
            path.unlink()


def _end_with_the_starter():
    # Not by way of sys.stdin: a lock that is held here would still be held in every worker.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

"""The demo's database, and the processes it starts: servers of the site, each on a fresh copy of the database and
stopped by its process id, and the client.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import films
from load import Site

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("BLOG_FOLDER") or HERE.parents[1] / ".cache" / "blog")
START_SECONDS = 30.0

WAITRESS = (sys.executable, "serve.py")


def gunicorn(workers: int) -> tuple[str, ...]:
    return (
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "gunicorn_conf.py",
        "--workers",
        str(workers),
        "config.wsgi",
    )


class DemoError(RuntimeError):
    """A part of the demo did not do what it must; the text says which."""


def site_environment(database: Path) -> dict[str, str]:
    return os.environ | {
        "BLOG_DATABASE": str(database),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONUNBUFFERED": "1",
    }


def make_database() -> Path:
    """A fresh database, migrated and filled by the site's own commands."""
    print(films.CREDIT)
    movies = films.fetch(FOLDER)
    database = FOLDER / "blog.sqlite3"
    remove_database(database)
    for command in (["migrate", "--verbosity=0"], ["load_films", str(movies)]):
        done = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=HERE, env=site_environment(database), check=False
        )
        if done.returncode != 0:
            raise DemoError(f"manage.py {command[0]} failed")
    return database


@contextlib.contextmanager
def fresh_copy(original: Path) -> Iterator[Path]:
    """A copy of the database for a `with` block, with nothing cached beside it."""
    database = FOLDER / "phase.sqlite3"
    remove_database(database)
    shutil.copy(original, database)
    try:
        yield database
    finally:
        remove_database(database)


def remove_database(database: Path) -> None:
    """Removes a database, and what was cached or noted beside it."""
    for path in (database, *(Path(f"{database}{end}") for end in ("-wal", "-shm"))):
        path.unlink(missing_ok=True)
    for end in (".cache", ".store", ".workers"):
        shutil.rmtree(f"{database}{end}", ignore_errors=True)


@contextlib.contextmanager
def serving(command: tuple[str, ...], original: Path, **environment: str) -> Iterator[tuple[int, Path]]:
    """A server of the site on a copy of the database, for a `with` block; gives its port, and the copy."""
    with fresh_copy(original) as database, started(command, database, "server.log", environment) as port:
        yield port, database


@contextlib.contextmanager
def started(command: tuple[str, ...], database: Path, log: str, environment: dict[str, str]) -> Iterator[int]:
    """A server of the site on a database, for a `with` block; gives its port."""
    errors = FOLDER / log
    with errors.open("w") as written:
        process = subprocess.Popen(
            command,
            cwd=HERE,
            env=site_environment(database) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.rsplit(":", 1)[1]) if line.startswith("serving 127.0.0.1:") else None
        if port is None or not is_ready(port, process):
            raise DemoError(f"the server did not start; its log says:\n{errors.read_text().strip()[-2000:]}")
        yield port
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ends a server; one that takes too long is killed with the workers it started, which are in its group."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_ready(port: int, process: subprocess.Popen) -> bool:
    """Waits for the server's first answer; false if it ends without one, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if Site(port).ask("GET", "/stats")[0] == 200:
                return True
        time.sleep(0.05)
    return False


def run_client(port: int, seconds: float, threads: int, writes: float) -> dict:
    """What load.py, run beside a server, saw of it."""
    words = ["--seconds", seconds, "--threads", threads, "--writes", writes]
    client = subprocess.run(
        [sys.executable, "load.py", str(port), *map(str, words)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if client.returncode != 0:
        raise DemoError(f"the client ended with code {client.returncode}")
    return json.loads(client.stdout)

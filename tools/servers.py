#!/usr/bin/env python3
"""Real redis and memcached servers for tests, benchmarks and the demo.

Each server listens on 127.0.0.1 only, on a free port, in a temporary folder of its own, keeps nothing on
disk, and is stopped by its process id when its `with` block ends. What is missing is installed by apt-get
where that is allowed.

    from servers import redis, memcached
    with redis() as server:
        client = redis_client(server.url)            # redis://127.0.0.1:40123/0

    python3 tools/servers.py redis memcached                  start both, print where, run until Ctrl-C
    python3 tools/servers.py redis -- pytest python/tests     run a command beside it, end with its code
    python3 tools/servers.py --install redis memcached          only make sure that the programs are there

A command sees the addresses as QUICKCACHE_REDIS (a URL) and QUICKCACHE_MEMCACHED (host:port).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 10.0
TRIES = 3  # a free port can be taken by someone else between our look and the server's bind


class ServerError(RuntimeError):
    """A server is missing, cannot be installed, or died at its start; the text says which, with its log."""


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and which process it is."""

    kind: str
    port: int
    pid: int
    folder: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0" if self.kind == "redis" else self.address


@dataclass(frozen=True)
class Kind:
    """How one kind of server is installed, started and asked for its process id."""

    program: str
    package: str
    command: Callable[[str, int, Path], list[str]]
    question: bytes
    pid_mark: bytes  # the process id follows this mark in the answer


def _redis_command(program: str, port: int, folder: Path) -> list[str]:
    return [
        program,
        "--port",
        str(port),
        "--bind",
        HOST,
        "--dir",
        str(folder),
        "--save",
        "",
        "--appendonly",
        "no",
    ]


def _memcached_command(program: str, port: int, folder: Path) -> list[str]:
    user = ["-u", "root"] if os.geteuid() == 0 else []  # memcached refuses to run as root unless told
    return [program, "-l", HOST, "-p", str(port), "-U", "0", "-m", "64", *user]


KINDS = {
    "redis": Kind("redis-server", "redis-server", _redis_command, b"PING\r\nINFO server\r\n", b"process_id:"),
    "memcached": Kind("memcached", "memcached", _memcached_command, b"version\r\nstats\r\n", b"STAT pid "),
}


def redis(*options: str) -> contextlib.AbstractContextManager[Server]:
    """A redis server for the length of a `with` block; `options` are appended to its command line."""
    return _running("redis", options)


def memcached(*options: str) -> contextlib.AbstractContextManager[Server]:
    """A memcached server for the length of a `with` block; `options` are appended to its command line."""
    return _running("memcached", options)


@contextlib.contextmanager
def _running(name: str, options: tuple[str, ...]) -> Iterator[Server]:
    kind = KINDS[name]
    program = install(name)
    with tempfile.TemporaryDirectory(prefix=f"quickcache-{name}-") as made:
        folder = Path(made)
        process, port = _start(kind, program, folder, options)
        try:
            yield Server(name, port, process.pid, folder)
        finally:
            stop(process)


def _start(
    kind: Kind, program: str, folder: Path, options: tuple[str, ...]
) -> tuple[subprocess.Popen[bytes], int]:
    log = folder / "log"
    for last in (False,) * (TRIES - 1) + (True,):
        port = free_port()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*kind.command(program, port, folder), *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle: the block's end stops the server
            )
        try:
            trouble = _wait_until_it_answers(kind, process, port)
        except BaseException:
            stop(process)
            raise
        if trouble is None:
            return process, port
        stop(process)
        text = log.read_text(errors="replace").strip() or "(its log is empty)"
        if last or "in use" not in f"{trouble} {text}".lower():
            raise ServerError(f"{kind.program} on {HOST}:{port} {trouble}. Its log:\n{text}")
    raise AssertionError("unreachable")


def _wait_until_it_answers(kind: Kind, process: subprocess.Popen[bytes], port: int) -> str | None:
    """None as soon as the process itself answers on the port, else what went wrong."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return f"ended with code {process.returncode} before it answered"
        answering = _pid_behind(kind, port)
        if answering == process.pid:
            return None
        if answering is not None:
            return f"is not ours (address in use by process {answering})"
        time.sleep(0.02)
    return f"did not answer within {START_SECONDS:.0f} s"


def _pid_behind(kind: Kind, port: int) -> int | None:
    """The process id that the server on this port gives of itself; None if nothing answers."""
    answer = b""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(kind.question)
            while True:
                mark = answer.find(kind.pid_mark)
                end = answer.find(b"\r\n", mark)
                if mark >= 0 and end >= 0:
                    return int(answer[mark + len(kind.pid_mark) : end])
                part = connection.recv(65536)
                if not part:
                    return None
                answer += part
    except (OSError, ValueError):
        return None


def stop(process: subprocess.Popen[bytes], seconds: float = 5.0) -> None:
    """Ends one process by its id: asks first, kills after `seconds`, and waits until it is gone."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def install(name: str) -> str:
    """The path of the server's program, installed first if it is missing and we may."""
    kind = KINDS[name]
    found = _find(kind.program)
    if found:
        return found
    prefix = _root_prefix()
    if prefix is None or not shutil.which("apt-get"):
        raise ServerError(
            f"{kind.program} is not installed. Install it first: sudo apt-get install {kind.package}"
        )
    print(
        f"servers: {kind.program} is missing, installing Debian's package {kind.package}",
        file=sys.stderr,
        flush=True,
    )
    get = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    install_it = [*get, "install", "--no-install-recommends", kind.package]
    done = _quiet(install_it)
    if done.returncode != 0:  # most often: the package lists are old or were never fetched
        _quiet([*get, "update"])
        done = _quiet(install_it)
    found = _find(kind.program)
    if done.returncode != 0 or not found:
        raise ServerError(f"apt-get could not install {kind.package}:\n{done.stdout.strip()[-2000:]}")
    return found


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(
        program, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
    )


def _root_prefix() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and _quiet(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n"]
    return None


def _quiet(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def main(arguments: list[str]) -> int:
    own, _, command = _split(arguments)
    parser = argparse.ArgumentParser(description="Start redis and memcached on free ports of 127.0.0.1.")
    parser.add_argument("kinds", nargs="+", choices=sorted(KINDS), metavar="redis|memcached")
    parser.add_argument("--install", action="store_true", help="only make sure that the programs are there")
    options = parser.parse_args(own)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the with blocks end
    if options.install:
        for name in options.kinds:
            print(name, install(name))
        return 0
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        for name in options.kinds:
            server = stack.enter_context(_running(name, ()))
            environment[f"QUICKCACHE_{name.upper()}"] = server.url
            print(
                f"{name} {server.url} pid {server.pid}",
                file=sys.stderr if command else sys.stdout,
                flush=True,
            )
        if command:
            return subprocess.call(command, env=environment)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


def _split(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in arguments:
        return arguments, "", []
    at = arguments.index("--")
    return arguments[:at], "--", arguments[at + 1 :]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerError as error:
        sys.exit(f"servers: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

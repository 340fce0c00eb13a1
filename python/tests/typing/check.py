#!/usr/bin/env python3
"""Checks the stubs: samples that must and must not type-check, and that the stubs say what the built package is.

    python3 python/tests/typing/check.py [PYTHON]       with that CPython (default: the one that runs this), whose native module
                                                        must have been built (tools/setup/extension.py)

mypy --strict and pyright --strict read `samples/`: a line that must be refused says with which error of each checker, and a
line that is not refused is itself an error. stubtest compares the stubs with the package at run time.
"""
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def main():
    base = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    made = subprocess.run([sys.executable, str(ROOT / 'tools' / 'setup' / 'venv.py'), 'typing', base, str(HERE / 'requirements.txt')],
                          check=True, stdout=subprocess.PIPE, text=True)
    python = made.stdout.strip()
    package = str(ROOT / 'python')
    env = dict(os.environ, MYPYPATH=package, PYTHONPATH=package, PYTHONDONTWRITEBYTECODE='1', PYRIGHT_PYTHON_IGNORE_WARNINGS='1')
    cache = str(ROOT / '.cache' / 'mypy')
    checks = {
        'mypy --strict': ['mypy', '--strict', '--cache-dir', cache, 'samples'],
        'mypy --strict, the stubs': ['mypy', '--strict', '--cache-dir', cache, '-p', 'quickcache'],
        'pyright --strict': ['pyright', '--pythonpath', python, '--project', 'pyrightconfig.json'],
        # Some entries are of one CPython only.
        'stubtest': ['mypy.stubtest', 'quickcache', '--allowlist', 'stubtest-allowed.txt', '--ignore-unused-allowlist'],
    }
    passed = failed = 0
    for name, command in checks.items():
        done = subprocess.run([python, '-m', *command], cwd=HERE, env=env, text=True, timeout=600, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(f'{name}: {done.stdout.strip() if done.returncode else done.stdout.strip().splitlines()[-1]}', flush=True)
        passed, failed = passed + (not done.returncode), failed + bool(done.returncode)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

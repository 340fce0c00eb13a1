#!/usr/bin/env python3
"""Runs this folder's tests on the supported pairs of Python and Django, each in an environment of its own.

    python3 python/tests/django/matrix.py              every pair for which this machine has the Python
    python3 python/tests/django/matrix.py 3.11:5.2     only these
    ... --built                                        with the modules that are there, instead of building them

Django 5.2 runs on Python 3.10 to 3.13, the newest Django on 3.12 and 3.13. Ends with 1 if a pair failed or none ran; a pair
whose Python is missing is named, and is no failure.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'setup'))

import extension  # noqa: E402
import pythons  # noqa: E402

PAIRS = ['3.10:5.2', '3.11:5.2', '3.12:5.2', '3.12:6.1', '3.13:5.2', '3.13:6.1']
SECONDS = 600


def environment(pair, python):
    version, django = pair.split(':')
    made = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'setup' / 'venv.py'), f'django-{django}-py{version}', python,
         str(HERE / f'requirements-{django}.txt')], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout.strip()


def run(pair, python):
    """The summary line of pytest, and whether it passed."""
    try:
        done = subprocess.run(
            [environment(pair, python), '-m', 'pytest', '-q', '-rs', '-p', 'no:cacheprovider', str(HERE)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
            env=dict(os.environ, PYTHONPATH=str(ROOT / 'python'), PYTHONDONTWRITEBYTECODE='1'))
    except subprocess.CalledProcessError:
        return 'the environment could not be made', False
    except subprocess.TimeoutExpired:
        return f'not done after {SECONDS} s', False
    if done.returncode:
        print(done.stdout, flush=True)
    for line in re.findall(r'^SKIPPED.*', done.stdout, re.MULTILINE):
        print(line, flush=True)
    return done.stdout.strip().splitlines()[-1], done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pairs', nargs='*', metavar='PYTHON:DJANGO', help=', '.join(PAIRS))
    parser.add_argument('--built', action='store_true', help='do not build the native module')
    wanted = parser.parse_args()
    for pair in wanted.pairs:
        if pair not in PAIRS:
            parser.error(f'{pair} is not one of {", ".join(PAIRS)}')
    here = {f'{major}.{minor}': path for (major, minor), (path, _) in pythons.found().items()}
    ready = {}
    for pair in wanted.pairs or PAIRS:
        python = here.get(pair.split(':')[0])
        if python is None:
            print(f'{pair}: this machine has no Python {pair.split(":")[0]}', flush=True)
            continue
        if not wanted.built and python not in ready.values():
            extension.build(python, 'fast')
        ready[pair] = python
    # Each of them waits most of the time.
    with concurrent.futures.ThreadPoolExecutor(len(PAIRS)) as pool:
        results = dict(zip(ready, pool.map(run, ready, ready.values())))
    for pair, (summary, _) in results.items():
        print(f'python {pair.replace(":", ", django ")}: {summary}', flush=True)
    return 0 if results and all(passed for _, passed in results.values()) else 1


if __name__ == '__main__':
    sys.exit(main())

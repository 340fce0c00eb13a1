"""`make test`, the Python half: on the oldest and the newest CPython of this machine, then Django's matrix and the types.

    python3 tools/test_python.py [--only 3.11] [PYTEST ARGUMENTS]
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from at_once import run_at_once

ROOT = Path(__file__).resolve().parents[1]


def run(title: str, *command: object, **kwargs: Any) -> Any:
    print(f'\n== {title}', flush=True)
    return subprocess.run([str(word) for word in command], **{'cwd': ROOT, 'check': True, **kwargs})


def output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', metavar='VERSION', help='one CPython, such as 3.11')
    args, rest = parser.parse_known_args()
    pythons = output(sys.executable, 'tools/setup/pythons.py', '--all').split()
    versions = {output(p, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])').strip(): p for p in pythons}
    if args.only:
        chosen = {args.only: versions[args.only]}
    else:
        chosen = {v: versions[v] for v in {min(versions, key=_number), max(versions, key=_number)}}
    # A choice of tests may be none of a folder, which pytest takes for a mistake.
    folders = [['tests/differential', 'tests/claims']] if rest else [['tests/claims'], ['tests/differential']]
    suites = {}
    for version in sorted(chosen, key=_number):
        run(f'CPython {version}: the extension', sys.executable, 'tools/setup/extension.py', '--profile', 'fast', chosen[version])
        python = output(sys.executable, 'tools/setup/venv.py', f'test-{version}', chosen[version],
                        'python/tests/requirements.txt').strip()
        for names in folders:
            suites[f'CPython {version}: {" ".join(names)}'] = [python, '-m', 'pytest', '-p', 'no:cacheprovider', *names, *rest]
    if not args.only:
        # First, since they take a minute of a quarter of an hour.
        run('the stubs', sys.executable, 'python/tests/typing/check.py', versions[max(versions, key=_number)])
    environment = dict(os.environ, PYTHONPATH=str(ROOT / 'python'))
    run_at_once(suites, cwd=ROOT / 'python', env=environment)
    if not args.only:
        run('Django, on each CPython', sys.executable, 'python/tests/django/matrix.py')


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split('.')))


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f'test_python: failed: {" ".join(failed.cmd)}')

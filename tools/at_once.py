"""Runs suites of tests at once, for each waits most of the time; what they print, one after the other.

    python3 tools/at_once.py 'COMMAND' 'COMMAND'..      ends with 1 if one of them fails
"""
import contextlib
import shlex
import subprocess
import sys
import tempfile
from typing import Any


def run_at_once(suites: dict[str, list[str]], **kwargs: Any) -> None:
    """Each of {title: command}. Raises CalledProcessError for the first that fails, and ends the others."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Any] = {}
        for name, command in suites.items():
            # The first is seen while it runs.
            to = None if not running else stack.enter_context(tempfile.TemporaryFile('w+'))
            if to is None:
                print(f'\n== {name}', flush=True)
            suite = subprocess.Popen(command, stdout=to, stderr=to and subprocess.STDOUT, **kwargs)
            stack.callback(suite.kill)
            running[name] = suite, to
        for name, (suite, to) in running.items():
            suite.wait()
            if to is not None:
                to.seek(0)
                print(f'\n== {name}', to.read(), sep='\n', flush=True)
            if suite.returncode:
                raise subprocess.CalledProcessError(suite.returncode, suites[name])


if __name__ == '__main__':
    try:
        run_at_once({command: shlex.split(command) for command in sys.argv[1:]})
    except subprocess.CalledProcessError as failed:
        sys.exit(f'{shlex.join(failed.cmd)}: exit code {failed.returncode}')

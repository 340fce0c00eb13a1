"""`make demo`: builds the extension and the Rust program, makes the environment, runs examples/blog/demo.py; with FLEET=1 in the
environment that part of it which needs several machines."""
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def step(title: str, *command: object, **kwargs: Any) -> Any:
    print(f'demo: {title}', flush=True)
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **kwargs)


def main() -> None:
    made = step('an environment with Django', sys.executable, 'tools/setup/venv.py', 'demo', sys.executable,
                'examples/blog/requirements.txt', stdout=subprocess.PIPE, text=True)
    python = made.stdout.strip()
    step('the Python extension (a release build: some minutes)', sys.executable, 'tools/setup/extension.py', python)
    if os.environ.get('FLEET'):
        step('a Redis, if there is none', sys.executable, 'tools/servers.py', '--install', 'redis')
        env = dict(os.environ, PYTHONPATH=str(ROOT / 'python'))
        step('two machines', python, 'examples/blog/demo.py', '--fleet', *sys.argv[1:], env=env)
        return
    step('the Rust program', 'cargo', 'build', '--profile', 'fast', '--quiet', '--package', 'blog-rs')
    env = dict(os.environ, PYTHONPATH=str(ROOT / 'python'))
    step('the site', python, 'examples/blog/demo.py', '--rust', ROOT / 'target' / 'fast' / 'blog-rs', *sys.argv[1:],
         env=env)


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f'demo: failed: {" ".join(failed.cmd)}')

"""`make bench`: builds for release, makes the environment with the peers, runs bench/python and bench/rust."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command, **kwargs):
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **kwargs)


def main():
    run(sys.executable, 'tools/setup/extension.py', sys.executable)
    made = run(sys.executable, 'tools/setup/venv.py', 'bench', sys.executable, 'bench/python/requirements.txt',
               stdout=subprocess.PIPE, text=True)
    python = made.stdout.strip()
    env = dict(os.environ, PYTHONPATH=str(ROOT / 'python'))
    over = [script for script in ('hits', 'peers', 'memory')
            if subprocess.run([python, f'bench/python/{script}.py'], cwd=ROOT, env=env, check=False).returncode]
    for crate in ('rust', 'hitratio'):
        run('cargo', 'run', '--release', '--quiet', '--manifest-path', f'bench/{crate}/Cargo.toml')
    return f'bench: over its bound: {", ".join(over)}' if over else 0


if __name__ == '__main__':
    sys.exit(main())

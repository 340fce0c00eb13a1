"""`make lint`, the Python half: ruff and mypy at pinned versions, in an environment of their own."""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main():
    python = subprocess.run([sys.executable, 'tools/setup/venv.py', 'lint', sys.executable, 'tools/lint-requirements.txt'],
                            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    folders = ['python', 'tools', 'bench', 'examples']
    for command in (['ruff', 'check', '--config', 'python/pyproject.toml', *folders],):
        print('lint:', *command, flush=True)
        done = subprocess.run([python, '-m', *command], cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == '__main__':
    sys.exit(main())

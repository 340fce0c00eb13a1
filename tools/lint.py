"""`make lint`, the Python half: ruff and mypy at pinned versions, in an environment of their own."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ['--cache-dir', str(ROOT / '.cache' / 'mypy-lint')]


def sources(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob('*.py'))


def main() -> int:
    python = subprocess.run([sys.executable, 'tools/setup/venv.py', 'lint', sys.executable, 'tools/lint-requirements.txt'],
                            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    checks = {
        'ruff': ['ruff', 'check', '--config', 'python/pyproject.toml', 'python', 'tools', 'bench', 'examples'],
        'mypy --strict, the package as its stubs say it': ['mypy', *CACHE, '--strict', '-p', 'quickcache'],
        # The modules carry no annotations, their stubs do. Of `_native` the stub names what is public only.
        'mypy, what the modules do': ['mypy', *CACHE, '--config-file=', '--check-untyped-defs', '--disable-error-code',
                                      'attr-defined', *sources('python/quickcache')],
        'mypy --strict, tools': ['mypy', *CACHE, '--strict', *sources('tools'), *sources('tools/setup')],
    }
    env = dict(os.environ, MYPYPATH=os.pathsep.join(str(ROOT / folder) for folder in ('python', 'tools', 'tools/setup')))
    failed = 0
    for name, command in checks.items():
        print('lint:', name, flush=True)
        failed |= subprocess.run([python, '-m', *command], cwd=ROOT, env=env, check=False).returncode
    return failed


if __name__ == '__main__':
    sys.exit(main())

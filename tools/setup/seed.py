"""The replaced library, side by side with ours.

Fetches `quickcache` 0.5.4 and the `six` it needs from PyPI (pinned by hash) into `.cache/seed/`, and loads it under an
alias, so that one process can decorate the same function with both. It is never importable as `quickcache`.

    python tools/setup/seed.py        fetch once; any CPython from 3.10 on, with or without a recent pip
    load_seed()                       the package, as `seed_quickcache`
"""
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).resolve().parents[2] / '.cache' / 'seed'
PINS = {
    'quickcache': 'quickcache==0.5.4 --hash=sha256:ac565f63e3f36798c74e44bb411ee1446beef0321b3a5c4bb4b58c7f043ea181',
    'six': 'six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274',
}


def install(home: Path = HOME) -> Path:
    """Put each pinned package into a folder of its own below `home`; what is there already is kept."""
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    for name, pin in PINS.items():
        if not (home / name).is_dir():
            fetch(home, name, pin)
    return home


def load_seed(alias: str = 'seed_quickcache', home: Path = HOME) -> ModuleType:
    """The seed as the package `alias`; its modules are `alias.cache_helpers`, `alias.django_quickcache` and so on.

    A second alias gives a second, independent copy.
    """
    if alias == 'quickcache':
        raise ValueError('load_seed(alias): the seed must not take the name "quickcache"; choose another alias')
    if alias in sys.modules:
        return sys.modules[alias]
    home = install(home)
    if importlib.util.find_spec('six') is None:
        sys.path.append(str(home / 'six'))
        importlib.invalidate_caches()
    folder = home / 'quickcache' / 'quickcache'
    spec = importlib.util.spec_from_file_location(alias, folder / '__init__.py', submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[alias] = package
    spec.loader.exec_module(package)
    return package


def fetch(home: Path, name: str, pin: str) -> None:
    """Install one pin into a temporary folder beside its place and rename it, so that no half-filled folder is ever seen."""
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        requirements = Path(scratch) / 'requirements.txt'
        requirements.write_text(pin + '\n')
        target = Path(scratch) / name
        arguments = ['install', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:',
                     '--require-hashes', '--requirement', str(requirements), '--target', str(target)]
        # An old pip does not find the wheel; then a new one, in an environment of its own, does it.
        if subprocess.run([sys.executable, '-m', 'pip', *arguments], capture_output=True).returncode:
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([_recent_pip(home), *arguments], check=True)
        try:
            os.rename(target, home / name)
        except OSError:
            if not (home / name).is_dir():      # else another process was faster
                raise


def _recent_pip(home: Path) -> str:
    tools = home / 'pip'
    python = tools / 'bin' / 'python'
    if not python.exists():
        # Isolated: a module of this folder has the name of the standard library's.
        subprocess.run([sys.executable, '-I', '-m', 'venv', str(tools)], check=True)
    subprocess.run([python, '-m', 'pip', 'install', '--quiet', '--upgrade', 'pip'], check=True)
    return str(tools / 'bin' / 'pip')


if __name__ == '__main__':
    print(install())

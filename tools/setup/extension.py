"""Builds the native module for one or several CPythons, in place: python/quickcache/_native.<tag>.so.

    python3 tools/setup/extension.py [--profile release|dev] PYTHON...

Modules of several versions lie beside each other, so one checkout serves all of them through PYTHONPATH=python. Users get
wheels (see python/pyproject.toml); this is for tests, benchmarks and the demo.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(python: str, profile: str = 'release') -> pathlib.Path:
    """The path of the built module. `python` is the path of an interpreter."""
    suffix = subprocess.check_output(
        [python, '-c', 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'], text=True).strip()
    # A folder for each interpreter: PyO3 is compiled for one version, and would be compiled anew at each change.
    target = ROOT / 'target' / ('ext' + suffix.removesuffix('.so'))
    _begin_with_another(target)
    env = dict(os.environ, PYO3_PYTHON=str(python), CARGO_TARGET_DIR=str(target))
    # A build for the tests can be made to panic; a release cannot.
    features = [] if profile == 'release' else ['--features', 'faults']
    subprocess.check_call(
        ['cargo', 'build', '--quiet', '--package', 'quickcache-python', '--profile', profile, *features], cwd=ROOT, env=env)
    built = target / ('debug' if profile == 'dev' else profile) / 'lib_native.so'
    place = ROOT / 'python' / 'quickcache' / ('_native' + suffix)
    # Never write over a module that a running process has mapped: replace it.
    fresh = place.with_suffix('.new')
    shutil.copy2(built, fresh)
    os.replace(fresh, place)
    return place


def _begin_with_another(target: pathlib.Path) -> None:
    """A first build for an interpreter takes what was built for another: all but PyO3 and the module is the same."""
    others = [other for other in target.parent.glob('ext.*') if other != target]
    if others and not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            # With the times of the files, which are what cargo goes by.
            os.rename(shutil.copytree(others[0], pathlib.Path(scratch) / target.name), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--profile', default='release')
    parser.add_argument('pythons', nargs='+', metavar='PYTHON')
    args = parser.parse_args()
    for python in args.pythons:
        print('built', build(python, args.profile).relative_to(ROOT), flush=True)


if __name__ == '__main__':
    main()

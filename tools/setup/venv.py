#!/usr/bin/env python3
"""Makes a virtual environment below .venvs/, or leaves it alone when nothing changed.

    python3 tools/setup/venv.py NAME PYTHON REQUIREMENTS...        prints the path of the environment's python

PYTHON is an interpreter's path or name. The environment carries a stamp, a hash of the interpreter's version
and of the requirement files' text (the files they include by `-r` too); the same stamp means that nothing is
done, in a tenth of a second. Any change builds it anew, so no package of an older list stays behind. Progress
goes to stderr; only the path goes to stdout.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

VENVS = Path(__file__).resolve().parents[2] / ".venvs"
PIP = "pip==25.3"  # an old pip cannot build some source distributions: PyPI's quickcache 0.5.4 is one
FACTS = "import sys, os; print('%d.%d.%d' % sys.version_info[:3], os.path.realpath(sys.executable))"
HAS_VENV = "import venv, ensurepip"


class SetupError(RuntimeError):
    """The environment cannot be made; the text says what to do."""


def say(text: str) -> None:
    print(f"venv: {text}", file=sys.stderr, flush=True)


def make(name: str, python: str, requirements: list[Path]) -> Path:
    """The python of an up-to-date environment; two callers at once do not disturb each other."""
    VENVS.mkdir(exist_ok=True)
    folder = VENVS / name
    facts = _ask(python, FACTS)
    stamp = hashlib.sha256("\n".join([PIP, facts, *map(_text, requirements)]).encode()).hexdigest()
    own_python = folder / "bin" / "python"
    with (VENVS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = folder / "stamp"
        if own_python.exists() and mark.exists() and mark.read_text() == stamp:
            return own_python
        say(f"making .venvs/{name} with Python {facts.split()[0]}")
        _empty(folder, python, facts.split()[0])
        pip = [str(own_python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, PIP], "pip could not renew itself")
        files = [word for path in requirements for word in ("-r", str(path))]
        if files:
            say("installing " + ", ".join(path.name for path in requirements))
            _run([*pip, *files], "pip could not install the requirements")
        mark.write_text(stamp)
    return own_python


def _text(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError as error:
        raise SetupError(f"cannot read the requirements file {path}: {error.strerror}") from error
    included = re.findall(r"^\s*(?:-r|--requirement|-c|--constraint)[ =]*(\S+)", text, re.MULTILINE)
    return "\n".join([text, *(_text(path.parent / one) for one in included)])


def _ask(python: str, program: str) -> str:
    try:
        asked = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(f"cannot start {python}: {error.strerror}") from error
    if asked.returncode != 0:
        raise SetupError(f"{python} does not run: {asked.stderr.strip()[-500:]}")
    return asked.stdout.strip()


def _empty(folder: Path, python: str, version: str) -> None:
    """A new environment with pip in it, in place of whatever was there."""
    if subprocess.run([python, "-I", "-c", HAS_VENV], capture_output=True, check=False).returncode != 0:
        _install_venv_module(python, version)
    shutil.rmtree(folder, ignore_errors=True)
    _run([python, "-m", "venv", str(folder)], "the environment could not be made")


def _install_venv_module(python: str, version: str) -> None:
    """Debian keeps venv and ensurepip in a package of their own, which a fresh machine does not have."""
    package = "python{}.{}-venv".format(*version.split(".")[:2])
    hint = f"{python} has no venv module. Install it first: sudo apt-get install {package}"
    if os.geteuid() == 0:
        prefix = []
    elif (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        prefix = ["sudo", "-n"]
    else:
        raise SetupError(hint)
    if not shutil.which("apt-get"):
        raise SetupError(hint)
    say(f"installing Debian's {package}")
    get = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    if subprocess.run([*get, "install", package], capture_output=True, check=False).returncode != 0:
        subprocess.run([*get, "update"], capture_output=True, check=False)
        _run([*get, "install", package], hint)
    if subprocess.run([python, "-I", "-c", HAS_VENV], capture_output=True, check=False).returncode != 0:
        raise SetupError(hint)


def _run(command: list[str], trouble: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{trouble}:\n{(done.stdout + done.stderr).strip()[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Make a virtual environment below .venvs/, if anything changed."
    )
    parser.add_argument("name")
    parser.add_argument("python")
    parser.add_argument("requirements", nargs="*", type=Path)
    wanted = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", wanted.name):
        raise SetupError(f"{wanted.name!r} is not a folder name")
    print(make(wanted.name, wanted.python, wanted.requirements))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        sys.exit(f"venv: {error}")

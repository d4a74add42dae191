"""A program out of a package of Debian or Ubuntu, which apt fetches: nothing is installed, and root is not needed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

_HANGS_AFTER_S = 600


def fetch(package: str, program: str, into: Path) -> Path:
    """`program`, by its path in the package, as a file in the folder `into`. Raises OSError where there is no apt, and
    CalledProcessError.
    """
    with tempfile.TemporaryDirectory(dir=into) as folder:
        return _unpacked(package, program, Path(folder)).rename(into / Path(program).name)


def _unpacked(package: str, program: str, folder: Path) -> Path:
    """With the lists of packages that the machine has, else with lists of our own."""
    (folder / "lists" / "partial").mkdir(parents=True)
    own = [f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/archives", "-oAPT::Sandbox::User="]
    try:
        _run(["apt-get", "download", package], folder)
    except subprocess.CalledProcessError:
        _run(["apt-get", *own, "update"], folder)
        _run(["apt-get", *own, "download", package], folder)
    (archive,) = folder.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "--extract", str(archive), str(folder / "all")], folder)
    return folder / "all" / program


def _run(command: list[str], folder: Path) -> None:
    env = {**os.environ, "LC_ALL": "C"}
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True, timeout=_HANGS_AFTER_S)

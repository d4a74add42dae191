"""Libraries of other languages, installed once for each version of the files that name them, in .cache/."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CACHE = Path(__file__).parents[2] / ".cache"


class Unavailable(Exception):
    """This machine cannot run it; says why, in one line."""


def npm_modules(name: str, of: Path) -> Path:
    """The folder with what `of`/package-lock.json asks for in node_modules. Raises Unavailable."""
    _needs("node", "npm")
    files = [of / "package.json", of / "package-lock.json"]

    def install(to: Path) -> list[str]:
        for file in files:
            shutil.copy(file, to)
        return ["npm", "ci", "--prefix", str(to), "--no-audit", "--no-fund", "--ignore-scripts"]

    return _installed(name, files, install)


def maven_libraries(name: str, of: Path) -> Path:
    """The folder with the jars that `of`/pom.xml asks for. Raises Unavailable."""
    _needs("java", "javac", "mvn")
    pom = of / "pom.xml"
    goal = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    return _installed(name, [pom], lambda to: [*goal, f"-DoutputDirectory={to}"])


def _installed(name: str, files: list[Path], install: Callable[[Path], list[str]]) -> Path:
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    complete = folder / "complete"
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            run = subprocess.run(install(folder), capture_output=True, text=True, check=False)
            if run.returncode:
                raise Unavailable(f"{name} could not be installed: {(run.stderr or run.stdout).strip()[-200:]!r}")
            complete.touch()
    return folder


def _needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not on PATH")

"""A folder that plays a package registry in which every locked package has also been released anew.

Its wheels are made up: empty, with the real ones' dependencies. Only what builds this project is real, or
what else a test names, repacked from the environment that runs the tests.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.deploy.images import ROOT

NEWER = "9999.0"
REAL = ("pip", "hatchling", "editables", "packaging", "pathspec", "pluggy", "trove-classifiers")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    marker: str

    def line(self, digest: str) -> str:
        return f"{self.name}=={self.version}{f' ; {self.marker}' if self.marker else ''} --hash=sha256:{digest}\n"


def pins(lock: Path) -> list[Pin]:
    """What a lock file names. Raises AssertionError for what is not pinned to one version."""
    found = []
    for line in re.sub(r"\\\n", " ", lock.read_text()).splitlines():
        requirement = Requirement(line.partition(" --hash=")[0])
        (pinned,) = requirement.specifier
        assert pinned.operator == "=="
        found.append(Pin(requirement.name, pinned.version, str(requirement.marker or "")))
    return found


class Registry:
    """Raises AssertionError if the folder lacks what a lock names."""

    def __init__(self, folder: Path, *, locks: Iterable[Path] = LOCKS, real: Iterable[str] = REAL) -> None:
        self.folder = folder
        self._digests: dict[Pin, str] = {}
        self._versions = {name: distribution(name).version for name in real}
        for pin in {self._offered(pin) for lock in locks for pin in pins(lock)}:
            self._digests[pin] = self._wheel(pin.name, pin.version)
            self._wheel(pin.name, NEWER)

    def locks_for(self, project: Path) -> None:
        """Writes the lock files into the copy of the project, with the hashes of this registry."""
        (project / "requirements").mkdir()
        for lock in LOCKS:
            shutil.copyfile(lock, project / "requirements" / lock.name)
        self.rehash(project / "requirements")

    def rehash(self, requirements: Path) -> None:
        """Puts the hashes of this registry into copies of lock files."""
        for lock in requirements.glob("*.txt"):
            lines = [pin.line(self._digests[pin]) for pin in map(self._offered, pins(lock))]
            lock.write_text("".join(lines))

    def _offered(self, pin: Pin) -> Pin:
        """The tools that build this project are those of the environment, whose versions may be others."""
        return Pin(pin.name, self._versions.get(pin.name, pin.version), pin.marker)

    def _wheel(self, name: str, version: str) -> str:
        path = self.folder / canonical(name) / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        if not path.exists():
            real = self._versions.get(name) == version
            path.parent.mkdir(exist_ok=True)
            with (path.parent / "index.html").open("a") as page:
                page.write(f'<a href="{path.name}">{path.name}</a>\n')
            _write_wheel(path, _files_of(distribution(name)) if real else _made_up(name, version))
        return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_wheel(path: Path, files: Iterator[tuple[str, bytes]]) -> None:
    with ZipFile(path, "w") as wheel:
        for name, content in files:
            wheel.writestr(name, content)


def _made_up(name: str, version: str) -> Iterator[tuple[str, bytes]]:
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {needed}" for needed in _dependencies(name)]
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    yield f"{info}/METADATA", "\n".join([*metadata, ""]).encode()
    yield f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    yield f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n".encode()


def _dependencies(name: str) -> list[str]:
    """Those of the installed package, so that a resolver has something to resolve; extras too, they are what it asks
    for beyond the locked names."""
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def _files_of(installed: Distribution) -> Iterator[tuple[str, bytes]]:
    kept = [
        file.as_posix()
        for file in installed.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and file.name not in ("RECORD", "INSTALLER", "REQUESTED")
    ]
    (info,) = {name.partition("/")[0] for name in kept if name.partition("/")[0].endswith(".dist-info")}
    for name in kept:
        yield name, Path(str(installed.locate_file(name))).read_bytes()
    yield f"{info}/RECORD", "".join(f"{name},,\n" for name in [*kept, f"{info}/RECORD"]).encode()


def canonical(name: str) -> str:
    return str(canonicalize_name(name))

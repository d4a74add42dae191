"""What is installed does not depend on what is newest in a registry that day.

Every installation is really carried out, by the Makefile's, the Dockerfile's and the docs' own commands and with each
pip at hand, against a registry in which every locked package has been released anew.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import pytest

from bench.writer import peer_installation
from tests.integration.deploy.installed import BY_VENV, assert_only_what_is_locked
from tests.integration.deploy.registry import Registry, canonical, pins
from tests.unit.deploy.images import ROOT

CHECKOUT = "/path/to/a/checkout"
LONGEST = "requirements/test.txt"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def project(registry: Registry, tmp_path: Path) -> Path:
    """A fresh checkout, with locks for the registry."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    for package in ("schemas", "runtime", "planner", "writer", "ops", "simulator"):
        (checkout / package).mkdir()
        (checkout / package / "__init__.py").touch()
    registry.locks_for(checkout)
    return checkout


def pythons() -> Iterator[str]:
    """One interpreter for each supported version that is on this machine; the pip that comes with each is another."""
    yield sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for wanted in ("3.11", "3.12", "3.13"):
        candidates = [f"python{wanted}", *map(str, sorted(pyenv.glob(f"{wanted}.*/bin/python")))]
        found = next((name for name in candidates if _version_of(name) == wanted), None)
        if found and wanted != f"{sys.version_info.major}.{sys.version_info.minor}":
            yield found


def _version_of(python: str) -> str | None:
    """None if it does not run, or cannot make an environment with pip."""
    probe = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        ran = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


PYTHONS = {_version_of(each) or "this": each for each in pythons()}


def run(command: list[str], registry: Registry, *, cwd: Path, **more: str) -> None:
    """With the registry as the only one. Raises AssertionError with what it wrote if it fails."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "MAKE"))}
    only = {"PIP_INDEX_URL": registry.folder.as_uri(), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    ran = subprocess.run(
        command, cwd=cwd, env={**inherited, **only, **more}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{shlex.join(command)}\n{ran.stdout}\n{ran.stderr}"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty one; the pip of the environment that runs the tests installs into it."""
    venv.create(tmp_path / "environment", with_pip=False)
    return tmp_path / "environment"


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
def test_make_installs_what_is_locked_whatever_is_newer(python: str, registry: Registry, project: Path) -> None:
    requirements = project / "requirements"
    for target in ("demo", "test") if python == sys.executable else ("test",):
        run(["make", f".venv/{target}.stamp", f"PYTHON={python}"], registry, cwd=project)
        locks = (requirements / "pip.txt", requirements / f"{target}.txt")
        assert_only_what_is_locked(project / ".venv", *locks)


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
def test_the_pip_that_comes_with_a_python_takes_what_is_locked_whatever_is_newer(
    python: str, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Without the step that brings a current one."""
    environment = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin/python"), "-m", "pip"]
    run([*pip, "install", "--no-deps", "--no-compile", "--require-hashes", "-r", LONGEST], registry, cwd=project)
    assert_only_what_is_locked(environment, project / LONGEST, own=False, by_venv=BY_VENV | {"pip"})


def test_the_simulator_page_installs_what_is_locked_whatever_is_newer(
    registry: Registry, project: Path, environment: Path
) -> None:
    told = re.findall(r"^ +(pip install .*)$", (ROOT / "docs/simulator.md").read_text(), re.MULTILINE)
    assert told
    for command in told:
        (_, *arguments) = shlex.split(command.replace(CHECKOUT, str(project)))
        run([sys.executable, "-m", "pip", "--python", str(environment), *arguments], registry, cwd=project.parent)
    locks = ("pip.txt", "simulator.txt", "project.txt")
    assert_only_what_is_locked(environment, *(project / "requirements" / name for name in locks))


@pytest.mark.parametrize("python", [path for of, path in PYTHONS.items() if of != "3.11"][:1] or [""])
def test_the_peer_of_the_bench_is_what_is_locked_whatever_is_newer(
    python: str, registry: Registry, project: Path, tmp_path: Path
) -> None:
    if not python:
        pytest.skip("there is no Python 3.12 or later")
    environment = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    run(peer_installation(environment / "bin/python", project), registry, cwd=project)
    assert_only_what_is_locked(environment, project / "requirements" / "peer.txt", own=False, by_venv=BY_VENV | {"pip"})


BACKEND = """
    import pathlib
    from importlib.metadata import version
    from zipfile import ZipFile

    def build_wheel(folder, *_):
        name = "sourced-1.0-py3-none-any.whl"
        with ZipFile(pathlib.Path(folder) / name, "w") as wheel:
            built_with = " ".join(f"{each}={version(each)}" for each in ("setuptools", "setuptools_scm", "wheel"))
            wheel.writestr("sourced-1.0.dist-info/METADATA",
                           f"Metadata-Version: 2.1\\nName: sourced\\nVersion: 1.0\\nSummary: {built_with}\\n")
            wheel.writestr("sourced-1.0.dist-info/WHEEL",
                           "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
            wheel.writestr("sourced-1.0.dist-info/RECORD", "")
        return name
"""


def test_what_has_no_wheel_is_built_with_what_is_locked_whatever_is_newer(
    registry: Registry, project: Path, environment: Path
) -> None:
    """As Faust is on ARM, with what the Makefile says."""
    if tuple(map(int, version("pip").split(".")[:2])) < (25, 3):
        pytest.skip("this environment's pip is older than the locked one: make clean, then make test")
    makefile = (ROOT / "Makefile").read_text()
    (constraint,) = re.findall(r"^LOCKED := PIP_BUILD_CONSTRAINT=(\S+) ", makefile, re.MULTILINE)
    source = project / "sourced"
    source.mkdir()
    (source / "backend.py").write_text(dedent(BACKEND))
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=69", "setuptools_scm[toml]", "wheel", "cython>=3.1"]\n'
        'build-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "sourced"\nversion = "1.0"\n'
    )
    command = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--no-deps"]
    run([*command, "./sourced"], registry, cwd=project, PIP_BUILD_CONSTRAINT=constraint)
    ask = "from importlib.metadata import metadata; print(metadata('sourced')['Summary'])"
    ran = subprocess.run([environment / "bin/python", "-Ic", ask], capture_output=True, text=True, check=True)
    locked = {canonical(pin.name): pin.version for pin in pins(project / "requirements/build.txt")}
    assert dict(each.split("=") for each in ran.stdout.split()) == {
        name: locked[canonical(name)] for name in ("setuptools", "setuptools_scm", "wheel")
    }


PIP_THAT_FINDS_SOMETHING = """#!/bin/sh
case "$*" in
    *--quiet*) ;;
    *check*) echo "left-over 1.0 has requirement aiohttp<1"; exit 1 ;;
esac
"""


def test_make_checks_what_it_installed_and_names_the_way_out(registry: Registry, project: Path) -> None:
    python = project / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP_THAT_FINDS_SOMETHING)
    python.chmod(0o755)
    for target in ("demo", "test"):
        with pytest.raises(AssertionError, match=r"left-over 1\.0 (?s:.*)make clean"):
            run(["make", f".venv/{target}.stamp"], registry, cwd=project)


INSTALLS = re.compile(r"\bpip\b[^\n`|]*\binstall\b[^\n`|]*")


def test_nothing_anywhere_installs_without_a_lock() -> None:
    """Makefile, image, CI, docs and error messages: a line that installs says --no-deps."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    told = [
        f"{name}: {line}"
        for name in tracked
        if not name.startswith(("tests/", "requirements/lock.sh")) and (ROOT / name).suffix not in (".txt", ".png")
        for line in INSTALLS.findall((ROOT / name).read_text(errors="replace"))
    ]
    assert told
    assert [line for line in told if "--no-deps" not in line] == []

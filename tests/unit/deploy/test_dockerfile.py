"""No Docker here, so the Dockerfile is read, and what its steps do is done without it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from ops.demo.waiting import HANGS_AFTER_S
from tests.unit.deploy.images import ROOT, Stage, allowed_into_the_build, stages

STAGES = stages((ROOT / "Dockerfile").read_text())
TARGETS = ("planner", "writer", "ops", "simulator", "calls")
ALLOWED = allowed_into_the_build((ROOT / ".dockerignore").read_text())
PACKAGES = {"schemas", "runtime", "planner", "writer", "ops", "simulator"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Stage:
    return STAGES[request.param]


def environment_of(stage: Stage) -> Stage:
    """The stage that the target's virtual environment is copied from."""
    (copied,) = [each for each in stage.own if each.word == "COPY"]
    name, source, destination = re.fullmatch(r"--from=(\S+) (\S+) (\S+)", copied.rest).groups()  # type: ignore[union-attr]
    assert source == destination, "a virtual environment runs only from where it was made"
    return STAGES[name]


def test_it_runs_as_a_numbered_user_who_is_not_root(target: Stage) -> None:
    user = target.all("USER")[-1].rest
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "by number, so that Kubernetes can tell it is not root"


def test_it_is_stopped_by_sigterm_and_started_without_a_shell(target: Stage) -> None:
    assert target.all("STOPSIGNAL")[-1].rest == "SIGTERM"
    assert target.all("ENTRYPOINT")[-1].exec_form()
    assert not target.all("CMD")


def test_the_entry_point_is_something_that_the_wheel_brings(target: Stage) -> None:
    match target.all("ENTRYPOINT")[-1].exec_form():
        case ["python", "-m", module]:
            assert importlib.util.find_spec(f"{module}.__main__")
        case [script]:
            assert script in PROJECT["scripts"]


def test_it_writes_only_to_its_work_folder(target: Stage) -> None:
    environment = " ".join(each.rest for each in target.all("ENV"))
    for setting in ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONSAFEPATH=1"):
        assert setting in environment
    assert target.all("WORKDIR")[-1].rest == "/var/lib/writeback"


def test_its_libraries_come_from_a_lock_file_with_hashes_and_the_project_without_any(target: Stage) -> None:
    build = environment_of(target)
    installer, builder, _, libraries, own = (each.exec_form() for each in build.all("RUN"))
    for locked, head in ((installer, ["pip"]), (builder, ["pip"]), (libraries, ["pip", "--python", "/opt/writeback"])):
        assert locked[:-1] == [*head, "install", "--no-deps", "--require-hashes", "-r"]
        lock = ROOT / locked[-1]
        assert "--hash=sha256:" in lock.read_text()
        assert f"{lock.relative_to(ROOT)}" in copied_into(build)
    assert own == ["python", "-I", "install.py", "/opt/writeback"]
    assert build.steps()[-1].exec_form() == own


def test_a_change_to_our_own_code_installs_no_library_again(target: Stage) -> None:
    """A step is done again if one before it changed."""
    build = environment_of(target)
    *before, _ = (number for number, step in enumerate(build.steps()) if step.word == "RUN")
    early = {source for step in build.steps()[: before[-1]] if step.word == "COPY" for source in sources(step.rest)}
    assert early
    assert all(source.startswith("requirements/") for source in early)


def test_an_image_has_only_our_packages_that_it_runs() -> None:
    packages = {name: copied_into(environment_of(STAGES[name])) & PACKAGES for name in TARGETS}
    shared = {"schemas", "runtime"}
    assert packages == {
        "planner": {*shared, "planner"},
        "writer": {*shared, "writer"},
        "ops": PACKAGES,
        "simulator": {*shared, "simulator"},
        "calls": {*shared, "simulator"},
    }


def test_no_layer_below_holds_what_was_taken_out(target: Stage) -> None:
    assert target.parent is not None
    assert target.parent.name == "service"
    assert target.parent.base == "scratch"
    assert [each.rest for each in target.parent.own if each.word == "COPY"] == ["--from=stripped / /"]
    assert STAGES["stripped"].all("RUN")[0].exec_form() == ["python", "-I", "/strip/strip.py", "/"]


BASE = (
    "etc/apt/sources.list", "usr/bin/apt-get", "usr/bin/apt", "usr/bin/dpkg", "usr/bin/dpkg-deb",
    "usr/lib/apt/methods/http", "usr/lib/dpkg/methods/apt", "usr/local/bin/pip", "usr/local/bin/pip3.13",
    "usr/local/bin/python3.13",
    "usr/local/lib/python3.13/ensurepip/__init__.py", "usr/local/lib/python3.13/json/__init__.py",
    "usr/local/lib/python3.13/site-packages/pip-26.0.dist-info/METADATA",
    "usr/local/lib/python3.13/site-packages/pip/__main__.py", "usr/sbin/dpkg-preconfigure", "usr/share/dpkg/abitable",
    "usr/bin/env", "usr/bin/su", "var/cache/apt/pkgcache.bin", "var/lib/apt/lists/lock", "var/lib/dpkg/status",
)  # fmt: skip
"""What the base image has of this, by the paths that Debian and Python's image use."""


def stripped(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(ROOT / ".ci/image/strip.py"), str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_base_keeps_no_pip_no_package_manager_and_no_setuid_bit(tmp_path: Path) -> None:
    for name in BASE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(0o755)
    (tmp_path / "usr/bin/su").chmod(0o4755)
    ran = stripped(tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "usr/bin/env", "usr/bin/su", "usr/local/bin/python3.13", "usr/local/lib/python3.13/json/__init__.py",
        "var/lib/dpkg/status",
    }  # fmt: skip
    assert (tmp_path / "usr/bin/su").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["usr/bin/gcc", "usr/local/bin/uv", "usr/sbin/apk"])
def test_a_base_that_brings_a_compiler_or_another_package_manager_fails_the_build(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    ran = stripped(tmp_path)
    assert ran.returncode == 1
    assert name in ran.stderr


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        ("planner", "azure-identity"),
        ("writer", "faust-streaming"),
        ("simulator", "confluent-kafka"),
        ("simulator", "fastavro"),
        ("simulator", "prometheus-client"),
        *((name, builder) for name in TARGETS for builder in ("hatchling", "editables", "setuptools", "pip")),
    ],
)
def test_an_image_carries_none_of_the_others_libraries_and_nothing_that_builds(name: str, foreign: str) -> None:
    (installed,) = [each.exec_form()[-1] for each in environment_of(STAGES[name]).own if f'{name}.txt"' in each.rest]
    assert not re.search(rf"^{foreign}==", (ROOT / installed).read_text(), re.MULTILINE)


def sources(copy: str) -> list[str]:
    """Files of the project, those that come by another stage included."""
    of_stage, _, _ = copy.partition(" ")
    if of_stage.startswith("--from="):
        return [each for step in STAGES[of_stage.removeprefix("--from=")].own for each in sources(step.rest)]
    return copy.split()[:-1]


def copied_into(stage: Stage) -> set[str]:
    return {source for each in stage.all("COPY") for source in sources(each.rest)}


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_everything_that_is_copied_exists(stage: Stage) -> None:
    for copy in stage.own:
        if copy.word == "COPY" and not copy.rest.startswith("--from="):
            assert all((ROOT / source).exists() for source in sources(copy.rest)), copy.rest


def test_the_base_of_every_image_is_pinned_by_digest() -> None:
    pinned = r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}$"
    assert re.search(pinned, (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {stage.base for stage in STAGES.values()} <= {*STAGES, "${PYTHON_IMAGE}", "scratch"}


def test_every_step_is_one_that_can_be_replayed_without_a_shell() -> None:
    for stage in STAGES.values():
        assert all(each.exec_form() for each in stage.all("RUN"))


def test_the_build_context_holds_all_that_the_wheel_is_made_of(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for pattern in ALLOWED:
        for source in ROOT.glob(pattern):
            destination = context / source.relative_to(ROOT)
            destination.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, destination)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=context, check=True, capture_output=True, timeout=HANGS_AFTER_S)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(ZipFile(wheel).namelist())
    missing = {
        str(path.relative_to(ROOT))
        for package in ("schemas", "runtime", "planner", "writer", "ops", "simulator")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - inside
    assert not missing


def test_the_image_says_the_projects_version() -> None:
    (version,) = [each.rest for each in STAGES["service"].own if each.rest.startswith("VERSION=")]
    assert version == f"VERSION={PROJECT['version']}"

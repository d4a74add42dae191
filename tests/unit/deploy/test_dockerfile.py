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
    installs = [each.exec_form() for each in build.all("RUN") if each.exec_form()[0] == "pip"]
    (installer, libraries, own, check) = installs
    for locked in (installer, libraries):
        assert locked[:4] == ["pip", "install", "--no-deps", "--require-hashes"]
        lock = ROOT / locked[-1]
        assert "--hash=sha256:" in lock.read_text()
        assert f"{lock.relative_to(ROOT)}" in [copied for each in build.all("COPY") for copied in sources(each.rest)]
    assert own == ["pip", "install", "--no-deps", "--no-build-isolation", "."]
    assert check == ["pip", "check"]


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        ("planner", "azure-identity"),
        ("writer", "faust-streaming"),
        ("simulator", "confluent-kafka"),
        ("simulator", "fastavro"),
        ("simulator", "prometheus-client"),
    ],
)
def test_a_services_image_carries_none_of_the_other_services_libraries(name: str, foreign: str) -> None:
    installed = environment_of(STAGES[name]).all("RUN")[-3].exec_form()[-1]
    assert not re.search(rf"^{foreign}==", (ROOT / installed).read_text(), re.MULTILINE)


def sources(copy: str) -> list[str]:
    return copy.split()[:-1]


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_everything_that_is_copied_exists(stage: Stage) -> None:
    for copy in stage.own:
        if copy.word == "COPY" and not copy.rest.startswith("--from="):
            assert all((ROOT / source).exists() for source in sources(copy.rest)), copy.rest


def test_every_stage_is_built_from_a_stage_or_from_the_pinned_python() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-\w+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {stage.base for stage in STAGES.values()} <= {*STAGES, "${PYTHON_IMAGE}"}


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

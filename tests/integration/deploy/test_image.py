"""The images, without Docker: the steps of the Dockerfile are really carried out, each stage's in a folder of its own.

The folder stands for the root file system, and a new environment with pip for the base image's Python. Packages come
from a registry in which every locked package has been released anew; what is installed really runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import venv
from importlib.metadata import distributions
from pathlib import Path

import pytest

from runtime.version import VERSION
from tests.integration.deploy.installed import BY_VENV, assert_only_what_is_locked
from tests.integration.deploy.registry import Registry, canonical, pins
from tests.unit.deploy.images import ROOT, Instruction, Stage, stages

STAGES = stages((ROOT / "Dockerfile").read_text())
PACKAGES = {"schemas", "runtime", "planner", "writer", "ops", "simulator"}
RUNS = {
    "planner": {"planner"},
    "writer": {"writer"},
    "ops": PACKAGES,
    "simulator": {"simulator"},
    "calls": {"simulator"},
}
NOT_IN_AN_IMAGE = ("pip", "setuptools", "wheel", "hatchling", "editables", "Cython", "uv")
HELP: dict[str, list[list[str]]] = {
    "planner": [["--help"]],
    "writer": [["--help"]],
    "ops": [["--version"], ["--help"], ["demo", "--help"], ["simulate", "--help"]],
    "simulator": [["serve", "--help"]],
    "calls": [["calls", "--help"]],
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    locks = [ROOT / "requirements" / f"{name}.txt" for name in (*RUNS, "project", "pip", "build")]
    here = {canonical(each.metadata["Name"]) for each in distributions()}
    real = here & {canonical(pin.name) for lock in locks for pin in pins(lock)}
    return Registry(tmp_path_factory.mktemp("registry"), locks=locks, real=real)


class Build:
    """A root file system to carry out the steps of one stage in. Raises AssertionError with what a step wrote."""

    def __init__(self, root: Path, registry: Registry) -> None:
        self.root = root
        self._registry = registry
        self._here = root
        venv.create(root / "base", with_pip=True)
        self._environment = {
            "PATH": f"{root / 'base/bin'}:{os.defpath}",
            "HOME": str(root),
            "PIP_INDEX_URL": registry.folder.as_uri(),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_COMPILE": "1",  # it takes the longest, and Python compiles what it runs
        }

    def carry_out(self, stage: Stage) -> None:
        for step in stage.steps():
            match step.word:
                case "ENV":
                    pairs = (each.split("=", 1) for each in shlex.split(step.rest))
                    self._environment |= {name: self._inside(value) for name, value in pairs}
                case "WORKDIR":
                    self._here = Path(self._inside(step.rest))
                    self._here.mkdir(parents=True)
                case "COPY":
                    self._copy(step)
                case "RUN":
                    self._run([self._inside(part) for part in step.exec_form()])
                case other:
                    raise AssertionError(f"the replay does not know {other}")

    def _inside(self, part: str) -> str:
        return f"{self.root}{part}" if part.startswith(("/opt/", "/source", "/wheel")) else part

    def _copy(self, step: Instruction) -> None:
        *sources, target = step.rest.split()
        for source in sources:
            of = ROOT / source
            if of.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(of, self._here / target, ignore=ignored, dirs_exist_ok=True)
            else:
                into = self._here / target
                into.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(of, into / of.name)
        if target == "requirements/":
            self._registry.rehash(self._here / "requirements")

    def _run(self, command: list[str]) -> None:
        ran = subprocess.run(
            command, cwd=self._here, env=self._environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{shlex.join(command)}\n{ran.stdout}\n{ran.stderr}"

    def started(self, stage: Stage, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """The entry point, in the environment that the image sets and in its work folder."""
        work = self.root / stage.all("WORKDIR")[-1].rest.lstrip("/")
        work.mkdir(parents=True, exist_ok=True)
        path = f"{self.root}{stage.environment()['PATH']}"
        program, *rest = stage.all("ENTRYPOINT")[-1].exec_form()
        found = shutil.which(program, path=path)
        assert found
        env = {**stage.environment(), "PATH": path, "HOME": str(work)}
        return subprocess.run(
            [found, *rest, *arguments], cwd=work, env=env, capture_output=True, text=True, check=False
        )


@pytest.mark.parametrize("target", RUNS)
def test_an_image_holds_what_is_locked_whatever_is_newer_and_starts(
    target: str, registry: Registry, tmp_path: Path
) -> None:
    (copied,) = [each for each in STAGES[target].own if each.word == "COPY"]
    built = Build(tmp_path, registry)
    built.carry_out(STAGES[copied.rest.split()[0].removeprefix("--from=")])
    environment = tmp_path / "opt/writeback"
    assert_only_what_is_locked(environment, tmp_path / f"source/requirements/{target}.txt", by_venv=set())

    (site,) = (environment / "lib").glob("python3*/site-packages")
    assert {name for name in PACKAGES if (site / name).exists()} == RUNS[target] | {"schemas", "runtime"}
    assert [name for name in NOT_IN_AN_IMAGE if (site / name).exists()] == []
    programs = {path.name for path in (environment / "bin").iterdir()}
    assert not {name for name in programs if name.startswith(("pip", *BY_VENV))}
    assert ("writeback" in programs) == (target == "ops")

    for arguments in HELP[target]:
        ran = built.started(STAGES[target], arguments)
        assert (ran.returncode, ran.stderr) == (0, ""), f"{target} {arguments}"
        assert (VERSION if arguments == ["--version"] else "sage:") in ran.stdout

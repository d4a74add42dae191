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


@pytest.fixture(scope="module")
def base(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The stage that every target begins with, carried out once, as Docker does."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder / "python", with_pip=True)
    (folder / "root").mkdir()
    built = Build(folder / "root", folder / "python/bin", registry)
    built.carry_out(STAGES["build"].steps())
    return built


class Build:
    """A root file system to carry out the steps of one stage in. Raises AssertionError with what a step wrote."""

    def __init__(self, root: Path, python: Path, registry: Registry) -> None:
        """`python`: the folder of the base image's programs."""
        self.root = root
        self._python = python
        self._registry = registry
        self._here = root
        self._set = {"PATH": f"{python}:{os.defpath}"}

    def carry_out(self, steps: list[Instruction]) -> None:
        for step in steps:
            match step.word:
                case "ENV":
                    self._set |= dict(each.split("=", 1) for each in shlex.split(step.rest))
                case "WORKDIR":
                    self._here = Path(self._inside(step.rest))
                    self._here.mkdir(parents=True)
                case "COPY":
                    self._copy(step)
                case "RUN":
                    self._run([self._inside(part) for part in step.exec_form()])
                case other:
                    raise AssertionError(f"the replay does not know {other}")

    def copied(self, root: Path) -> Build:
        """Another one that goes on from here, with the same Python."""
        other = Build(root, self._python, self._registry)
        shutil.copytree(self.root, root, symlinks=True, dirs_exist_ok=True)
        other._here = root / self._here.relative_to(self.root)
        other._set = self._set
        return other

    def _inside(self, part: str) -> str:
        return f"{self.root}{part}" if part.startswith(("/opt/", "/source")) else part

    def _copy(self, step: Instruction) -> None:
        *sources, target = step.rest.split()
        if sources[0].startswith("--from="):
            assert [*sources[1:], target] == ["/", "./"], "all that another stage has"
            self.carry_out(STAGES[sources[0].removeprefix("--from=")].own)
            return
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
        environment = {
            "HOME": str(self.root),
            "PIP_INDEX_URL": self._registry.folder.as_uri(),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_COMPILE": "1",  # it takes the longest, and Python compiles what it runs
            **{name: self._inside(value) for name, value in self._set.items()},
        }
        ran = subprocess.run(command, cwd=self._here, env=environment, capture_output=True, text=True, check=False)
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
def test_an_image_holds_what_is_locked_whatever_is_newer_and_starts(target: str, base: Build, tmp_path: Path) -> None:
    (copied,) = [each for each in STAGES[target].own if each.word == "COPY"]
    stage = STAGES[copied.rest.split()[0].removeprefix("--from=")]
    assert stage.parent is STAGES["build"]
    built = base.copied(tmp_path)
    built.carry_out(stage.own)
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


def test_a_lock_that_lacks_a_library_fails_the_build(base: Build, tmp_path: Path) -> None:
    built = base.copied(tmp_path)
    with pytest.raises(AssertionError, match=r"dataverse-writeback \S+ requires pydantic, which is not installed"):
        built.carry_out([each for each in STAGES["build-planner"].own if "requirements/" not in each.rest])

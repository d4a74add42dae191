"""Each extra is really installed alone, into an environment of its own, and every command explains itself there.

The libraries are those of the environment that runs the tests, file by file, and only those that the extra asks for;
ours is built and installed by pip.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.support.commands import OWN_COMMANDS
from tests.unit.deploy.images import ROOT
from tests.unit.deploy.test_extras import OURS, installed_with

MODULES = {
    "planner": ["planner"],
    "writer": ["writer"],
    "simulator": ["simulator", "simulator serve"],
    "calls": ["simulator", "simulator serve", "simulator calls"],
    "demo": ["planner", "writer", "simulator", "simulator serve", "simulator calls"],
}
"""Beside the console command, which every extra brings."""
HAS_COMMANDS = ("ops", "demo")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    [built] = folder.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    head, *rest = arguments
    command = [sys.executable, "-m", "pip", head, "--no-deps", *rest]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def environment_with(extra: str, wheel: Path, folder: Path) -> Path:
    """A new environment's Python, which finds the libraries of the extra and no other."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*")) / "site-packages"
    here = Path(sysconfig.get_path("purelib"))
    for name in installed_with(extra) - {canonicalize_name(OURS)}:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue  # for another platform or version
        for file in files:
            target = site / file
            if not file.parts[0].startswith("..") and (here / file).exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(here / file)
                compiled = here / file.parent / "__pycache__"
                if compiled.is_dir() and not (target.parent / "__pycache__").exists():
                    (target.parent / "__pycache__").symlink_to(compiled)
    target_of_pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--quiet",
        str(wheel),
    ]
    ran = subprocess.run(target_of_pip, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return python


def said(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Away from the checkout, and with nothing of it on the path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WRITEBACK_"))}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("extra", ["planner", "writer", "ops", "simulator", "calls", "demo"])
def test_an_extra_installed_alone_brings_commands_that_explain_themselves(
    extra: str, wheel: Path, tmp_path: Path
) -> None:
    python = environment_with(extra, wheel, tmp_path / "environment")
    for module in MODULES.get(extra, []):
        ran = said([str(python), "-m", *module.split(), "--help"], tmp_path)
        assert (ran.returncode, ran.stderr) == (0, ""), module
        assert "usage" in ran.stdout.lower()
    writeback = str(python.with_name("writeback"))
    if extra not in HAS_COMMANDS:
        ran = said([writeback, "--help"], tmp_path)
        assert ran.returncode == 78, "it says what to install"
        assert re.search(r"-r requirements/ops\.txt", ran.stderr)
        return
    every = "\n".join(OWN_COMMANDS)
    code = (
        "import sys\nfrom ops.start import main\n"
        f"for command in {every!r}.split(chr(10)):\n"
        "    sys.argv = ['writeback', *command.split(), '--help']\n"
        "    try:\n        main()\n"
        "    except SystemExit as ended:\n        assert not ended.code, (command, ended.code)\n"
    )
    ran = said([str(python), "-c", code], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Usage: writeback") == len(OWN_COMMANDS)
    assert said([writeback, "--version"], tmp_path).stdout.startswith("writeback ")

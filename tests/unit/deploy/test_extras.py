"""Each extra alone is enough for the command that it is there for.

The command runs in an interpreter that finds no library beyond what the extra asks for.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.deploy.images import ROOT

OURS = "dataverse-writeback"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = {
    "planner": ("planner", "--help"),
    "writer": ("writer", "--help"),
    "ops": ("ops.start", "--help"),
    "simulator": ("simulator", "serve", "--help"),
    "calls": ("simulator", "calls", "--help"),
}
ALONE = """
import importlib.metadata, importlib.util, runpy, sys
hidden, gone = (set(each.split(",")) for each in sys.argv[1:3])
find = importlib.util.find_spec
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
importlib.util.find_spec = lambda name, *more: None if name.partition(".")[0] in hidden else find(name, *more)
found = importlib.metadata.distribution
def distribution(name):
    if name in gone:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.distribution = distribution
sys.argv = sys.argv[3:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def asked_by(name: str, extra: str) -> Iterator[Requirement]:
    """What a distribution asks for on this machine, with one of its extras."""
    if name == OURS:
        texts = PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else [])
    else:
        texts = requires(name) or []
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def installed_with(extra: str) -> set[str]:
    """The distributions that come with an extra of ours."""
    found: set[tuple[str, str]] = set()
    waiting = [(OURS, extra)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in found:
            continue
        found.add((name, wanted))
        try:
            for requirement in asked_by(name, wanted):
                key = canonicalize_name(requirement.name)
                waiting += [(key, each) for each in ("", *requirement.extras)]
        except PackageNotFoundError:
            continue  # for another platform or version
    return {name for name, _ in found}


def hidden_with(extra: str) -> set[str]:
    """The modules of this machine that nothing of the extra brings."""
    there = installed_with(extra)
    return {
        module
        for module, names in packages_distributions().items()
        if re.fullmatch(r"[A-Za-z]\w*", module) and not {canonicalize_name(name) for name in names} & there
    }


def alone(extra: str, *command: str) -> subprocess.CompletedProcess[str]:
    gone = installed_with("demo") - installed_with(extra)
    arguments = [sys.executable, "-c", ALONE, ",".join(hidden_with(extra)), ",".join(gone), *command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("extra", COMMANDS)
def test_an_extra_alone_is_enough_for_its_command(extra: str) -> None:
    ran = alone(extra, *COMMANDS[extra])
    assert ran.returncode == 0, ran.stderr
    assert "--help" in ran.stdout or "usage" in ran.stdout.lower()


@pytest.mark.parametrize("extra", ["planner", "writer", "simulator", "calls"])
def test_the_command_line_without_its_extra_names_the_lock_that_has_what_is_missing(extra: str) -> None:
    ran = alone(extra, "ops.start", "--help")
    assert ran.returncode == 78
    library, lock = re.search(r"library (\S+) is not", ran.stderr), re.search(r"-r (\S+)", ran.stderr)
    assert library, ran.stderr
    assert lock, ran.stderr
    assert f"\n{library[1]}==" in (ROOT / lock[1]).read_text()
    assert "phonenumbers==" in (ROOT / lock[1]).read_text()
    assert "Traceback" not in ran.stderr

"""With the extra `ops` alone every command explains itself; without it, `writeback` says what to install.

What another extra would bring is hidden from a process of its own, as if it had never been installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
OURS = "dataverse-writeback"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = (
    "", "status", "list", "watch", "trace", "doctor", "outcome check", "rejected list", "rejected show", "rewind",
    "settings", "topics create", "topics check", "topics rights", "demo",
)  # fmt: skip
HIDING = """
import json, sys
hidden = set(json.loads(sys.argv[1]))
class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hiding())
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(extra: str) -> set[str]:
    """The distributions that the project with this extra brings, ours left out."""
    found: set[str] = set()
    left = [*map(Requirement, PROJECT["dependencies"]), *map(Requirement, PROJECT["optional-dependencies"][extra])]
    while left:
        wanted = left.pop()
        if canonical(wanted.name) == OURS:
            left += [Requirement(each) for one in wanted.extras for each in PROJECT["optional-dependencies"][one]]
        elif canonical(wanted.name) not in found:
            found.add(canonical(wanted.name))
            left += list(_needs(wanted))
    return found


def _needs(wanted: Requirement) -> Iterator[Requirement]:
    for line in metadata.requires(wanted.name) or ():
        each = Requirement(line)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in (*wanted.extras, "")):
            yield each


def hidden_with(extra: str) -> list[str]:
    """Top-level modules that nothing of this extra brings."""
    kept = closure(extra)
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonical(each) for each in owners} & {*kept, OURS} and module.isidentifier()
    ]


def run(extra: str, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDING + code, json.dumps(hidden_with(extra))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_with_the_extra_ops_alone_every_command_explains_itself() -> None:
    code = f"""
from ops import start
for command in {COMMANDS!r}:
    sys.argv = ["writeback", *command.split(), "--help"]
    try:
        start.main()
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
"""
    ran = run("ops", code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Usage: writeback") == len(COMMANDS)


@pytest.mark.parametrize("extra", ["planner", "simulator"])
def test_without_it_writeback_says_what_to_install(extra: str) -> None:
    ran = run(extra, "from ops import start\nsys.argv = ['writeback', 'status']\nstart.main()\n")
    assert ran.returncode == 78, ran.stderr
    assert "install the extra `ops`" in ran.stderr
    assert ran.stderr.count("\n") == 1

"""What the planner's private ties to other libraries ask of an installation."""

import re
import tomllib
from pathlib import Path

from planner.stream.libraries import TESTED, untested

ROOT = Path(__file__).parents[3]


def test_who_installs_without_the_lock_gets_the_versions_the_planner_was_tested_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    exact = dict(each.split("==") for each in project["optional-dependencies"]["planner"] if "==" in each)
    assert exact == TESTED


def test_the_lock_names_the_versions_the_planner_was_tested_with():
    for lock in ("planner", "demo", "test"):
        locked = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE))
        assert {name: locked[name] for name in TESTED} == TESTED


def test_it_knows_every_library_whose_private_parts_it_uses():
    """Those of Faust are Faust's, mode's and aiokafka's; all that is imported of them is imported from these."""
    imported = set()
    for module in (ROOT / "planner").rglob("*.py"):
        imported |= set(re.findall(r"^(?:from|import) (faust|mode|aiokafka)\b", module.read_text(), re.MULTILINE))
    assert imported <= {name.removesuffix("-streaming") for name in TESTED}


def test_another_version_is_named_with_the_tested_one_and_the_way_to_get_it():
    assert untested(TESTED.__getitem__) == []
    (problem,) = untested(lambda name: "0.16.0" if name == "faust-streaming" else TESTED[name])
    assert "faust-streaming 0.16.0 is installed" in problem
    assert "install faust-streaming==0.15.3" in problem


def test_the_distribution_cannot_be_uploaded_by_accident():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]

"""What an environment holds, compared with lock files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from packaging.markers import Marker

from tests.integration.deploy.registry import canonical, pins

OURS = "dataverse-writeback"
BY_VENV = {"setuptools"}
"""The venv module of Python 3.11 brings it unasked."""


def installed_in(environment: Path) -> tuple[dict[str, str], Mapping[str, str]]:
    """What is there, by name; and the environment's values for markers."""
    ask = """
        import importlib.metadata, json, os, platform, sys
        print(json.dumps([
            {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()},
            {"python_version": "%d.%d" % sys.version_info[:2], "python_full_version": platform.python_version()},
        ]))
    """
    ran = subprocess.run([environment / "bin/python", "-Ic", dedent(ask)], capture_output=True, text=True, check=True)
    found, values = json.loads(ran.stdout)
    return {canonical(name): there for name, there in found.items()}, values


def assert_only_what_is_locked(environment: Path, *locks: Path, own: bool = True, by_venv: set[str] = BY_VENV) -> None:
    found, values = installed_in(environment)
    locked = {
        canonical(pin.name): pin.version
        for lock in locks
        for pin in pins(lock)
        if not pin.marker or Marker(pin.marker).evaluate(dict(values))
    }
    assert (found.pop(OURS, None) is not None) == own
    assert {name: there for name, there in found.items() if name not in by_venv - locked.keys()} == locked

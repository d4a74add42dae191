"""The libraries whose private parts the planner uses.

Each of them is pinned exactly in pyproject.toml, since what is private may change with any release.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

TESTED = {"aiokafka": "0.14.0", "faust-streaming": "0.15.3", "mode-streaming": "0.7.1"}


def untested(installed: Callable[[str], str] = version) -> list[str]:
    """A sentence for each library that is there in another version than the tested one."""
    return [
        f"{name} {there} is installed, the planner was tested with {tested} and relies on its private parts; "
        f"install {name}=={tested}"
        for name, tested in TESTED.items()
        if (there := installed(name)) != tested
    ]

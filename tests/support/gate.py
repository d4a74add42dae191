"""What the coverage gate counts: what unit tests reach, whatever else runs in the same run.

A branch of a core that only a process with a broker reaches is a branch that no unit test proves.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

COUNTED = Path("tests/unit")


def _measuring(config: pytest.Config) -> Any:
    """What pytest-cov measures with; None if it does not."""
    return getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """A worker of xdist measures twice: pytest-cov forgets its first collector there when it starts the worker's own.
    The first would go on while that one rests, for no figures, and everything would take twice as long.
    """
    if hasattr(session.config, "workerinput") and (first := _measuring(session.config)) is not None:
        first.pause()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage rests while a test of another tier runs, its fixtures included."""
    measuring = _measuring(item.config)
    if measuring is None or item.path.is_relative_to(item.config.rootpath / COUNTED):
        return (yield)
    measuring.pause()
    try:
        return (yield)
    finally:
        measuring.resume()

"""What the coverage gate counts: what unit tests reach, whatever else runs in the same run.

A branch of a core that only a process with a broker reaches is a branch that no unit test proves.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

COUNTED = Path("tests/unit")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage rests while a test of another tier runs, its fixtures included."""
    measuring = getattr(item.config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    if measuring is None or item.path.is_relative_to(item.config.rootpath / COUNTED):
        return (yield)
    measuring.pause()
    try:
        return (yield)
    finally:
        measuring.resume()

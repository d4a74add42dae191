from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.forkserver import ForkServer


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Starts planners and writers, for all tests of this process."""
    with ForkServer() as server:
        yield server

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from simulator.testing import RunningSimulator
from tests.integration.writer.conftest import desk, embedded, simulator, topic
from tests.integration.writer.kit import writer_env

__all__ = ["desk", "embedded", "simulator", "topic"]

Writers = Callable[..., Service]


@pytest.fixture
def writers(tmp_path: Path, simulator: RunningSimulator, embedded: EmbeddedBroker) -> Iterator[Writers]:
    """Makes writer processes; all are gone when the test ends."""
    numbers = itertools.count()
    with ExitStack() as ending:

        def make(**settings: str) -> Service:
            name = f"writer-{next(numbers)}"
            env = writer_env(simulator, embedded.bootstrap, WRITER_INSTANCE_ID=name, **settings)
            service = Service(module("writer"), env=env, output=tmp_path / name)
            ending.callback(service.kill)
            return service

        yield make

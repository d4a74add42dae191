from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from schemas.topics import Topics
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.kit import Desk, Topic

PARTITIONS = 3


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


@pytest.fixture
def desk(simulator: RunningSimulator) -> Desk:
    return Desk(simulator)


@pytest.fixture
def embedded(start_embedded_kafka: Callable[..., EmbeddedBroker]) -> EmbeddedBroker:
    return start_embedded_kafka({topic.name: PARTITIONS for topic in Topics().all()}, session_timeout_ms=1_500)


@pytest.fixture
def topic(embedded: EmbeddedBroker) -> Topic:
    return Topic(embedded.bootstrap, PARTITIONS)

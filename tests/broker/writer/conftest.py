"""Writers as processes on a real Kafka, with the simulator as their CRM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.demo.processes import Service, module
from schemas.topics import Topics
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.kit import Topic, writer_env
from tests.support.brokers.kafka import RealKafka

PARTITIONS = 2
Writers = Callable[..., Service]


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


@pytest.fixture
def topic(kafka: RealKafka) -> Topic:
    prefix = kafka.unique("writer") + "."
    create(kafka, prefix)
    return Topic(kafka.bootstrap, PARTITIONS, prefix)


def prefix_of(topic: Topic) -> str:
    return topic.topics.planned_writebacks.name.removesuffix("planned-writebacks")


def create(kafka: RealKafka, prefix: str, *, config: Mapping[str, str] | None = None, wider: str = "") -> None:
    for spec in Topics().prefixed(prefix).all():
        partitions = PARTITIONS + 1 if wider and spec.name.endswith(wider) else PARTITIONS
        kafka.create_topic(spec.name, partitions, {**spec.creation_config(), **(config or {})})


@pytest.fixture
def writers(tmp_path: Path, simulator: RunningSimulator, kafka: RealKafka) -> Iterator[Writers]:
    with ExitStack() as ending:

        def make(name: str, prefix: str, **settings: str) -> Service:
            given = {
                "WRITER_BROKER__TOPIC_PREFIX": prefix,
                "WRITER_BROKER__CHECK_TOPIC_POLICIES": "true",
                "WRITER_TRANSACTIONS": "true",
                "WRITER_INSTANCE_ID": name,
                "WRITER_CONSUMER__SESSION_TIMEOUT_MS": "6000",
            }
            env = writer_env(simulator, kafka.bootstrap, **given | settings)
            service = Service(module("writer"), env=env, output=tmp_path / name)
            ending.callback(service.kill)
            return service

        yield make

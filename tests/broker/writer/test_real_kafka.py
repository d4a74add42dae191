"""The writer on a real Kafka: it resumes where it had committed, and refuses topics that are not as promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.processes import Service, module
from ops.waiting import wait_until
from schemas.records import Disposition
from schemas.topics import Topics
from simulator.testing import RunningSimulator, running_simulator
from tests.brokers.kafka import RealKafka
from tests.checker import findings, writes
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env

PARTITIONS, ITEMS, ROUNDS = 2, 30, 2
MISCONFIGURED = 78
SLOW = {"when": {"path": r"\$batch"}, "times": None, "do": [{"kind": "latency", "seconds": 0.05}]}
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


def create(kafka: RealKafka, prefix: str, *, config: Mapping[str, str] | None = None, wider: str = "") -> None:
    for spec in Topics().prefixed(prefix).all():
        partitions = PARTITIONS + 1 if wider and spec.name.endswith(wider) else PARTITIONS
        kafka.create_topic(spec.name, partitions, {**spec.creation_config(), **(config or {})})


@pytest.fixture
def writers(tmp_path: Path, simulator: RunningSimulator, kafka: RealKafka) -> Iterator[Writers]:
    with ExitStack() as ending:

        def make(name: str, prefix: str, **settings: str) -> Service:
            env = writer_env(
                simulator,
                kafka.bootstrap,
                WRITER_BROKER__TOPIC_PREFIX=prefix,
                WRITER_BROKER__CHECK_TOPIC_POLICIES="true",
                WRITER_INSTANCE_ID=name,
                WRITER_CONSUMER__SESSION_TIMEOUT_MS="6000",
                **settings,
            )
            service = Service(module("writer"), env=env, output=tmp_path / name)
            ending.callback(service.kill)
            return service

        yield make


def landed(simulator: RunningSimulator) -> int:
    log = writes(simulator.oplog(actor="application"))
    return sum(entry["outcome"] == "committed" and entry["table"] == "medx_callqueueitem" for entry in log)


@pytest.mark.parametrize("protocol", ["auto", "classic"])
def test_W2_a_killed_writer_resumes_from_its_committed_offset(
    simulator: RunningSimulator, topic: Topic, writers: Writers, protocol: str
) -> None:
    desk = Desk(simulator)
    items = [seed_item(simulator) for _ in range(ITEMS)]
    plans = [desk.plan(item, Disposition.CALL_BACK_LATER) for _ in range(ROUNDS) for item in items]
    prefix, group = topic.topics.planned_writebacks.name.removesuffix("planned-writebacks"), "writeback-writer"
    simulator.fault(**SLOW)
    topic.publish(*plans)
    writer = writers("writer-0", prefix, WRITER_CONSUMER__PROTOCOL=protocol).start()
    for share in (0.2, 0.5):
        wait_until(lambda share=share: landed(simulator) >= len(plans) * share, what="some landed", every=0.02)
        writer.kill()
        writer.start()
    topic.wait_for_committed(len(plans), group=prefix + group)
    assert findings(simulator.oplog(), plans, topic.results()) == []
    assert landed(simulator) == len(plans)
    spoken = {event["protocol"] for event in writer.events(event="partitions.assigned")}
    assert spoken == {"consumer" if protocol == "auto" else "classic"}
    assert writer.stop() == 0


def test_the_writer_refuses_topics_with_the_wrong_policy_or_partition_count_naming_both(
    kafka: RealKafka, writers: Writers
) -> None:
    prefix = kafka.unique("unfit") + "."
    create(kafka, prefix, config={"cleanup.policy": "delete"}, wider="writeback-results")
    writer = writers("writer-0", prefix).start()
    assert writer.wait() == MISCONFIGURED
    said = writer.tail()
    assert "planned-writebacks has cleanup.policy=delete; it must be compact" in said
    assert "must have the same number of partitions" in said

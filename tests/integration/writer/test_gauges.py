"""No gauge says more than was heard: what an operator sees while the broker is frozen, away, or gives us nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.topics import Topics
from simulator.testing import RunningSimulator
from tests.integration.writer.inprocess import RunningWriter, running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from writer import health, service

PARTITIONS = 3
HEARD, CAUGHT_UP = "writeback_broker_heard_timestamp_seconds", "writeback_caught_up_timestamp_seconds"
OLDEST = "writeback_oldest_unsettled_plan_age_seconds"


@pytest.fixture
def frozen_able(tmp_path: Path) -> Iterator[tuple[Service, Topic]]:
    """An embedded broker as a process of its own, which can be paused."""
    topics = ",".join(f"{topic.name}:{PARTITIONS}" for topic in Topics().all())
    port_file = tmp_path / "bootstrap"
    command = module("ops.demo.embedded_broker", "--topics", topics, "--port-file", str(port_file))
    broker = Service(command, env={}, output=tmp_path / "broker").start(lambda _: port_file.exists())
    try:
        yield broker, Topic(port_file.read_text(), PARTITIONS)
    finally:
        broker.kill()


def is_ready(writer: RunningWriter) -> bool:
    assert writer.service
    parts = writer.service.parts
    return health.Health(writer.service, parts.pool, parts.facts, write=True).ready().ok


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker counts as silent after two seconds instead of thirty."""
    monkeypatch.setattr(service, "BROKER_SILENT_S", 2.0)
    monkeypatch.setattr(health, "BROKER_SILENT_S", 2.0)


def test_an_operator_sees_a_frozen_broker_on_every_gauge_that_speaks_of_the_topic(
    simulator: RunningSimulator, frozen_able: tuple[Service, Topic]
) -> None:
    broker, topic = frozen_able
    desk = Desk(simulator)
    topic.publish(*(desk.plan(seed_item(simulator)) for _ in range(5)))
    with running_writer(writer_env(simulator, topic.bootstrap)) as writer:
        topic.wait_for_committed(5)
        wait_until(lambda: is_ready(writer) and writer.metric(CAUGHT_UP) > 0, what="the writer is ready")
        wait_until(lambda: writer.metric(OLDEST) == 0, what="nothing is old")
        broker.pause()
        # What it had answered before may still be on its way to a busy writer.
        wait_until(lambda: writer.metric(OLDEST) > 3, what="the oldest age grows")
        heard, caught_up, age = writer.metric(HEARD), writer.metric(CAUGHT_UP), writer.metric(OLDEST)
        wait_until(lambda: writer.metric(OLDEST) > age + 1, what="the oldest age grows on")
        assert (writer.metric(HEARD), writer.metric(CAUGHT_UP)) == (heard, caught_up)
        assert not is_ready(writer)
        broker.resume()
        wait_until(lambda: is_ready(writer) and writer.metric(HEARD) > heard, what="the broker is heard again")
        wait_until(lambda: writer.metric(OLDEST) == 0, what="nothing is old")


def test_an_operator_sees_a_broker_that_is_away_and_what_was_appended_meanwhile(
    simulator: RunningSimulator, desk: Desk, topic: Topic, embedded: EmbeddedBroker
) -> None:
    with running_writer(writer_env(simulator, topic.bootstrap)) as writer:
        wait_until(lambda: is_ready(writer) and writer.metric(CAUGHT_UP) > 0, what="the writer is ready")
        embedded.broker_down()
        wait_until(lambda: not is_ready(writer), what="the writer is not ready")
        wait_until(lambda: writer.metric(OLDEST) > 2, what="the oldest age grows")
        caught_up, age = writer.metric(CAUGHT_UP), writer.metric(OLDEST)
        wait_until(lambda: writer.metric(OLDEST) > age + 1, what="the oldest age grows on")
        assert writer.metric(CAUGHT_UP) == caught_up
        embedded.broker_up()
        topic.publish(desk.plan(seed_item(simulator)))
        topic.wait_for_committed(1)
        wait_until(lambda: writer.metric(CAUGHT_UP) > caught_up, what="everything has landed")


def test_an_operator_sees_a_writer_without_partitions_and_every_rebalance(
    simulator: RunningSimulator, topic: Topic
) -> None:
    env = writer_env(simulator, topic.bootstrap)
    with running_writer(env) as first:
        wait_until(lambda: first.metric("writeback_assigned_partitions") == PARTITIONS, what="the first has all")
        with running_writer(env), running_writer(env), running_writer(env) as last:
            wait_until(lambda: first.metric("writeback_rebalances_total", what="released") > 0, what="it gave some up")
            wait_until(lambda: last.metric(HEARD) > 0, what="the last has heard of the broker")
            if last.metric("writeback_assigned_partitions") == 0:
                assert math.isnan(last.metric(CAUGHT_UP))
        assert first.metric("writeback_rebalances_total", what="assigned") > 0

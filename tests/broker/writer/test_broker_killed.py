"""A broker that is killed and comes back: a writer with transactions goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.demo.waiting import wait_until
from simulator.testing import RunningSimulator
from tests.broker.security.conftest import wait_for_readiness
from tests.broker.writer.conftest import Writers, create
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.servers import Kafka
from tests.support.checker import findings

PREFIX = "mortal."


@pytest.fixture
def mortal(kafka: RealKafka, tmp_path: Path) -> Iterator[Kafka]:
    """A broker of this test's own."""
    if kafka.source != "maven":
        pytest.skip("only a broker that this machine starts can be killed")
    (work := tmp_path / "kafka").mkdir()
    broker = Kafka(work)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def test_W6_a_writer_goes_on_by_itself_when_its_broker_was_killed_and_is_back(
    simulator: RunningSimulator, mortal: Kafka, writers: Writers
) -> None:
    """librdkafka may lose the calls that were under way: for the ends of logs, and for a transaction's offsets."""
    create(RealKafka(mortal.bootstrap, mortal.secure, source="maven"), PREFIX)
    desk, topic = Desk(simulator), Topic(mortal.bootstrap, 2, PREFIX)
    writer = writers("writer-0", PREFIX, WRITER_BROKER__BOOTSTRAP_SERVERS=mortal.bootstrap).start(
        lambda running: running.has_written('"partitions.assigned"')
    )
    plans = [desk.plan(seed_item(simulator)) for _ in range(2)]
    topic.publish(plans[0])
    wait_until(lambda: len(topic.results()) == 1, what="the first plan has its result", every=0.5)
    wait_for_readiness(writer, 200)
    mortal.kill()
    wait_for_readiness(writer, 503)
    mortal.start()
    topic.publish(plans[1])
    wait_until(lambda: len(topic.results()) == 2, what="the second plan has its result", every=0.5)
    wait_for_readiness(writer, 200)
    assert findings(simulator.oplog(), plans, topic.results()) == []
    assert writer.stop() == 0

"""The writer on a real Kafka: it resumes where it had committed, and refuses topics that are not as promised."""

from __future__ import annotations

import pytest

from ops.demo.waiting import wait_until
from schemas.records import Disposition
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, create
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.brokers.kafka import RealKafka
from tests.support.checker import findings, writes

ITEMS, ROUNDS = 30, 2
MISCONFIGURED = 78
SLOW = {"when": {"path": r"\$batch"}, "times": None, "do": [{"kind": "latency", "seconds": 0.05}]}


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

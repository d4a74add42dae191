"""W2: a topic that is replayed changes nothing where everything settled before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import Producer

from ops.demo.waiting import wait_until
from planner.core.retirement import mark_of
from schemas.codec import single_object
from schemas.placement import partition_of
from schemas.records import BlockReason, Decision, Disposition, PlannedWriteback, ResultStatus, WritebackResult
from simulator.testing import RunningSimulator
from tests.integration.writer.inprocess import RunningWriter, running_writer
from tests.integration.writer.kit import DISPOSITIONS, Desk, Topic, seed_item, writer_env
from tests.integration.writer.test_drift import broken
from tests.support.checker import writes
from tests.support.factories import NOON, make_result

FIRST, AGAIN = "writeback-writer", "writeback-again"


def env(simulator: RunningSimulator, topic: Topic, group: str = FIRST) -> dict[str, str]:
    """A group that has committed nothing reads everything from the start; nobody can set offsets back here by hand."""
    return writer_env(simulator, topic.bootstrap, WRITER_CONSUMER__GROUP=group)


def close(topic: Topic, plan: PlannedWriteback) -> None:
    """What `resolve --leave` publishes."""
    decision = Decision(what="left", by="kim", reason="the item is a test", at=NOON)
    closed = replace(make_result(status=ResultStatus.CLOSED, session_id=plan.session_id, steps=()), decision=decision)
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    partition = partition_of(plan.queue_item_id.encode(), topic.partitions)
    name = topic.topics.writeback_results.name
    producer.produce(name, single_object(WritebackResult).encode(closed), plan.session_id.encode(), partition)
    assert producer.flush(20) == 0


@pytest.mark.parametrize("edited", [False, True], ids=["row as it was", "row edited"])
def test_W2_calls_that_were_deleted_after_landing_are_not_made_again_by_a_replay(
    simulator: RunningSimulator, desk: Desk, topic: Topic, *, edited: bool
) -> None:
    plans = [desk.plan(seed_item(simulator), disposition) for disposition in DISPOSITIONS]
    topic.publish(*plans)
    with running_writer(env(simulator, topic)):
        topic.wait_for_committed(len(plans))
    told = len(topic.results())
    for entity_set, key in (("phonecalls", "activityid"), ("tasks", "activityid")):
        for row in simulator.rows(entity_set):
            simulator.edit(entity_set, row[key], None)
    if edited:
        for plan in plans:
            simulator.edit("medx_callqueueitems", plan.queue_item_id, {"medx_lastsessionid": None, "medx_notes": "new"})
    written = len(writes(simulator.oplog(actor="application")))
    with running_writer(env(simulator, topic, AGAIN)) as writer:
        topic.wait_for_committed(len(plans), group=AGAIN)
        assert writer.metric("writeback_settled_before_total") == len(plans)
    assert len(writes(simulator.oplog(actor="application"))) == written, "nothing was even tried"
    assert simulator.rows("phonecalls") == []
    assert len(topic.results()) == told, "and nothing is said again"


def test_W2_what_a_person_closed_is_not_sent_by_a_replay(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    closed, other = (desk.plan(seed_item(simulator), Disposition.NO_ANSWER) for _ in range(2))
    close(topic, closed)
    topic.publish(closed, other)
    with running_writer(env(simulator, topic, AGAIN)):
        topic.wait_for_committed(2, group=AGAIN)
    assert desk.row(closed.queue_item_id)["medx_lastsessionid"] is None
    assert desk.row(other.queue_item_id)["medx_lastsessionid"] == other.session_id


def test_W2_resume_needed_does_not_follow_a_final_result_when_a_topic_is_replayed_in_an_outage(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item, Disposition.NO_ANSWER)
    simulator.edit("medx_callqueueitems", item, {"medx_notes": "a person was faster"})
    topic.publish(plan)
    with running_writer(env(simulator, topic)):
        topic.wait_for_committed(1)
    assert [result.status for result in topic.results()] == [ResultStatus.BLOCKED]
    away = simulator.fault(when={"path": r"\$batch"}, times=None, do=[{"kind": "status", "status": 503}])
    with running_writer(env(simulator, topic, AGAIN)) as writer:
        wait_until(lambda: _trouble_told(writer), what="the retry budget is over")
        assert [result.status for result in topic.results()] == [ResultStatus.BLOCKED]
        simulator.call(lambda core: core.rules.remove(away))
        topic.wait_for_committed(1, group=AGAIN)
    assert [result.status for result in topic.results()] == [ResultStatus.BLOCKED] * 2


def test_W2_a_replay_that_metadata_blocks_does_not_deny_the_call_that_a_conflict_had_recorded(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item, Disposition.NO_ANSWER)
    simulator.edit("medx_callqueueitems", item, {"medx_notes": "a person was faster"})
    topic.publish(plan)
    with running_writer(env(simulator, topic)):
        topic.wait_for_committed(1)
        topic.publish(broken(plan))
        topic.wait_for_committed(2)
    conflict, blocked = topic.results()
    assert (conflict.block_reason, blocked.block_reason) == (BlockReason.CONFLICT_DETECTED, BlockReason.METADATA)
    assert str(blocked.message).startswith("Nothing more was written (the call itself is recorded")


def _trouble_told(writer: RunningWriter) -> bool:
    """Once for each plan, with a result or without."""
    return writer.metric("writeback_retried_after_result_total") > 0


def test_W2_the_mark_of_a_retired_session_is_nothing_to_do_for_a_writer_that_reads_it(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    """Whatever became of the session's result meanwhile, and with a plan of the same queue item behind it."""
    item = seed_item(simulator)
    retired, behind = desk.plan(item), desk.plan(item)
    topic.publish(mark_of(retired, NOON), behind)
    with running_writer(env(simulator, topic)):  # which requeues the one behind once: the retired one may still come
        topic.wait_for_committed(3)
    assert [result.session_id for result in topic.results()] == [behind.session_id]
    assert topic.read(topic.topics.planned_writebacks_rejected.name) == []
    assert desk.row(item)["medx_lastsessionid"] == behind.session_id
    assert len(simulator.rows("phonecalls")) == 1

"""W2 on a real Kafka: no result ever becomes less true. Results and offsets are one transaction under the generation of
the consumer group, so a writer that lost its partitions cannot say anything about them any more.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest

from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from schemas.records import Disposition, PlannedWriteback, ResultStatus
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.checker import findings, writes

AWAY = {"when": {"path": r"\$batch", "body": "PATCH "}, "times": None, "do": [{"kind": "status", "status": 503}]}
SLOW = {"when": {"path": r"\$batch"}, "times": None, "do": [{"kind": "latency", "seconds": 0.05}]}
FINAL = {ResultStatus.COMPLETED, ResultStatus.BLOCKED, ResultStatus.CLOSED}
GROUP = "writeback-writer"


def some_plans(simulator: RunningSimulator, *, items: int, rounds: int = 1) -> list[PlannedWriteback]:
    desk = Desk(simulator)
    all_items = [seed_item(simulator) for _ in range(items)]
    kinds = itertools.cycle((Disposition.NO_ANSWER, Disposition.CALL_BACK_LATER, Disposition.VOICEMAIL))
    return [desk.plan(item, next(kinds)) for _ in range(rounds) for item in all_items]


def landed(simulator: RunningSimulator) -> int:
    log = writes(simulator.oplog(actor="application"))
    return sum(entry["outcome"] == "committed" and entry["table"] == "medx_callqueueitem" for entry in log)


def last_words(topic: Topic) -> dict[str, ResultStatus]:
    return {result.session_id: result.status for result in topic.results()}


def probes(writer: Service) -> bool:
    """In an outage one plan at a time is tried, seconds after the others."""
    times = [datetime.fromisoformat(event["timestamp"]) for event in writer.events(event="plans.sent")]
    return bool(times) and max(times) - min(times) > timedelta(seconds=1)


def has_understood(writer: Service) -> bool:
    return writer.has_written("partitions.lost") or writer.has_written("partitions.released")


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_W2_a_writer_that_slept_through_a_rebalance_says_nothing_about_what_another_one_landed(
    simulator: RunningSimulator, topic: Topic, writers: Writers, protocol: str
) -> None:
    plans = some_plans(simulator, items=12)
    away = simulator.fault(**AWAY)
    topic.publish(*plans)
    late = writers("late", prefix_of(topic), WRITER_CONSUMER__PROTOCOL=protocol).start()
    late.wait_for(lambda: probes(late), what="the late writer takes it for an outage, and has nothing under way")
    late.pause()
    simulator.call(lambda core: core.rules.remove(away))
    other = writers("other", prefix_of(topic), WRITER_CONSUMER__PROTOCOL=protocol).start()
    wait_until(
        lambda: set(last_words(topic).values()) == {ResultStatus.COMPLETED} and len(last_words(topic)) == len(plans),
        what="the other one has landed all", seconds=90, every=0.5,
    )  # fmt: skip
    late.resume()
    late.wait_for(lambda: has_understood(late), what="the late writer has understood", seconds=60)
    assert late.stop() == 0
    assert other.stop() == 0
    assert set(last_words(topic).values()) == {ResultStatus.COMPLETED}
    assert findings(simulator.oplog(), plans, topic.results()) == []


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_W1_after_a_kill_the_committed_offsets_say_exactly_which_plans_have_results(
    simulator: RunningSimulator, topic: Topic, writers: Writers, protocol: str
) -> None:
    plans = some_plans(simulator, items=30, rounds=4)
    simulator.fault(**SLOW | {"do": [{"kind": "latency", "seconds": 0.3}]})
    topic.publish(*plans)
    group = prefix_of(topic) + GROUP
    places = {
        message.key().decode(): (message.partition(), message.offset())
        for message in topic.read(topic.topics.planned_writebacks.name)
    }
    writer = writers("writer-0", prefix_of(topic), WRITER_CONSUMER__PROTOCOL=protocol)
    for share in (0.2, 0.6):
        writer.start()
        wait_until(
            lambda share=share: landed(simulator) >= len(plans) * share, what="some landed", seconds=60, every=0.01
        )
        writer.kill()
        settled = topic.settled(group)  # waits for a transaction that the kill left open
        told = {places[session] for session, status in last_words(topic).items() if status in FINAL}
        assert settled == told
    writer.start()
    topic.wait_for_committed(len(plans), group=group, seconds=90)
    assert len(topic.results()) == len(plans), "each was told once"
    assert findings(simulator.oplog(), plans, topic.results()) == []
    assert writer.stop() == 0


def test_B2_sigterm_ends_the_open_transaction_and_leaves_nothing_to_look_at_again(
    simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    plans = some_plans(simulator, items=30, rounds=3)
    simulator.fault(**SLOW)
    topic.publish(*plans)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(lambda: len(last_words(topic)) >= len(plans) // 3, what="some settled", seconds=60)
    assert writer.stop() == 0
    assert len(topic.settled(prefix_of(topic) + GROUP)) == len(topic.results())
    assert not writer.has_written("released_unfinished")
    writer.start()
    topic.wait_for_committed(len(plans), group=prefix_of(topic) + GROUP, seconds=60)
    assert len(topic.results()) == len(plans)
    assert writer.stop() == 0

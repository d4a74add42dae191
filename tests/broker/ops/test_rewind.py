"""`rewind` on a real broker: shown first, refused while active, recorded, undone; and what a writer does after it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from ops.demo.waiting import wait_until
from schemas.records import ResultStatus
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.brokers.kafka import RealKafka
from tests.support.checker import writes

WHY = ("--for-real", "--reason", "the row was put right")


@pytest.fixture
def group(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> str:
    prefix = prefix_of(topic)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix)
    return f"{prefix}writeback-writer"


def offsets(kafka: RealKafka, group: str, topic: Topic) -> dict[int, tuple[int, str]]:
    found: dict[int, TopicPartition] = kafka.committed(group, topic.topics.planned_writebacks.name)
    return {partition: (part.offset, part.metadata or "") for partition, part in found.items()}


def test_a_group_is_set_back_and_put_back_and_whatever_landed_stays_landed(
    kafka: RealKafka, simulator: RunningSimulator, topic: Topic, writers: Writers, group: str, tmp_path: Path
) -> None:
    desk = Desk(simulator)
    items = [seed_item(simulator) for _ in range(4)]
    landed, (blocked, *_) = [desk.plan(item) for item in items[1:]], [desk.plan(items[0])]
    simulator.edit("medx_callqueueitems", items[0], {"medx_notes": "a person was faster"})
    topic.publish(blocked, *landed)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(lambda: len(topic.results()) == 4, what="all have a result")
    wait_until(lambda: writeback("list", "--unsettled", "--json").out == "", what="all are committed")

    active = writeback("rewind", "writer", "--to-start", *WHY)
    assert active.code == 1
    assert "is active: stop its service first" in active.err
    assert writer.stop() == 0
    before = offsets(kafka, group, topic)

    shown = writeback("rewind", "writer", "--to-start")
    assert shown.code == 0, shown.err
    assert "3 sessions recognised, without a request" in shown.out
    assert "1 session tried again" in shown.out
    assert "nothing was moved" in shown.err
    assert offsets(kafka, group, topic) == before, "without --for-real it is only shown"

    export = tmp_path / "offsets.json"
    done = writeback("rewind", "writer", "--to-start", *WHY, "--export", str(export), "--json")
    assert (done.code, done.json[0]["moved"], done.json[0]["cost"]) == (0, True, {"recognised": 3, "tried_again": 1})
    assert {offset for offset, _ in offsets(kafka, group, topic).values()} == {0}
    assert len(writeback("list", "--unsettled", "--json").json) == 4
    [recorded] = [json.loads(each.value()) for each in topic.read(topic.topics.operator_actions.name)]
    assert (recorded["action"], recorded["about"], recorded["why"]) == ("rewind", group, "the row was put right")
    assert "@" in recorded["who"]
    assert json.loads(export.read_text())["before"] == recorded["details"]["before"]

    preview = writeback("rewind", "writer", "--undo")
    assert "recognised" not in preview.out, "nothing is read again by an undo"
    assert "more partition" not in preview.out
    undone = writeback("rewind", "writer", "--undo", *WHY)
    assert undone.code == 0, undone.err
    assert offsets(kafka, group, topic) == before, "offsets and their notes"
    assert writeback("list", "--unsettled", "--json").out == ""
    again = writeback("rewind", "writer", "--undo", *WHY)
    assert (again.code, "was undone already, by" in again.err) == (1, True), "who undid it, and when"

    assert writeback("rewind", "writer", "--to-time", "1h", *WHY).code == 0
    written = len(writes(simulator.oplog(actor="application")))
    simulator.edit("medx_callqueueitems", items[0], {"medx_notes": None})
    writer.start()
    wait_until(lambda: writeback("list", "--unsettled", "--json").out == "", what="all are read again")
    assert writer.stop() == 0
    undone = writeback("rewind", "writer", "--undo", *WHY)
    assert (undone.code, "it has caught up with the offsets from before again" in undone.out) == (0, True)
    assert {result.session_id for result in topic.results() if result.status is ResultStatus.COMPLETED} == {
        each.session_id for each in (blocked, *landed)
    }
    committed = [
        entry for entry in writes(simulator.oplog(actor="application"))[written:] if entry["outcome"] == "committed"
    ]
    assert {entry["table"] for entry in committed} == {"medx_callqueueitem"}, "only what was blocked was written"


def test_an_undo_leaves_out_the_partitions_that_got_further_since_and_says_how_many(
    kafka: RealKafka, topic: Topic, group: str
) -> None:
    def commit(wanted: dict[int, int]) -> None:
        name = topic.topics.planned_writebacks.name
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
        consumer.commit(offsets=[TopicPartition(name, *each) for each in wanted.items()], asynchronous=False)
        consumer.close()

    for partition in (0, 0, 1, 1):
        topic.publish_raw(b"sess-1", b"not a plan", partition)
    commit({0: 1, 1: 1})
    assert writeback("rewind", "writer", "--to-start", *WHY).code == 0
    commit({1: 2})
    shown = writeback("rewind", "writer", "--undo")
    assert (shown.code, "1 more partition caught up again, and not moved" in shown.out) == (0, True)
    undone = writeback("rewind", "writer", "--undo", *WHY, "--json")
    assert (undone.code, undone.json[0]["partitions"]) == (0, [{"partition": 0, "from": 0, "to": 1}])
    assert offsets(kafka, group, topic) == {0: (1, ""), 1: (2, "")}
    again = writeback("rewind", "writer", "--undo", *WHY)
    assert (again.code, "was undone already, by" in again.err) == (1, True), "the rewind is undone as a whole"


def test_a_group_is_never_set_ahead_and_a_time_after_everything_moves_nothing(
    kafka: RealKafka, simulator: RunningSimulator, topic: Topic, group: str
) -> None:
    desk = Desk(simulator)
    topic.publish(*(desk.plan(seed_item(simulator)) for _ in range(3)))
    now = datetime.now(UTC).isoformat()
    none = writeback("rewind", "writer", "--to-offset", "0:99", "--to-offset", "1:99", *WHY)
    assert (none.code, "nothing to move" in none.out) == (0, True)
    assert writeback("rewind", "writer", "--to-time", now, *WHY).code == 0
    assert offsets(kafka, group, topic) == {}
    assert topic.read(topic.topics.operator_actions.name) == [], "what changed nothing is not recorded"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of --to-time, --to-offset, --to-start and --undo"),
        (["--to-start", "--undo"], "give one of"),
        (["--to-start", "--for-real"], "say why"),
        (["--to-offset", "3"], "give PARTITION:OFFSET"),
        (["--to-time", "soon"], "give a time such as"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback("rewind", "writer", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    assert said in ran.err

"""`replay` on a real broker, with a writer as a process: what it lands and leaves, and how it goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from ops import replay
from ops.actions import Sender
from ops.core.replaying import REPLAY
from ops.demo.waiting import wait_until
from runtime.broker import BrokerUnavailable
from schemas import headers
from schemas.records import Disposition, ResultStatus, WritebackResult
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Desk, Topic, baseline_of, seed_item

WHY = ("--for-real", "--reason", "the row was put right")


@pytest.fixture(autouse=True)
def _prefix(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))


def settled(count: int) -> Callable[[], bool]:
    def look() -> bool:
        listed = writeback("list", "--limit", "0", "--json").json
        return len(listed) == count and not any(row["unsettled"] for row in listed)

    return look


def last_results(topic: Topic) -> dict[str, WritebackResult]:
    return {result.session_id: result for result in topic.results()}


def rows_of(simulator: RunningSimulator) -> Counter[str]:
    return Counter({table: len(simulator.rows(table)) for table in ("phonecalls", "tasks", "medx_callqueueitems")})


def test_W2_everything_lands_and_replayed_twice_not_one_row_is_added_and_no_result_less_true(
    simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    desk = Desk(simulator)
    items = [seed_item(simulator) for _ in range(6)]
    conflict, foreign = seed_item(simulator), seed_item(simulator)
    calls = [desk.plan(item, kind) for item in items for kind in (Disposition.NO_ANSWER, Disposition.CALL_BACK_LATER)]
    opt_out, ineligible = desk.plan(items[0], Disposition.DO_NOT_CALL), desk.plan(items[1], Disposition.BLOCKED)
    stale = desk.plan(conflict, Disposition.CALL_BACK_LATER)
    gone = desk.plan(foreign, baseline=baseline_of(desk.row(foreign)))
    simulator.edit("medx_callqueueitems", conflict, {"medx_notes": "a person was faster"})
    simulator.edit("medx_callqueueitems", foreign, {"medx_notes": "here too"})
    every = [*calls, opt_out, ineligible, stale, gone]
    topic.publish(*every)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(settled(len(every)), what="all are settled")

    first, rows = last_results(topic), rows_of(simulator)
    assert {each.status for each in first.values()} == {ResultStatus.COMPLETED, ResultStatus.BLOCKED}
    for _ in range(2):
        ran = writeback("replay", *WHY, "--wait", "--json")
        assert ran.code == 1, ran.err
        assert ran.json[0]["count"] == len(every)
        assert ran.json[0]["recognised"] == len(every) - 2
        came = ran.json[-1]
        assert (came["sessions"], came["appended"], came["done"]) == (len(every), len(every), True)
        told: Counter[str] = Counter()
        for each in came["came"]:
            told[each["what"]] += each["sessions"]
        assert told == {"blocked, conflict_detected": 2, "no new result: it had landed before": len(every) - 2}
        assert rows_of(simulator) == rows, "not one more row"
        now = last_results(topic)
        for session, before in first.items():
            after = now[session]
            assert (after.status, after.block_reason) == (before.status, before.block_reason)
            assert after.conflicts == before.conflicts
            assert (after.first_settled_at or after.settled_at) == before.settled_at, "when it was first settled stays"
    assert writer.stop() == 0


def test_what_was_put_right_lands_and_the_later_unsettled_plans_of_its_item_follow_it(
    simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    desk = Desk(simulator)
    item = seed_item(simulator)
    blocked = desk.plan(item, Disposition.CALL_BACK_LATER)
    simulator.edit("medx_callqueueitems", item, {"medx_notes": "a person was faster"})
    topic.publish(blocked)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(settled(1), what="it is blocked")
    assert writer.stop() == 0
    simulator.edit("medx_callqueueitems", item, {"medx_notes": None})
    later = desk.plan(item, Disposition.NO_ANSWER)
    topic.publish(later)

    shown = writeback("replay", "--block-reason", "conflict_detected")
    assert shown.code == 0, shown.err
    assert "replay: 1 session, about 3 requests" in shown.out
    assert "1 later unsettled session of the same queue items, appended behind" in shown.out
    assert len(topic.read(topic.topics.planned_writebacks.name)) == 2, "without --for-real it is only shown"

    done = writeback("replay", "--block-reason", "conflict_detected", *WHY)
    assert done.code == 0, done.err
    assert "no writer is running now" in done.err
    records = topic.read(topic.topics.planned_writebacks.name)
    assert [each.key().decode() for each in records] == [blocked.session_id, later.session_id] * 2
    assert [each.value() for each in records[:2]] == [each.value() for each in records[2:]], "the same bytes"
    mark = json.loads(headers.last(records[2].headers(), headers.REPLAY) or b"")
    assert mark["why"] == "the row was put right"
    assert "@" in mark["by"]

    writer = writers("writer-1", prefix_of(topic)).start()
    wait_until(settled(2), what="both are settled")
    assert writer.stop() == 0
    assert {each.status for each in last_results(topic).values()} == {ResultStatus.COMPLETED}
    job = mark["job"]
    shown = writeback("replay", "--job", job)
    assert (shown.code, "2 of 2 settled" in shown.out) == (0, True)
    assert [each["action"] for each in actions(topic)] == ["replay", "replay sessions", "replay done"]


def actions(topic: Topic) -> list[dict[str, object]]:
    return [json.loads(each.value()) for each in topic.read(topic.topics.operator_actions.name)]


def test_a_replay_that_was_interrupted_goes_on_where_it_stopped_and_replays_nothing_planned_since(
    simulator: RunningSimulator, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(simulator)
    plans = [desk.plan(seed_item(simulator)) for _ in range(5)]
    topic.publish(*plans)
    writeback("list")
    commit_everything(topic)
    monkeypatch.setattr(replay, "REPLAY", replace(REPLAY, part=2))

    class Breaking(Sender):
        calls = 0

        def send(self, records):  # type: ignore[no-untyped-def]
            if any(each.topic == topic.topics.planned_writebacks.name for each in records):
                Breaking.calls += 1
                if Breaking.calls == 2:
                    raise BrokerUnavailable("cut off")
            return super().send(records)

    monkeypatch.setattr(replay, "Sender", Breaking)
    cut = writeback("replay", "--status", "passed_over", *WHY)
    assert cut.code == 69
    [job] = {str(each["about"]) for each in actions(topic)}
    assert f"`writeback replay --job {job} --for-real` goes on" in cut.err
    assert len(topic.read(topic.topics.planned_writebacks.name)) == 7
    shown = writeback("replay", "--job", job)
    assert "3 not appended yet" in shown.out

    topic.publish(desk.plan(seed_item(simulator)))
    assert writeback("replay", "--job", job, "--for-real").code == 0
    keys = Counter(each.key().decode() for each in topic.read(topic.topics.planned_writebacks.name))
    assert [keys.pop(each.session_id) for each in plans] == [2] * 5, "each once, whatever was cut"
    assert list(keys.values()) == [1], "what was planned since is not of this job"
    assert writeback("replay", "--job", job, "--for-real").code == 0
    assert len(topic.read(topic.topics.planned_writebacks.name)) == 11, "nothing is left to append"


def commit_everything(topic: Topic) -> None:
    """As a person who moved the group past all plans."""
    from confluent_kafka import Consumer, TopicPartition

    name = topic.topics.planned_writebacks.name
    consumer = Consumer({"bootstrap.servers": topic.bootstrap, "group.id": f"{prefix_of(topic)}writeback-writer"})
    ends = [
        TopicPartition(name, each, consumer.get_watermark_offsets(TopicPartition(name, each))[1])
        for each in range(topic.partitions)
    ]
    consumer.commit(offsets=[each for each in ends if each.offset], asynchronous=False)
    consumer.close()


def test_more_than_the_ceiling_is_refused_and_a_job_that_never_was_is_named(
    simulator: RunningSimulator, topic: Topic
) -> None:
    desk = Desk(simulator)
    topic.publish(*(desk.plan(seed_item(simulator)) for _ in range(3)))
    commit_everything(topic)
    refused = writeback("replay", "--limit", "2", *WHY)
    assert (refused.code, "give --limit 3" in refused.err) == (1, True)
    assert len(topic.read(topic.topics.planned_writebacks.name)) == 3
    assert actions(topic) == []
    unknown = writeback("replay", "--job", "nobody", "--for-real")
    assert (unknown.code, "there is no replay nobody" in unknown.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--for-real"], "say why"),
        (["--job", "1", "--status", "blocked"], "give no selectors"),
        (["--rate", "-1"], "invalid value for '--rate'"),
        (["--status", "lost"], "invalid value for '--status'"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback("replay", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    assert said in ran.err

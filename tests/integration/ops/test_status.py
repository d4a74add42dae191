"""`status`, `list`, `watch`: what planner and writer really left on the topics, as an operator sees it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.demo.waiting import wait_until
from ops.settings import read_settings
from ops.view.store import Store
from ops.view.view import opened
from schemas import headers
from schemas.codec import single_object
from schemas.records import BlockReason, Disposition, PlanPosition, ResultStatus, WritebackResult
from simulator.testing import RunningSimulator
from tests.integration.ops.kit import writeback
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.factories import make_plan, make_result


@pytest.fixture
def stories(simulator: RunningSimulator, desk: Desk, topic: Topic) -> dict[str, str]:
    """Session ids by what became of them: landed, conflict, opt-out that a person's change kept off its row, and two
    that no writer has seen: one of them an opt-out."""
    items = [seed_item(simulator) for _ in range(5)]
    landed, conflict = desk.plan(items[0]), desk.plan(items[1])
    lost = desk.plan(items[2], Disposition.DO_NOT_CALL, opt_out=True)
    simulator.edit("medx_callqueueitems", items[1], {"medx_notes": "a person was faster"})
    simulator.edit("medx_callqueueitems", items[2], {"medx_donotcall": True})
    simulator.edit("medx_callqueueitems", items[2], {"medx_donotcall": False, "medx_notes": "changed too"})
    simulator.edit("medx_callqueueitems", items[2], None)
    topic.publish(landed, conflict, lost)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(3)
    queued = desk.plan(items[3])
    queued_opt_out = desk.plan(items[4], Disposition.DO_NOT_CALL, opt_out=True)
    topic.publish(queued, queued_opt_out)
    return {
        "landed": landed.session_id,
        "conflict": conflict.session_id,
        "lost opt-out": lost.session_id,
        "queued": queued.session_id,
        "queued opt-out": queued_opt_out.session_id,
    }


def listed(*selectors: str) -> list[str]:
    ran = writeback("list", "--json", *selectors)
    waits = any(row["unsettled"] for row in ran.json)
    act = any(row["status"] in ("blocked", "passed_over") and not row["unsettled"] for row in ran.json)
    assert ran.code == (1 if act else 2 if waits else 0), ran.err
    return [row["session_id"] for row in ran.json]


def test_status_counts_by_status_and_reason_with_the_lag_and_open_opt_outs_first(stories: dict[str, str]) -> None:
    ran = writeback("status", "--json")
    assert ran.code == 1, "blocked sessions need a person"
    [found] = ran.json
    assert {(row["status"], row["reason"]): row["sessions"] for row in found["by_status"]} == {
        ("completed", None): 1,
        ("blocked", "conflict_detected"): 2,
        ("queued", None): 2,
    }
    assert (found["sessions"], found["unsettled"], found["opt_outs_open"]) == (5, 2, 2)
    wait_until(lambda: writeback("status", "--json").json[0]["lag_s"] > 0, what="what waits grows older")
    shown = writeback("status").out.splitlines()
    assert shown[0] == "2 opt-outs are not on their row"
    assert any(line.startswith("completed") for line in shown)
    assert shown[-1].startswith("5 sessions. planner: caught up; writer: 2 unsettled, oldest ")


def test_the_opt_outs_that_have_not_reached_the_crm_are_found_and_come_first(stories: dict[str, str]) -> None:
    open_ones = {stories["lost opt-out"], stories["queued opt-out"]}
    assert set(listed("--opt-out", "open")) == open_ones
    assert set(listed()[:2]) == open_ones, "and first of all"
    assert "OPT-OUT NOT ON ITS ROW" in writeback("list", "--limit", "1").out


def test_every_selector_selects_and_several_mean_all_of_them(stories: dict[str, str], topic: Topic) -> None:
    assert listed("--status", "completed") == [stories["landed"]]
    assert set(listed("--status", "completed", "--status", "queued")) == {
        stories[each] for each in ("landed", "queued", "queued opt-out")
    }
    assert set(listed("--block-reason", "conflict_detected")) == {stories["conflict"], stories["lost opt-out"]}
    assert listed("--block-reason", "conflict_detected", "--opt-out", "no") == [stories["conflict"]]
    assert set(listed("--unsettled")) == {stories["queued"], stories["queued opt-out"]}
    assert set(listed("--disposition", "do_not_call")) == {stories["lost opt-out"], stories["queued opt-out"]}
    assert listed("--session", stories["landed"]) == [stories["landed"]]
    row = writeback("list", "--json", "--session", stories["landed"]).json[0]
    assert listed("--queue-item", row["queue_item_id"].upper()) == [stories["landed"]]
    assert len(listed("--mapping", row["mapping"][:8])) == 5
    assert listed("--mapping", "0" * 64) == []
    assert len(listed("--since", "1h")) == 5
    assert listed("--until", "1h") == []
    assert listed("--campaign", "none such") == []
    assert listed("--gap", "medx_nothing") == []


def test_a_plan_that_a_group_was_rewound_to_is_unsettled_whatever_its_result_says(
    simulator: RunningSimulator, desk: Desk, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsettled comes from committed offsets: of a group that has committed nothing, everything is."""
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit("medx_callqueueitems", item, {"medx_notes": "a person was faster"})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    assert listed("--unsettled") == []
    monkeypatch.setenv("WRITEBACK_WRITER_GROUP", "a-group-that-begins-at-the-start")
    [row] = writeback("list", "--json", "--unsettled").json
    assert (row["status"], row["unsettled"]) == ("blocked", True)


def test_what_the_group_has_passed_without_a_final_result_needs_a_person(topic: Topic) -> None:
    """Somebody moved the offset, or a result was lost: results alone would show it as queued until the end of days."""
    topic.publish(make_plan(session_id="lost"))
    _committed_by_hand(topic, 1)
    [row] = writeback("list", "--json").json
    assert (row["status"], row["unsettled"]) == ("passed_over", False)
    assert writeback("status").code == 1


def _committed_by_hand(topic: Topic, offset: int) -> None:
    plan = make_plan(session_id="lost")
    place = TopicPartition(topic.topics.planned_writebacks.name, topic.partition(plan.queue_item_id), offset)
    consumer = Consumer({"bootstrap.servers": topic.bootstrap, "group.id": "writeback-writer"})
    consumer.assign([place])
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()


def test_a_rejected_opt_out_is_named_before_everything_else(topic: Topic) -> None:
    beside = [
        headers.reasons_header([headers.Reason("mismatch", "session_id", "another")]),
        (headers.OPT_OUT, b"true"),
    ]
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    producer.produce("call-outcomes-rejected", b"x", b"+15305550123", headers=beside)
    producer.flush(20)
    ran = writeback("status")
    assert (ran.code, ran.out.splitlines()[0]) == (1, "1 rejected outcome says that a contact opted out")


def test_watch_shows_what_changed_and_ends_when_it_should(topic: Topic) -> None:
    topic.publish(make_plan(session_id="one"))
    ran = writeback("watch", "--times", "2", "--every", "0.2")
    assert ran.code == 2, "as `status` at the last look"
    first, second = ran.out.splitlines()
    assert "1 session." in first
    assert "1 session (+0)." in second
    assert [each["sessions"] for each in writeback("watch", "--times", "1", "--json").json] == [1]


def test_nothing_planned_is_nothing_to_do() -> None:
    ran = writeback("status", "--json")
    assert (ran.code, ran.json[0]["sessions"]) == (0, 0)
    assert writeback("list", "--json").out == ""


def test_plans_that_wait_are_still_queued_which_is_exit_code_2(topic: Topic) -> None:
    topic.publish(make_plan(session_id="one"))
    assert writeback("status").code == 2


def test_a_requeued_plan_keeps_the_time_at_which_it_was_planned(topic: Topic) -> None:
    before = datetime.now(UTC) - timedelta(days=2)
    again = headers.requeued((), count=3, at=before, first_ms=round(before.timestamp() * 1000))
    topic.publish(make_plan(session_id="one"), headers=again)
    [row] = writeback("list", "--json", "--until", "1d").json
    assert (row["session_id"], row["requeues"]) == ("one", 3)


def test_the_view_forgets_what_was_tombstoned(topic: Topic) -> None:
    plan = make_plan(session_id="one")
    topic.publish(plan)
    assert listed() == ["one"]
    topic.publish_raw(b"one", None, topic.partition(plan.queue_item_id))
    assert listed() == []


def test_a_view_that_is_damaged_or_of_other_topics_is_made_anew(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.publish(make_plan(session_id="one"))
    assert listed() == ["one"]
    [file] = tmp_path.glob("views/*.sqlite")
    file.write_bytes(b"not a database, but long enough to look like one to nobody" * 100)
    ran = writeback("list", "--json")
    assert [row["session_id"] for row in ran.json] == ["one"]
    assert "made anew" in ran.err


@pytest.mark.parametrize("step", ["keep_positions", "positions", "sessions"])
def test_a_view_whose_disk_is_full_is_not_thrown_away(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """While it keeps what was read, while it looks how far that was, and while a command reads it."""
    topic.publish(make_plan(session_id="one"))
    assert listed() == ["one"]
    topic.publish(make_plan(session_id="two"))
    [file] = tmp_path.glob("views/*.sqlite")

    def full(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Store, step, full)
        ran = writeback("list", "--json")
    assert (ran.code, "free space there" in ran.out) == (69, True), ran.err
    assert file.exists()
    assert sorted(listed()) == ["one", "two"]


def test_a_second_reading_reads_only_what_is_new(topic: Topic) -> None:
    topic.publish(*(replace(make_plan(session_id=f"s{number}")) for number in range(20)))
    assert len(listed()) == 20
    read: list[int] = []
    with opened(read_settings(), on_progress=lambda what, done, total: read.append(total)) as view:
        assert view.made_anew is None
    assert read == []


def test_results_that_wait_for_a_person_but_for_eligibility_only_need_nobody(topic: Topic) -> None:
    result = make_result(
        session_id="one",
        status=ResultStatus.BLOCKED,
        block_reason=BlockReason.ELIGIBILITY,
        plan=PlanPosition(partition=0, offset=0, digest="d"),
    )
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    producer.produce("writeback-results", single_object(WritebackResult).encode(result), b"one", 0)
    producer.flush(20)
    assert writeback("status").code == 0


def test_a_view_that_has_read_what_is_not_there_is_made_anew(topic: Topic, tmp_path: Path) -> None:
    """A topic that was created again under the same name begins with offset 0."""
    topic.publish(make_plan(session_id="one"))
    assert listed() == ["one"]
    [file] = tmp_path.glob("views/*.sqlite")
    with Store(file) as store:
        store.keep_positions(topic.topics.planned_writebacks.name, {0: 99})
    ran = writeback("list", "--json")
    assert [row["session_id"] for row in ran.json] == ["one"]
    assert "made anew: it was damaged, or ahead of its topics" in ran.err

"""`trace`: one session's story across the topics and the CRM, as an operator reads it; no personal data in it (B1)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from planner.core.digests import digest
from schemas import headers
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition, Source
from simulator.testing import RunningSimulator
from tests.integration.ops.kit import writeback
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.factories import make_outcome, make_plan

ITEMS = "medx_callqueueitems"
EMAIL, PHONE = "kim@example.com", "5305550123"


@pytest.fixture(autouse=True)
def _crm(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", simulator.base_url)
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps([{"kind": "none"}]))


def written(simulator: RunningSimulator, topic: Topic, *plans: object, **overrides: str) -> None:
    topic.publish(*plans)  # type: ignore[arg-type]
    with running_writer(writer_env(simulator, topic.bootstrap, **overrides)):
        group = "writeback-writer" if not overrides else "writeback-dry-run"
        topic.wait_for_committed(len(plans), group=group)


def test_a_landed_session_is_told_from_its_outcome_to_what_the_crm_holds_now(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    outcome = desk.outcome(seed_item(simulator), Disposition.INTERESTED_EMAIL_CAPTURED)
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    producer.produce("call-outcomes", single_object(CallOutcome).encode(outcome), outcome.queue_item_id.encode(), 0)
    producer.flush(20)
    plan = replace(desk.plan_of(outcome), source=Source(topic="call-outcomes", partition=0, offset=0))
    written(simulator, topic, plan)
    ran = writeback("trace", plan.session_id, "--json")
    assert ran.code == 0, ran.err
    [story] = ran.json
    assert [event["what"].split(",")[0] for event in story["events"]][:1] == [
        "the call ended; its outcome was published"
    ]
    assert {event["what"].split(",")[0] for event in story["events"]} >= {"planned", "result: completed"}
    assert "disposition: interested_email_captured" in story["events"][0]["details"]
    assert story["differs_from_crm"] is False
    assert [step["exists"] for step in story["steps"]] == [True] * len(plan.steps)
    columns = {each["name"]: each for step in story["steps"] for each in step["columns"]}
    assert columns["medx_lastsessionid"] == {
        "name": "medx_lastsessionid", "planned": plan.session_id, "found": plan.session_id, "same": True,
    }  # fmt: skip
    assert columns["medx_attemptcount"]["planned"] == "+1"
    assert columns["medx_attemptcount"]["found"] == "1"
    shown = writeback("trace", plan.session_id).out
    assert f"session {plan.session_id} of queue item {plan.queue_item_id}: completed" in shown
    for text in (ran.out, shown):
        assert EMAIL not in text
        assert PHONE not in text
        assert "text, " in text, "texts are said to be there"


def test_what_the_crm_holds_otherwise_is_named_by_column_and_whose_row_it_is(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    written(simulator, topic, plan)
    simulator.edit(ITEMS, item, {"medx_callstatus": 3, "medx_lastsessionid": "sess-later"})
    [call] = simulator.rows("phonecalls")
    simulator.edit("phonecalls", call["activityid"], None)
    [story] = writeback("trace", plan.session_id, "--json").json
    assert story["differs_from_crm"] is True
    update = next(step for step in story["steps"] if step["operation"] == "update_queue_item")
    assert update["row_is_of_session"] == "sess-later"
    different = {each["name"]: (each["planned"], each["found"]) for each in update["columns"] if each["same"] is False}
    assert different == {
        "medx_callstatus": ("0", "3"),
        "medx_lastsessionid": (plan.session_id, "(text, 10 characters)"),
    }
    assert [step["exists"] for step in story["steps"] if step["operation"] != "update_queue_item"] == [False, False]
    shown = writeback("trace", plan.session_id).out
    assert "DIFFERS" in shown
    assert "IS NOT THERE" in shown


def test_a_blocked_session_says_what_a_person_changed_and_needs_one(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit(ITEMS, item, {"medx_notes": f"call {EMAIL}"})
    written(simulator, topic, plan)
    ran = writeback("trace", plan.session_id)
    assert ran.code == 1
    assert "changed by a person: medx_notes" in ran.out
    assert EMAIL not in ran.out


def test_requeues_are_part_of_the_story_and_a_queued_session_is_exit_code_2(topic: Topic) -> None:
    plan = make_plan(session_id="one")
    topic.publish(plan)
    assert writeback("trace", "one", "--no-crm").code == 2, "and the view has read the first copy"
    again = headers.requeued((), count=1, at=datetime(2026, 11, 20, tzinfo=UTC), first_ms=1)
    topic.publish(plan, headers=again)
    ran = writeback("trace", "one", "--no-crm", "--json")
    assert ran.code == 2
    [story] = ran.json
    told = [event["what"] for event in story["events"]]
    assert "plan: planned" in told
    assert "requeued for the 1. time" in told
    assert story["crm_not_looked_at"] == "--no-crm"


def test_a_rejected_session_says_every_reason_and_where_the_record_is(topic: Topic) -> None:
    outcome = make_outcome(session_id="sess-rejected")
    beside = [headers.reasons_header([headers.Reason("invalid_id", "queue_item_id", "a UUID")])]
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    value = single_object(CallOutcome).encode(outcome)
    producer.produce("call-outcomes-rejected", value, b"x", 1, headers=beside)
    producer.flush(20)
    ran = writeback("trace", "sess-rejected")
    assert ran.code == 1
    assert "was never planned: its outcome was rejected" in ran.out
    assert "invalid_id (queue_item_id): expected a UUID" in ran.out
    assert "call-outcomes-rejected/1/0" in ran.out
    assert digest(outcome) not in ran.out


def test_a_session_that_nobody_knows_is_said_to_be_unknown() -> None:
    ran = writeback("trace", "no-such-session")
    assert ran.code == 1
    assert "nothing is known of session no-such-session" in ran.out


def test_a_dry_run_is_told_too(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    plan = desk.plan(seed_item(simulator))
    written(simulator, topic, plan, WRITER_WRITE="false")
    [story] = writeback("trace", plan.session_id, "--json").json
    assert any(event["what"].startswith("dry run: dry_run") for event in story["events"])
    assert [step["exists"] for step in story["steps"]] == [False, False, True]


def test_a_crm_that_cannot_be_reached_leaves_the_rest_of_the_story(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", "http://127.0.0.1:1")
    topic.publish(make_plan(session_id="one"))
    ran = writeback("trace", "one")
    assert ran.code == 2
    assert "The CRM was not looked at: Dataverse cannot be reached" in ran.out


def test_all_sessions_of_a_queue_item_are_listed_in_the_order_of_their_outcomes(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    first, second = desk.plan(item), desk.plan(item)
    topic.publish(second, first)
    ran = writeback("trace", "--queue-item", item.upper(), "--json")
    assert [row["session_id"] for row in ran.json] == [first.session_id, second.session_id]
    assert ran.code == 2
    assert second.session_id in writeback("trace", "--queue-item", item).out


@pytest.mark.parametrize("arguments", [[], ["one", "--queue-item", "two"]])
def test_either_a_session_or_a_queue_item_is_asked_for(arguments: list[str]) -> None:
    ran = writeback("trace", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)

"""`resolve --leave` through the real command line: no opt-out is lost by it, and no claim is left without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.core.outcomes import from_json
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition, PlannedWriteback, ResultStatus, WritebackResult
from simulator.testing import RunningSimulator
from tests.integration.ops.kit import Ran, writeback
from tests.integration.ops.queue_kit import ITEMS, outcome_of, queue_side, ready, row_of
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.factories import make_result

WHY = ("--for-real", "--reason", "the customer has called us since")


@pytest.fixture(autouse=True)
def _crm(simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue_side(simulator, tmp_path, monkeypatch)


@pytest.fixture
def lost(simulator: RunningSimulator, desk: Desk) -> PlannedWriteback:
    """An opt-out that a person's change of do-not-call keeps off its row."""
    item = seed_item(simulator, medx_donotcall=True)
    plan = desk.plan(item, Disposition.DO_NOT_CALL, opt_out=True)
    simulator.edit(ITEMS, item, {"medx_donotcall": False, "medx_notes": "calls are welcome"})
    return plan


def resolve(plan: PlannedWriteback, *arguments: str) -> Ran:
    return writeback("resolve", plan.session_id, *arguments)


def open_opt_outs() -> list[str]:
    return [row["session_id"] for row in writeback("list", "--opt-out", "open", "--json").json]


def actions(topic: Topic) -> list[dict[str, Any]]:
    return [json.loads(each.value() or b"") for each in topic.read(topic.topics.operator_actions.name)]


def test_no_session_is_left_whose_opt_out_is_not_on_its_row_unless_it_was_withdrawn(
    simulator: RunningSimulator, topic: Topic, lost: PlannedWriteback, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.publish(lost)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
        for more in ((), WHY):
            refused = resolve(lost, "--leave", *more)
            assert refused.code == 1
            assert "closed like this, the contact would be called again, so nothing was done" in refused.err
            assert "--apply --opt-out-only --seen" in refused.err
        with monkeypatch.context() as patch:
            patch.delenv("WRITEBACK_DATAVERSE__URL")
            refused = resolve(lost, "--leave", *WHY)
            assert (refused.code, "nobody knows whether do-not-call is set" in refused.err) == (1, True)
        assert (open_opt_outs(), actions(topic)) == ([lost.session_id], [])

        shown = resolve(lost, "--leave", "--opt-out-withdrawn")
        assert (shown.code, "the contact may be called again" in shown.err) == (1, True)
        done = resolve(lost, "--leave", "--opt-out-withdrawn", *WHY)
    assert done.code == 0, done.err
    assert "done (leave, the opt-out was withdrawn): the session is closed" in done.out
    assert "do-not-call is not set, and the contact may be called again" in done.out
    [action] = actions(topic)
    assert action["action"] == "resolve: leave, the opt-out was withdrawn"
    result = topic.results()[-1]
    assert (result.status, "withdrew that since" in str(result.message)) == (ResultStatus.CLOSED, True)
    assert open_opt_outs() == []
    assert (resolve(lost).code, writeback("status").code) == (0, 0), "nothing is left to decide"


def test_a_session_is_left_whose_do_not_call_a_person_has_set(
    simulator: RunningSimulator, topic: Topic, lost: PlannedWriteback
) -> None:
    topic.publish(lost)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
        simulator.edit(ITEMS, lost.queue_item_id, {"medx_donotcall": True})
        done = resolve(lost, "--leave", *WHY)
    assert (done.code, "do-not-call is on the queue item: it stays there" in done.out) == (0, True)
    assert open_opt_outs() == []


def test_an_opt_out_whose_session_was_closed_without_a_word_about_it_stays_listed(
    topic: Topic, lost: PlannedWriteback
) -> None:
    """As an older command closed it: nobody may take it for settled."""
    closed = make_result(
        session_id=lost.session_id, queue_item_id=lost.queue_item_id, status=ResultStatus.CLOSED, opt_out=True,
        disposition=Disposition.DO_NOT_CALL, steps=(),
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    producer.produce("writeback-results", single_object(WritebackResult).encode(closed), lost.session_id.encode(), 0)
    producer.flush(20)
    listed = writeback("list", "--opt-out", "open")
    assert (listed.code, "OPT-OUT NOT ON ITS ROW" in listed.out) == (1, True)
    assert writeback("status").code == 1
    told = resolve(lost)
    assert (told.code, "set do-not-call there in the CRM" in told.err) == (1, True)


def test_a_claim_whose_session_was_left_is_not_released_by_age_and_both_commands_say_what_to_do(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = ready(simulator)
    [claimed] = writeback("claim", "--queue-item", item, "--token", "dialler-1", "--json").json
    outcome = from_json(json.dumps(outcome_of(claimed)).encode())
    assert isinstance(outcome, CallOutcome)
    plan = desk.plan_of(outcome)
    simulator.edit(ITEMS, item, {"medx_notes": "calls are welcome"})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
        blocked = writeback("release", "--stale-after", "0s", *WHY)
        assert (blocked.code, f"writeback resolve {plan.session_id}" in blocked.out) == (1, True), blocked.err
        shown = resolve(plan, "--leave")
        done = resolve(plan, "--leave", *WHY)
    assert done.code == 0, done.err
    for said in (shown.err, done.out):
        assert "The queue item keeps its claim (status in_progress)" in said
        assert f"writeback release --queue-item {item}" in said

    for more in ((), WHY):
        by_age = writeback("release", "--stale-after", "0s", *more)
        assert by_age.code == 1
        assert f"its session {plan.session_id} was closed by a person" in by_age.out
        assert "nobody reported" not in by_age.out
    assert row_of(simulator, item)["medx_callstatus"] == 1
    named = writeback("release", "--queue-item", item)
    assert (named.code, "is not counted as an attempt" in named.out) == (0, True)
    released = writeback("release", "--queue-item", item, *WHY)
    assert (released.code, row_of(simulator, item)["medx_callstatus"]) == (0, 0), released.err
    again = writeback("release", "--queue-item", item)
    assert (again.code, "is not claimed" in again.err) == (0, True)

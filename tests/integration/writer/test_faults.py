"""Every fault the CRM can show, and the same end state: the checker over its operation log finds nothing."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.waiting import wait_until
from schemas.records import BlockReason, Disposition, OwnerKind, PlannedWriteback, ResultStatus
from simulator import tenant
from simulator.testing import RunningSimulator
from tests.integration.writer.inprocess import RunningWriter, running_writer
from tests.integration.writer.kit import DISPOSITIONS, QUEUE_ITEMS, Desk, Topic, seed_item, writer_env
from tests.support.checker import findings, writes

BATCH = {"path": r"\$batch"}
WRITE = {"path": r"\$batch", "body": "PATCH "}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "did it and never answered": [{"when": WRITE, "times": 2, "do": [{"kind": "cut", "moment": "applied"}]}],
    "cut before anything was done": [{"when": WRITE, "times": 2, "do": [{"kind": "cut", "moment": "before"}]}],
    "cut during the answer": [{"when": WRITE, "times": 2, "do": [{"kind": "cut", "moment": "during"}]}],
    "done, and answered by a broken gateway": [
        {"when": WRITE, "times": 2, "do": [{"kind": "error", "name": "bad_gateway", "applied": True}]}
    ],
    "throttled": [
        {"when": WRITE, "skip": 1, "do": [{"kind": "status", "status": 429, "code": "0x80072322", "retry_after": 1}]}
    ],
    "a storm of 429s": [
        {"when": BATCH, "times": 4, "probability": 0.5, "do": [{"kind": "status", "status": 429, "retry_after": 1}]}
    ],
    "deadlock in the database": [{"when": WRITE, "times": 2, "do": [{"kind": "error", "name": "sql_deadlock"}]}],
    "maintenance page": [
        {"when": WRITE, "times": 2, "do": [{"kind": "status", "status": 503, "body": "<html>Maintenance</html>"}]}
    ],
    "a page with status 200 instead of an answer": [
        {"when": WRITE, "times": 2, "do": [{"kind": "status", "status": 200, "body": "<html></html>", "applied": True}]}
    ],
    "metadata cannot be read at first": [
        {"when": {**BATCH, "body": "EntityDef"}, "times": 2, "do": [{"kind": "error", "name": "unavailable"}]}
    ],
    "any answer is cut": [{"when": BATCH, "skip": 3, "times": 2, "do": [{"kind": "cut", "moment": "applied"}]}],
}  # fmt: skip


def check(simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback]) -> None:
    assert findings(simulator.oplog(), plans, topic.results()) == []


@pytest.mark.parametrize("name", FAULTS)
def test_W2_every_step_takes_effect_once_whatever_the_crm_does(
    simulator: RunningSimulator, desk: Desk, topic: Topic, name: str
) -> None:
    plans = [desk.plan(seed_item(simulator), disposition) for disposition in DISPOSITIONS]
    for rule in FAULTS[name]:
        simulator.fault(**rule)
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(len(plans))
    check(simulator, topic, plans)
    final = {result.session_id: result for result in topic.results()}
    assert {result.block_reason for result in final.values()} == {None, BlockReason.ELIGIBILITY}


@pytest.mark.parametrize("switches", [{"failed_change_set": "bare"}, {"exists_code": "none", "missing_code": "none"}])
def test_W2_lost_replies_are_settled_under_every_unconfirmed_fact(
    embedded: EmbeddedBroker, switches: dict[str, str]
) -> None:
    from simulator.switches import Switches
    from simulator.testing import running_simulator

    with running_simulator(auth="none", switches=Switches.of(switches)) as simulator:
        desk, topic = Desk(simulator), Topic(embedded.bootstrap, 3)
        plans = [desk.plan(seed_item(simulator), disposition) for disposition in DISPOSITIONS]
        simulator.fault(when=WRITE, times=4, do=[{"kind": "cut", "moment": "applied"}])
        topic.publish(*plans)
        with running_writer(writer_env(simulator, topic.bootstrap)):
            topic.wait_for_committed(len(plans))
        check(simulator, topic, plans)


def test_W4_call_attempts_in_quick_succession_land_in_order_and_never_conflict(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plans = [desk.plan(item, d) for d in (Disposition.NO_ANSWER, Disposition.VOICEMAIL, Disposition.DO_NOT_CALL)]
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(3)
    check(simulator, topic, plans)
    row = desk.row(item)
    assert (row["medx_attemptcount"], row["medx_donotcall"], row["medx_lastsessionid"]) == (
        3,
        True,
        plans[-1].session_id,
    )
    assert [result.status for result in topic.results()] == [ResultStatus.COMPLETED] * 3


@pytest.mark.parametrize("column", ["medx_callstatus", "medx_notes", "medx_lasterror"])
def test_W7_a_persons_change_is_kept_and_the_call_recorded(
    simulator: RunningSimulator, desk: Desk, topic: Topic, column: str
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item, Disposition.CALL_BACK_LATER)
    value: Any = {"medx_callstatus": 2}.get(column, "kept")
    simulator.edit(QUEUE_ITEMS, item, {column: value})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    [result] = topic.results()
    assert result.block_reason is BlockReason.CONFLICT_DETECTED
    assert result.conflicts == (column,)
    assert desk.row(item)[column] == value
    assert len(simulator.rows("phonecalls")) == 1
    assert simulator.rows("tasks") == []


def test_W7_an_attempt_count_that_a_person_corrected_is_counted_on(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit(QUEUE_ITEMS, item, {"medx_attemptcount": 7})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    assert [result.status for result in topic.results()] == [ResultStatus.COMPLETED]
    assert desk.row(item)["medx_attemptcount"] == 8


def test_W7_a_change_in_some_other_column_is_no_conflict(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit(QUEUE_ITEMS, item, {"medx_timezone": "Europe/Berlin"})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    assert [result.status for result in topic.results()] == [ResultStatus.COMPLETED]


def test_W7_a_person_who_edits_while_the_request_is_under_way_wins(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    edit = {"kind": "edit", "set": QUEUE_ITEMS, "id": item, "values": {"medx_callstatus": 2}, "moment": "before"}
    simulator.fault(when=WRITE, do=[edit])
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    assert topic.results()[-1].conflicts == ("medx_callstatus",)


def test_W7_an_edit_after_a_landing_whose_reply_was_lost_is_no_conflict(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    edit = {"kind": "edit", "set": QUEUE_ITEMS, "id": item, "values": {"medx_callstatus": 2}, "moment": "after"}
    simulator.fault(when=WRITE, do=[edit, {"kind": "cut", "moment": "applied"}])
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    assert topic.results()[-1].status is ResultStatus.COMPLETED
    assert desk.row(item)["medx_callstatus"] == 2


def test_W7_a_deleted_row_is_not_brought_back(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit(QUEUE_ITEMS, item, None)
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    assert simulator.rows(QUEUE_ITEMS) == []
    assert len(simulator.rows("phonecalls")) == 1
    assert topic.results()[-1].block_reason is BlockReason.CONFLICT_DETECTED


def items_in_two_partitions(simulator: RunningSimulator, topic: Topic) -> tuple[str, str]:
    first = seed_item(simulator)
    others = (seed_item(simulator) for _ in range(100))
    return first, next(item for item in others if topic.partition(item) != topic.partition(first))


def test_W2_one_session_id_for_two_queue_items_is_told_to_a_person(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    """In two partitions: within one, the planner has the session's pin, and rejects the second outcome."""
    first, second = items_in_two_partitions(simulator, topic)
    one = desk.outcome(first)
    same = desk.outcome(
        second, session_id=one.session_id, ended_at=one.ended_at, started_at=one.started_at, phone_number="+15305550199"
    )
    plans = [desk.plan_of(one), desk.plan_of(same)]
    topic.publish(plans[0])
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
        topic.publish(plans[1])
        topic.wait_for_committed(2)
    results = {result.queue_item_id: result for result in topic.results()}
    assert results[first].status is ResultStatus.COMPLETED
    assert results[second].block_reason is BlockReason.PERMANENT_OTHER
    assert desk.row(second)["medx_lastsessionid"] is None
    assert len(simulator.rows("phonecalls")) == 1


def test_W2_the_same_plan_again_changes_nothing(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.publish(plan)
        topic.wait_for_committed(1)
        written = len(writes(simulator.oplog()))
        topic.publish(plan, plan)
        topic.wait_for_committed(3)
    check(simulator, topic, [plan])
    assert [entry["outcome"] for entry in writes(simulator.oplog())[written:] if entry["outcome"] == "committed"] == []
    assert [result.status for result in topic.results()] == [ResultStatus.COMPLETED], "what it said still holds"


def test_W9_no_valid_owner_blocks_before_anything_is_written(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    simulator.edit("systemusers", tenant.CALLBACK_OWNER, {"isdisabled": True})
    before = len(writes(simulator.oplog()))
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    assert len(writes(simulator.oplog())) == before
    [result] = topic.results()
    assert result.block_reason is BlockReason.METADATA
    assert "owner" in str(result.message)


def test_W9_an_override_that_is_disabled_falls_back_with_a_warning(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    outcome = desk.outcome(seed_item(simulator), Disposition.CALL_BACK_LATER, owner_override=tenant.DISABLED_USER)
    plan = desk.plan_of(outcome)
    owners = plan.steps[-1].owner_candidates
    assert [owner.kind for owner in owners] == [OwnerKind.USER, OwnerKind.USER]
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    [result] = topic.results()
    assert [w.code for w in result.warnings] == ["task_owner_override_unverifiable"]
    [task] = simulator.rows("tasks")
    assert task["_ownerid_value"] == tenant.CALLBACK_OWNER


def test_W6_a_lone_failing_plan_goes_to_the_back_and_the_others_land(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    sick, healthy = seed_item(simulator), [seed_item(simulator) for _ in range(12)]
    plans = [desk.plan(sick), desk.plan(sick, Disposition.VOICEMAIL), *(desk.plan(item) for item in healthy)]
    simulator.fault(when={**WRITE, "body": sick}, times=5, do=[{"kind": "error", "name": "sql_deadlock"}])
    env = writer_env(
        simulator, topic.bootstrap, WRITER_FLOW__BACK_OF_TOPIC_S="0.5", WRITER_FLOW__MAX_PLANS_PER_REQUEST="1"
    )
    with running_writer(env) as writer:
        topic.publish(*plans[:2])
        land_one_by_one(topic, writer, plans[2:])
        wait_until(lambda: writer.metric("writeback_requeues_total") >= 2, what="both plans of the lane appended again")
        topic.wait_for_committed(len(plans) + 2)
    check(simulator, topic, plans)
    assert desk.row(sick)["medx_attemptcount"] == 2


def test_W5_a_failing_plan_holds_up_its_own_queue_item_only(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    sick, others = seed_item(simulator), [seed_item(simulator) for _ in range(20)]
    plans = [desk.plan(sick), desk.plan(sick), *(desk.plan(item) for item in others)]
    here = {**BATCH, "body": f"{QUEUE_ITEMS}\\({sick}"}
    simulator.fault(when=here, times=3, do=[{"kind": "error", "name": "sql_deadlock"}])  # 7 s, with the pauses
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_FLOW__MAX_PLANS_PER_REQUEST="1")):
        wait_until(lambda: len(topic.results()) == len(others), what="all others landed")
        assert sick not in {result.queue_item_id for result in topic.results()}
        topic.wait_for_committed(len(plans))
    check(simulator, topic, plans)


def test_W2_what_a_writer_finds_at_its_start_is_called_refused_once_no_earlier_request_can_land(
    simulator: RunningSimulator, desk: Desk, topic: Topic, capfd: pytest.CaptureFixture[str]
) -> None:
    refused, others = seed_item(simulator), [desk.plan(seed_item(simulator)) for _ in range(8)]
    here = {**WRITE, "body": f"PATCH .*{QUEUE_ITEMS}\\({refused}"}
    simulator.fault(when=here, times=None, do=[{"kind": "status", "status": 400, "code": "0x80048d19"}])
    plans = [desk.plan(refused), *others]
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_FLOW__LATE_REQUEST_S="3")):
        topic.wait_for_committed(len(plans))
    [result] = [result for result in topic.results() if result.queue_item_id == refused]
    assert (result.status, result.may_have_landed) == (ResultStatus.BLOCKED, False)
    waits = [json.loads(line) for line in capfd.readouterr().out.splitlines() if "waits_for_earlier" in line]
    assert [line["session_id"] for line in waits] == [result.session_id]
    assert result.settled_at >= datetime.fromisoformat(waits[0]["timestamp"]) + timedelta(seconds=1)
    check(simulator, topic, plans)


def land_one_by_one(topic: Topic, writer: RunningWriter, plans: list[PlannedWriteback]) -> None:
    """Others land while one fails: what makes it the lone one."""
    for number, plan in enumerate(plans, 1):
        topic.publish(plan)
        wait_until(
            lambda number=number: writer.metric("writeback_outcomes_total", status="completed", reason="") >= number,
            what=f"{number} plans landed",
        )


def test_W6_an_outage_is_waited_for_and_told_once_per_plan(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    plans = [desk.plan(seed_item(simulator)) for _ in range(8)]
    outage = simulator.fault(when=WRITE, times=None, do=[{"kind": "error", "name": "unavailable"}])
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_FLOW__MAX_PAUSE_S="1")) as writer:
        wait_until(
            lambda: writer.metric("writeback_outcomes_total", status="resume_needed", reason="") == len(plans),
            what="every plan told as resume_needed",
        )  # fmt: skip
        assert set(topic.committed().values()) <= {0}
        simulator.call(lambda core: core.rules.remove(outage))
        topic.wait_for_committed(len(plans))
    check(simulator, topic, plans)
    told = [result.session_id for result in topic.results() if result.status is ResultStatus.RESUME_NEEDED]
    assert sorted(told) == sorted(plan.session_id for plan in plans)


def test_records_that_are_no_plans_are_put_aside_with_their_bytes(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    plan = desk.plan(seed_item(simulator))
    topic.publish_raw(b"sess-1", b"no plan at all", headers=[("traceparent", b"00-1-1-01")])
    topic.publish_raw(b"sess-2", None)
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(3)
    check(simulator, topic, [plan])
    [rejected] = topic.read(topic.topics.planned_writebacks_rejected.name)
    assert (rejected.key(), rejected.value()) == (b"sess-1", b"no plan at all")
    assert {name for name, _ in rejected.headers()} >= {"rejection-reasons", "rejected-from", "traceparent"}


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_W8_a_dry_run_writes_nothing_under_every_disposition_and_fault(
    simulator: RunningSimulator, desk: Desk, topic: Topic, fault: str | None
) -> None:
    plans = [desk.plan(seed_item(simulator), disposition) for disposition in DISPOSITIONS]
    landed = len(writes(simulator.oplog()))
    for rule in FAULTS[fault] if fault else ():
        simulator.fault(**rule | {"times": 1, "when": rule["when"] if "EntityDef" in str(rule) else BATCH})
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_WRITE="false")):
        topic.wait_for_committed(len(plans), group="writeback-dry-run")
    assert len(writes(simulator.oplog())) == landed == 0
    assert topic.results() == []
    final = {r.session_id: r for r in topic.results(topic.topics.writeback_dry_run.name)}
    assert {result.status for result in final.values()} == {ResultStatus.DRY_RUN}
    assert len(final) == len(plans)
    assert topic.committed() == {}


def test_W7_what_a_person_changed_during_an_outage_is_not_adopted_as_the_baseline(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    outage = simulator.fault(when=WRITE, times=None, do=[{"kind": "cut", "moment": "before"}])
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)) as writer:
        wait_until(
            lambda: writer.metric("writeback_requests_total", **{"class": "ambiguous", "operation": "write"}),
            what="tried",
        )
        simulator.edit(QUEUE_ITEMS, item, {"medx_notes": "called them myself"})
        simulator.call(lambda core: core.rules.remove(outage))
        topic.wait_for_committed(1)
    check(simulator, topic, [plan])
    assert topic.results()[-1].conflicts == ("medx_notes",)


def test_the_trace_is_carried_on_to_the_crm_and_to_the_result(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    plan = desk.plan(seed_item(simulator))
    topic.publish(plan, headers=[("traceparent", trace)])
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    [result] = topic.read(topic.topics.writeback_results.name)
    said = dict(result.headers())
    assert said.pop("first-settled-at").isdigit()
    assert said == {"traceparent": trace, "settled-as": b"landed"}
    assert result.key() == plan.session_id.encode()

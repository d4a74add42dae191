"""The checker is believed only because it sees each broken promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.records import (
    ActivityParties,
    ActivityParty,
    BlockReason,
    Operation,
    PartyKind,
    PlannedWriteback,
    PrecedingPlan,
    Precondition,
    ResultStatus,
    StepOutcome,
    StepResult,
    WritebackResult,
)
from tests.support.checker import ATTEMPTS, FLAG, findings, writes
from tests.support.factories import an_id, make_plan, make_result, make_step

ITEM = an_id("queue item 1")


def plan_with_task(session_id: str = "sess-1") -> PlannedWriteback:
    plain = make_plan(session_id=session_id)
    task = make_step(
        step_index=3, operation=Operation.CREATE_TASK, entity_set="tasks", record_id=an_id(f"task of {session_id}"),
        precondition=Precondition.MUST_NOT_EXIST,
    )  # fmt: skip
    return make_plan(session_id=session_id, steps=(*plain.steps, task))


def entries(plan: PlannedWriteback, start: int = 1, actor: str = "application") -> list[dict[str, Any]]:
    """What the log shows when the plan has landed."""
    made: list[dict[str, Any]] = []
    for step in plan.steps:
        create = step.precondition is Precondition.MUST_NOT_EXIST
        table = {"phonecalls": "phonecall", "tasks": "task"}.get(step.entity_set, "medx_callqueueitem")
        made.append(
            {
                "seq": start + len(made),
                "actor": actor,
                "outcome": "committed",
                "operation": "create" if create else "update",
                "table": table,
                "id": step.record_id,
                "changes": {
                    name: [None, value]
                    for name, value in {**step.attributes, **step.increments}.items()
                    if value is not None
                },
            }
        )
    return made


def edit(seq: int, **columns: Any) -> dict[str, Any]:
    changes = {name: [None, value] for name, value in columns.items()}
    return {
        "seq": seq, "actor": "person", "outcome": "committed", "operation": "update", "table": "medx_callqueueitem",
        "id": ITEM, "changes": changes,
    }  # fmt: skip


ONE, TWO = plan_with_task("sess-1"), plan_with_task("sess-2")
RESULTS = [make_result(session_id="sess-1"), make_result(session_id="sess-2")]
CONFLICT = make_result(
    session_id="sess-1", status=ResultStatus.BLOCKED, block_reason=BlockReason.CONFLICT_DETECTED, message="look"
)
BLOCKED = make_result(
    session_id="sess-1", status=ResultStatus.BLOCKED, block_reason=BlockReason.PERMANENT_OTHER, message="look"
)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert findings([*entries(ONE), *entries(TWO, 10)], [ONE, TWO], RESULTS) == []
    assert writes(entries(ONE, actor="person")) == []


@pytest.mark.parametrize(
    ("log", "results", "promise"),
    [
        pytest.param([*entries(ONE), *entries(ONE, 10)], RESULTS[:1], "W2", id="twice"),
        pytest.param(entries(ONE)[:-1], RESULTS[:1], "W2", id="said to have landed without its task"),
        pytest.param(entries(ONE), [], "W2", id="nobody was told"),
        pytest.param(entries(ONE)[:2], [], "W3", id="in pieces"),
        pytest.param(entries(ONE), [CONFLICT], "W3", id="more than the call in a conflict"),
        pytest.param([edit(1, medx_notes="mine"), *entries(ONE, 2)], RESULTS[:1], "W7", id="a person's note"),
        pytest.param([edit(1, medx_callstatus=2), *entries(ONE, 2)], RESULTS[:1], "W7", id="a person's status"),
    ],
)
def test_each_broken_promise_is_found(log: list[dict[str, Any]], results: list[Any], promise: str) -> None:
    found = findings(log, [ONE], results)
    assert found
    assert all(one.startswith(("W2", promise)) for one in found)
    assert any(one.startswith(promise) for one in found)


def test_plans_out_of_order_are_found() -> None:
    found = findings([*entries(TWO), *entries(ONE, 10)], [ONE, TWO], RESULTS)
    assert found
    assert all(one.startswith("W4") for one in found)


def test_a_column_outside_the_plan_is_found() -> None:
    log = entries(ONE)
    log[2]["changes"]["medx_phonenumber"] = [None, "+15305550101"]
    assert [one[:2] for one in findings(log, [ONE], RESULTS[:1])] == ["W7"]


def test_what_a_person_did_before_the_baseline_is_part_of_it() -> None:
    log = [edit(1, medx_callstatus=1), *entries(ONE, 2)]
    assert findings(log, [ONE], RESULTS[:1], baselines={"sess-1": 1}) == []


def test_W7_what_a_session_in_doubt_would_have_written_looks_the_same_if_a_person_set_it() -> None:
    before = PrecedingPlan(session_id="sess-1", columns={"medx_callstatus": 2})
    plan = replace(TWO, preceding=(before,))
    in_doubt = replace(BLOCKED, may_have_landed=True)

    def found(status: int, result: WritebackResult) -> list[str]:
        log = [edit(1, medx_callstatus=status), *entries(plan, 2)]
        return [one for one in findings(log, [plan], [result, RESULTS[1]]) if one.startswith("W7")]

    assert found(2, in_doubt) == []
    assert len(found(2, BLOCKED)) == len(found(5, in_doubt)) == 1


def test_a_change_that_does_not_concern_the_plan_is_no_finding() -> None:
    assert findings([edit(1, medx_timezone="Europe/Berlin"), *entries(ONE, 2)], [ONE], RESULTS[:1]) == []


LATE = make_result(
    session_id="sess-1",
    steps=(
        StepResult(step_index=2, operation=Operation.UPDATE_QUEUE_ITEM, outcome=StepOutcome.SUPERSEDED, record_id=ITEM),
    ),
)


def part(seq: int, **columns: Any) -> dict[str, Any]:
    return edit(seq, **columns) | {"actor": "application"}


def test_a_late_session_may_update_the_queue_item_in_part() -> None:
    log = [*entries(ONE)[:2], part(9, medx_attemptcount=1)]
    assert findings(log, [ONE], [LATE]) == []


DELETED = edit(99) | {"operation": "delete"}


def without_the_row(plan: PlannedWriteback, start: int) -> list[dict[str, Any]]:
    """The call and the task of a plan that came late."""
    return [entry for entry in entries(plan, start) if entry["id"] != ITEM]


def test_that_a_session_was_late_is_seen_in_the_log_if_its_result_was_lost_and_its_row_deleted() -> None:
    log = [*entries(TWO), *without_the_row(ONE, 10), DELETED]
    assert findings(log, [ONE, TWO], RESULTS) == []


@pytest.mark.parametrize(
    "log",
    [
        pytest.param([*entries(TWO), *without_the_row(ONE, 10)], id="its row is there"),
        pytest.param([*without_the_row(ONE, 1), *entries(TWO, 10), DELETED], id="it was not behind a later one"),
        pytest.param([*entries(TWO), *without_the_row(ONE, 10)[:1], DELETED], id="its task is missing"),
    ],
)
def test_without_its_update_no_other_session_has_landed(log: list[dict[str, Any]]) -> None:
    assert any(one.startswith("W2 sess-1 is said to have landed") for one in findings(log, [ONE, TWO], RESULTS))


@pytest.mark.parametrize(
    ("log", "results"),
    [
        pytest.param([*entries(ONE), part(9, medx_attemptcount=1)], RESULTS[:1], id="counted twice"),
        pytest.param([*entries(ONE)[:2], part(9, medx_attemptcount=7)], [LATE], id="not counted on what the row held"),
        pytest.param([*entries(ONE)[:2], part(9, medx_callstatus=0)], [LATE], id="more than a part"),
    ],
)
def test_a_wrong_count_or_a_wrong_part_is_found(log: list[dict[str, Any]], results: list[Any]) -> None:
    assert any(one.startswith("W2") for one in findings(log, [ONE], results))


def test_W3_a_blocked_session_has_left_its_call_alone_only_if_a_person_changed_the_row() -> None:
    call = entries(ONE, 3)[:2]
    assert findings([edit(1, medx_notes="mine"), *call, edit(9, medx_notes=None)], [ONE], [BLOCKED]) == []
    [found] = findings(call, [ONE], [BLOCKED])
    assert found.startswith("W3 sess-1 landed in pieces")


def test_W3_a_call_that_came_after_its_refusal_is_alone_only_if_the_result_is_in_doubt_and_a_person_was_there() -> None:
    call, change = entries(ONE, 3)[:2], edit(1, medx_notes="mine")
    refused = replace(BLOCKED, block_reason=BlockReason.METADATA)
    in_doubt = replace(refused, may_have_landed=True)
    assert findings([change, *call], [ONE], [in_doubt]) == []
    for log, result in (([change, *call], refused), (call, in_doubt)):
        assert findings(log, [ONE], [result])[-1].startswith("W3 sess-1 landed in pieces")


def test_an_opt_out_of_ours_that_puts_back_what_a_person_changed_is_what_the_row_holds() -> None:
    plan = replace(ONE, baseline=replace(ONE.baseline, columns={**ONE.baseline.columns, FLAG: True}))
    taken_back, recorded = edit(1, **{FLAG: False}), part(2, **{FLAG: True})
    assert [one[:2] for one in findings([taken_back, *entries(plan, 3)], [plan], RESULTS[:1])] == ["W7"]
    assert findings([taken_back, recorded, *entries(plan, 3)], [plan], RESULTS[:1]) == []
    again = edit(3, **{FLAG: False})
    log = [taken_back, recorded, again, *entries(plan, 4)]
    assert [one[:2] for one in findings(log, [plan], RESULTS[:1])] == ["W7"]


def test_a_late_session_whose_row_was_deleted_before_its_result_is_blocked_and_was_counted() -> None:
    counted, gone = part(1, **{ATTEMPTS: 1}), edit(2) | {"operation": "delete"}
    assert [one[:2] for one in findings([counted, gone], [ONE], ())][:1] == ["W2"], "nobody came late"
    result = make_result(
        session_id="sess-1", status=ResultStatus.BLOCKED, block_reason=BlockReason.CONFLICT_DETECTED, message="gone"
    )
    assert [one for one in findings([counted, gone], [ONE], [result]) if "counted" in one] == []
    assert [one for one in findings([counted], [ONE], [result]) if "counted" in one], "the row is there"


SENDER = ActivityParty(
    kind=PartyKind.QUEUE,
    record_id=an_id("queue"),
    participation=1,
    column="partyid_queue@odata.bind",
    value="/queues(q)",
)
PARTIES = ActivityParties(
    collection="phonecall_activity_parties", entity_set="activityparties", id_column="activityid", members=(SENDER,)
)


def party(call: str, seq: int = 50, **changes: Any) -> dict[str, Any]:
    shown = {"_activityid_value": call, "participationtypemask": 1, "_partyid_value": SENDER.record_id}
    return {
        "seq": seq, "actor": "application", "outcome": "committed", "operation": "create", "table": "activityparty",
        "id": an_id(f"party {seq}"), "changes": {name: [None, value] for name, value in shown.items()}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (lambda call: [party(call)], []),
        (lambda call: [], ["W2 phone call {} has other parties than its plan"]),
        (lambda call: [party(call), party(call, 51)], ["W2 phone call {} has other parties than its plan"]),
        (lambda call: [party(call), party("another")], ["W2 another is in no plan, and got parties"]),
        (
            lambda call: [party(call), party(call, 51, operation="delete")],
            ["W7 a party was changed after its call was made, entry 51"],
        ),
    ],
    ids=["as planned", "none", "twice", "of a foreign call", "taken away"],
)
def test_parties_are_those_of_the_plan_and_made_once(made: Any, found: list[str]) -> None:
    plain = plan_with_task()
    create, *others = plain.steps
    plan = replace(plain, steps=(replace(create, activity_parties=PARTIES), *others))
    log = [*entries(plan), *made(create.record_id)]
    assert findings(log, [plan], RESULTS[:1]) == [each.format(create.record_id) for each in found]

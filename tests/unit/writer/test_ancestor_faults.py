"""The faults of the ancestor that are the writer's to avoid, by their numbers; what needs HTTP is in the file beside.

Where the model of the CRM can show it, the ancestor's own way of writing runs through the same trouble first, so that
the test is known to see the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from schemas.codec import single_object
from schemas.records import Operation, PlannedWriteback, PlanPosition, Precondition, ResultStatus, WritebackResult
from tests.support.factories import NOON
from tests.unit.writer.core.crm_model import (
    ATTEMPTS,
    BEFORE,
    ROW,
    SESSION,
    Crm,
    MemoryHistory,
    a_crm,
    is_conflict,
    plan_for,
    write,
)
from writer.core.emission import Observed, full, of_steps, update_step
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.replies import Judgement, Kind, Meaning, judge, lost
from writer.core.results import ResultContext, refused

Lost = Callable[[int], bool]


@dataclass(frozen=True)
class Told:
    """The status that was published, or that it is a conflict."""

    status: str
    columns: tuple[str, ...] = ()


COMPLETED = Told("completed")


def go(
    plan: PlannedWriteback,
    crm: Crm,
    *,
    lose: Lost = lambda _: False,
    crash_before: int | None = None,
    known: MemoryHistory | None = None,
) -> Told | None:
    """One writer with one plan. `lose`: whether the reply to its nth request gets lost. None: it crashed."""
    known = MemoryHistory() if known is None else known
    running = write(plan, crm, known)
    try:
        running.send(None)
        for number in range(100):
            if number == crash_before:
                running.close()
                return None
            running.send(lose(number))
    except StopIteration as end:
        result: WritebackResult | None = end.value
        if result is None:
            return Told("already settled")
        known.add(result)
        return Told("conflict", result.conflicts) if is_conflict(result) else Told(str(result.status))
    return None


def ancestor(plan: PlannedWriteback, crm: Crm, *, lose: Lost) -> str:
    """One write at a time, creates without precondition, a blind retry after silence, a 412 taken for a person."""
    etag, number = plan.baseline.etag, 0
    for step in plan.steps:
        for _ in range(2):
            free = replace(step, precondition=Precondition.MUST_EXIST, record_id=f"{step.record_id}-{number}")
            sent = step if step.operation is Operation.UPDATE_QUEUE_ITEM else free
            if step.operation in (Operation.CREATE_PHONE_CALL, Operation.CREATE_TASK):
                crm.put(f"{free.entity_set}({free.record_id})", {})
            judgement = crm.execute(
                of_steps(replace(plan, steps=(sent,)), [step.step_index], {}, Observed(str(etag), BEFORE)), "ancestor"
            )
            number += 1
            if judgement.status == 412:
                return "conflict"
            if not lose(number - 1):
                break
    return "landed"


def rows_of(crm: Crm, entity_set: str) -> int:
    return sum(1 for path in crm.rows if path.startswith(f"{entity_set}("))


def test_fault_01_a_lost_reply_to_a_create_makes_no_duplicate() -> None:
    crm, etag = a_crm()
    ancestor(plan_for(1, etag, task=True), crm, lose=lambda number: number == 0)
    assert rows_of(crm, "phonecalls") > 1, "the ancestor doubles it"

    crm, etag = a_crm()
    assert go(plan_for(1, etag, task=True), crm, lose=lambda number: number == 0) == COMPLETED

    assert (rows_of(crm, "phonecalls"), rows_of(crm, "tasks")) == (1, 1)
    assert set(crm.effects.values()) == {1}


@pytest.mark.parametrize("task", [False, True])
def test_fault_02_a_lost_reply_to_the_update_is_no_conflict(*, task: bool) -> None:
    """Without a task the row alone shows that the plan landed."""
    crm, etag = a_crm()
    assert go(plan_for(1, etag, task=task), crm, lose=lambda number: number == 0) == COMPLETED
    assert set(crm.effects.values()) == {1}


def test_fault_02_a_lost_reply_to_the_update_is_no_conflict_and_the_task_is_written() -> None:
    crm, etag = a_crm()
    said = ancestor(plan_for(1, etag, task=True), crm, lose=lambda number: number == 2)
    assert (said, rows_of(crm, "tasks")) == ("conflict", 0), "the ancestor blames a person and stops"

    crm, etag = a_crm()
    assert go(plan_for(1, etag, task=True), crm, lose=lambda number: number == 0) == COMPLETED

    assert rows_of(crm, "tasks") == 1


def test_fault_03_the_attempt_count_reaches_the_crm_once_however_often_the_plan_is_sent() -> None:
    crm, etag = a_crm()
    for _ in range(3):
        go(plan_for(1, etag), crm, lose=lambda _: True)

    assert crm.rows[ROW][1][ATTEMPTS] == 1


@pytest.mark.parametrize("crash", range(6))
def test_fault_06_and_08_after_a_crash_anywhere_the_plan_alone_suffices_to_go_on(crash: int) -> None:
    crm, etag = a_crm()
    plan = plan_for(1, etag, task=True)
    pinned = single_object(PlannedWriteback).encode(plan)

    go(plan, crm, lose=lambda _: True, crash_before=crash)
    again = single_object(PlannedWriteback).decode(pinned)

    assert go(again, crm) == COMPLETED
    assert go(again, crm) == COMPLETED, "and again, if it is delivered again"
    assert {crm.effects[plan.session_id, step.operation] for step in plan.steps} == {1}


def test_fault_08_a_call_that_stands_without_the_rest_is_no_dead_end() -> None:
    """It stands alone only in a conflict; once that is set right, a replay sends the rest."""
    (crm, etag), known = a_crm(), MemoryHistory()
    plan = plan_for(1, etag, task=True)
    crm.edit("medx_notes", "by hand")
    assert go(plan, crm, known=known) == Told("conflict", ("medx_notes",))
    crm.edit("medx_notes", None)

    assert go(plan, crm, known=known) == COMPLETED
    assert set(crm.effects.values()) == {1}


def test_fault_10_a_permanent_error_is_blocked_and_says_so() -> None:
    plan = plan_for(1, None)
    body = b'{"error":{"code":"0x80040203","message":"Jane Doe"}}'
    judgement = judge(400, {}, body)
    assert judgement.kind is Kind.PERMANENT

    result = refused(
        ResultContext(plan, PlanPosition(partition=0, offset=1, digest=plan.digest), 1, NOON, "w"), judgement
    )

    assert result.status is ResultStatus.BLOCKED
    assert "0x80040203" in str(result.message)
    assert "Jane" not in repr(result)


def test_fault_11_what_a_person_changed_during_a_pause_never_becomes_the_baseline() -> None:
    crm, etag = a_crm()
    plan = plan_for(1, etag, task=True)
    go(plan, crm, crash_before=0)
    crm.edit("medx_notes", "call them in May")

    assert go(plan, crm) == Told("conflict", ("medx_notes",))
    assert go(plan, crm) == Told("conflict", ("medx_notes",)), "however often it is resumed"

    assert crm.rows[ROW][1]["medx_notes"] == "call them in May"
    assert crm.rows[ROW][1][SESSION] is None
    assert (rows_of(crm, "phonecalls"), rows_of(crm, "tasks")) == (1, 0)


def test_fault_15_a_last_error_that_is_over_is_cleared() -> None:
    crm, etag = a_crm()
    plan = plan_for(1, etag)
    bodies = [dict(request.body or {}) for request in full(plan, {}, Observed(etag, BEFORE)).change_set.requests]
    assert ("medx_lasterror", None) in bodies[2].items()

    go(plan, crm)

    assert crm.rows[ROW][1]["medx_lasterror"] is None


@pytest.mark.parametrize("seconds", [31, 300, 3600])
def test_fault_16_retry_after_is_obeyed_in_full(seconds: int) -> None:
    throttled = judge(429, {"retry-after": str(seconds)}, b"")
    pacer = Pacer(ServiceLimits())
    pacer.sent(0.0)
    pacer.replied(throttled, started=0.0, now=0.0)

    assert pacer.ask(seconds - 0.001) == float(seconds)
    assert pacer.ask(float(seconds)) is None


def test_fault_17_a_dropped_connection_is_no_permanent_error() -> None:
    assert lost().kind is Kind.AMBIGUOUS
    assert judge(401, {}, b"") == Judgement(Kind.TRANSIENT, Meaning.SIGN_IN, 401)


def test_fault_18_no_update_can_create_a_row() -> None:
    crm, etag = a_crm()
    plan = plan_for(1, etag, task=True)
    crm.delete()

    assert go(plan, crm) == Told("conflict", ())

    assert ROW not in crm.rows
    emission = full(plan, {}, Observed('W/"1"', BEFORE))
    assert all(
        "If-Match" in request.headers
        for step, request in zip(emission.steps, emission.change_set.requests, strict=True)
        if step.operation in (Operation.UPDATE_QUEUE_ITEM, Operation.COMPLETE_PHONE_CALL)
    )


def test_fault_19_what_is_written_is_taken_from_the_plan_alone() -> None:
    crm, etag = a_crm()
    plan = plan_for(1, etag, task=True)
    go(plan, crm)

    for step in plan.steps:
        stands = crm.rows[f"{step.entity_set}({step.record_id})"][1]
        assert {name: stands[name] for name in step.attributes} == dict(step.attributes)
    assert update_step(plan).attributes["medx_lastdisposition"] == crm.rows[ROW][1]["medx_lastdisposition"]

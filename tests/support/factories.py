"""Records for tests: every factory makes a valid one, and takes what the test is about as keywords."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from schemas.records import (
    Account,
    Baseline,
    CallOutcome,
    Disposition,
    Operation,
    PlannedStep,
    PlannedWriteback,
    PlanPolicy,
    PlanPosition,
    Precondition,
    QueueStatus,
    ResolvedBaseline,
    ResultStatus,
    Source,
    StepOutcome,
    StepResult,
    WritebackResult,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_SPACE = UUID("6f1c0f0e-5b3a-4f7e-9a52-0d5d6a1f7c11")


def an_id(name: str) -> str:
    """The same UUID for the same name."""
    return str(uuid5(_SPACE, name))


def make_baseline(**overrides: Any) -> Baseline:
    given: dict[str, Any] = {
        "captured_at": NOON - timedelta(minutes=5),
        "etag": 'W/"1001"',
        "status": QueueStatus.IN_PROGRESS,
        "last_session_id": None,
        "attempt_count": 0,
        "do_not_call": False,
        "preserved": {"medx_notes": None, "medx_priority": None},
    }
    return Baseline(**given | overrides)


def make_outcome(**overrides: Any) -> CallOutcome:
    given: dict[str, Any] = {
        "session_id": "sess-000001",
        "queue_item_id": an_id("queue item 1"),
        "disposition": Disposition.NO_ANSWER,
        "phone_number": "+15305550123",
        "account": Account(id=an_id("account 1"), name="Example Clinic"),
        "started_at": NOON,
        "ended_at": NOON + timedelta(minutes=3),
        "baseline": make_baseline(),
    }
    return CallOutcome(**given | overrides)


def make_step(**overrides: Any) -> PlannedStep:
    given: dict[str, Any] = {
        "step_index": 0,
        "operation": Operation.CREATE_PHONE_CALL,
        "entity_set": "phonecalls",
        "record_id": an_id("phone call 1"),
        "attributes": {"subject": "Disposition: no_answer.", "medx_idempotencykey": "sess-000001"},
        "session_column": "medx_idempotencykey",
        "precondition": Precondition.MUST_NOT_EXIST,
    }
    return PlannedStep(**given | overrides)


def make_plan(**overrides: Any) -> PlannedWriteback:
    """One attempt that nobody answered: create and complete the phone call, update the queue item."""
    session_id = overrides.get("session_id", "sess-000001")
    queue_item_id = overrides.get("queue_item_id", an_id("queue item 1"))
    call = make_step(
        record_id=an_id(f"phone call of {session_id}"),
        attributes={"subject": "Disposition: no_answer.", "medx_idempotencykey": session_id},
    )
    complete = make_step(
        step_index=1,
        operation=Operation.COMPLETE_PHONE_CALL,
        record_id=call.record_id,
        attributes={"statecode": 1, "statuscode": 2},
        session_column=None,
        precondition=Precondition.MUST_EXIST,
    )
    update = make_step(
        step_index=2,
        operation=Operation.UPDATE_QUEUE_ITEM,
        entity_set="medx_callqueueitems",
        record_id=queue_item_id,
        attributes={
            "medx_callstatus": 0,
            "medx_lastdisposition": "no_answer",
            "medx_lastsessionid": session_id,
            "medx_lasterror": None,
        },
        increments={"medx_attemptcount": 1},
        session_column="medx_lastsessionid",
        do_not_call_column="medx_donotcall",
        precondition=Precondition.MUST_MATCH_BASELINE,
    )
    given: dict[str, Any] = {
        "session_id": session_id,
        "queue_item_id": queue_item_id,
        "disposition": Disposition.NO_ANSWER,
        "digest": "d" * 64,
        "outcome_digest": "0" * 64,
        "mapping_fingerprint": "f" * 64,
        "planned_by": "0.1.0",
        "source": Source(topic="call-outcomes", partition=0, offset=0),
        "started_at": NOON,
        "policy": PlanPolicy(redaction="redact", transcript="summary-only"),
        "outcome_at": NOON + timedelta(minutes=3),
        "baseline": ResolvedBaseline(
            captured_at=NOON - timedelta(minutes=5),
            etag='W/"1001"',
            columns={
                "medx_callstatus": 1,
                "medx_lastdisposition": None,
                "medx_lastsessionid": None,
                "medx_attemptcount": 0,
                "medx_donotcall": False,
                "medx_lasterror": None,
                "medx_notes": None,
            },
        ),
        "steps": (call, complete, update),
    }
    return PlannedWriteback(**given | overrides)


def make_result(**overrides: Any) -> WritebackResult:
    given: dict[str, Any] = {
        "session_id": "sess-000001",
        "queue_item_id": an_id("queue item 1"),
        "disposition": Disposition.NO_ANSWER,
        "started_at": NOON,
        "ended_at": NOON + timedelta(minutes=3),
        "mapping_fingerprint": "f" * 64,
        "status": ResultStatus.COMPLETED,
        "steps": (
            StepResult(
                step_index=0,
                operation=Operation.CREATE_PHONE_CALL,
                outcome=StepOutcome.CREATED,
                record_id=an_id("phone call of sess-000001"),
                http_status=204,
            ),
        ),
        "attempts": 1,
        "plan": PlanPosition(partition=0, offset=0, digest="d" * 64),
        "settled_at": NOON + timedelta(minutes=4),
        "written_by": "0.1.0 writer-0",
    }
    return WritebackResult(**given | overrides)

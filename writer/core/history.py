"""What is known of sessions that settled before, from their results. No I/O.

Nothing is inferred: a session without a final result is unknown, whatever the row shows. The last result of a session
says what it left on the queue item, and with that what the row is expected to hold.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from schemas.records import Operation, ResultStatus, StepOutcome, WritebackResult


class Settled(StrEnum):
    """How a session ended, as far as later plans and a second reading of its own plan care."""

    LANDED = "landed"
    """Its columns are on the queue item, or were until a later session's were."""
    SUPERSEDED = "superseded"
    """The call is recorded and counted; its columns came too late for the queue item."""
    NOT_LANDED = "not_landed"
    """It left nothing on the queue item. A replay tries it again."""
    OPT_OUT_ONLY = "opt_out_only"
    """A conflict, in which do-not-call alone was set. A replay tries it again."""
    CLOSED = "closed"
    """A person decided to leave it."""

    @property
    def needs_nothing(self) -> bool:
        """A plan of this session that is read again is settled: nothing is sent for it."""
        return self in (Settled.LANDED, Settled.SUPERSEDED, Settled.CLOSED)


class History(Protocol):
    def of(self, session_id: str) -> Settled | None:
        """None if the session has no final result."""
        ...


def settled_as(result: WritebackResult) -> Settled | None:
    """None for a result that is not final, or that wrote nothing because nothing was to be written (a dry run)."""
    if result.status in (ResultStatus.RESUME_NEEDED, ResultStatus.DRY_RUN):
        return None
    if result.status is ResultStatus.CLOSED:
        return Settled.CLOSED
    update = next((step for step in result.steps if step.operation is Operation.UPDATE_QUEUE_ITEM), None)
    outcome = None if update is None else update.outcome
    if outcome is StepOutcome.SUPERSEDED:
        return Settled.SUPERSEDED
    if outcome not in (StepOutcome.UPDATED, StepOutcome.ALREADY_THERE):
        return Settled.NOT_LANDED
    return Settled.OPT_OUT_ONLY if result.conflicts else Settled.LANDED

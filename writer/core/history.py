"""What is known of sessions that settled before, from their results. No I/O.

Nothing is inferred: a session without a final result is unknown, whatever the row shows. The last result of a session
says what it left on the queue item, and with that what the row is expected to hold.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from schemas.records import BlockReason, Operation, ResultStatus, StepOutcome, WritebackResult


class Settled(StrEnum):
    """How a session ended, as far as later plans and a second reading of its own plan care."""

    LANDED = "landed"
    """Its columns are on the queue item, or were until a later session's were."""
    SUPERSEDED = "superseded"
    """The call is recorded and counted; its columns came too late for the queue item."""
    NOT_WRITTEN = "not_written"
    """Blocked before anything was written. A replay tries it again."""
    IN_DOUBT = "in_doubt"
    """Blocked, and it may have landed: nobody could read the row. A replay finds that out."""
    CALL_ONLY = "call_only"
    """A conflict: the call alone is recorded. A replay tries the rest again."""
    OPT_OUT_ONLY = "opt_out_only"
    """A conflict: the call is recorded, and of the queue item's columns do-not-call alone. A replay tries the rest."""
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


def latest(known: Settled, newer: Settled) -> Settled:
    """What holds after a further final result of a session. It never becomes less true: what landed stays landed, only
    a session that left something to do can be settled in another way, and a replay that wrote nothing does not take
    back what a conflict had recorded. Nor does doubt, or take away an earlier one.
    """
    if newer is Settled.NOT_WRITTEN or (known.needs_nothing and not newer.needs_nothing):
        return known
    if newer is Settled.IN_DOUBT and known is not Settled.NOT_WRITTEN:
        return known
    return known if newer is Settled.CLOSED and known in (Settled.LANDED, Settled.SUPERSEDED) else newer


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
    written = outcome in (StepOutcome.UPDATED, StepOutcome.ALREADY_THERE)
    if result.block_reason is BlockReason.CONFLICT_DETECTED:
        return Settled.OPT_OUT_ONLY if written else Settled.CALL_ONLY
    if written:
        return Settled.LANDED
    return Settled.IN_DOUBT if result.may_have_landed else Settled.NOT_WRITTEN

"""What each disposition does to the CRM, as a table. Pure.

An opt-out beats everything: whatever else the outcome says, the contact is never called again. One that comes with
`blocked` still placed no call, so it writes no phone call and consumes no attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.records import CallOutcome, Disposition, QueueStatus


class TaskKind(StrEnum):
    CALLBACK = "callback"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Effect:
    """`status` None leaves the column alone. A placed call is recorded and consumes an attempt."""

    status: QueueStatus | None
    task: TaskKind | None = None
    do_not_call: bool = False
    call_placed: bool = True

    @property
    def retryable(self) -> bool:
        return self.status is QueueStatus.READY


EFFECTS: Mapping[Disposition, Effect] = {
    Disposition.INTERESTED_CALLBACK_REQUESTED: Effect(QueueStatus.READY, TaskKind.CALLBACK),
    Disposition.INTERESTED_EMAIL_CAPTURED: Effect(QueueStatus.COMPLETED, TaskKind.CALLBACK),
    Disposition.NOT_INTERESTED: Effect(QueueStatus.COMPLETED),
    Disposition.CALL_BACK_LATER: Effect(QueueStatus.READY, TaskKind.CALLBACK),
    Disposition.WRONG_NUMBER: Effect(QueueStatus.BLOCKED),
    Disposition.NO_ANSWER: Effect(QueueStatus.READY),
    Disposition.VOICEMAIL: Effect(QueueStatus.READY),
    Disposition.DO_NOT_CALL: Effect(QueueStatus.DNC, do_not_call=True),
    Disposition.NEEDS_HUMAN_REVIEW: Effect(QueueStatus.BLOCKED, TaskKind.REVIEW),
    Disposition.FAILED: Effect(QueueStatus.READY),
    Disposition.BLOCKED: Effect(None, call_placed=False),
}


def opts_out(outcome: CallOutcome) -> bool:
    """Whether the contact asked not to be called again."""
    return outcome.opt_out or outcome.disposition is Disposition.DO_NOT_CALL


def decide(outcome: CallOutcome) -> tuple[Disposition, Effect]:
    """The disposition after opt-out was weighed, and what it does."""
    if not outcome.opt_out:
        return outcome.disposition, EFFECTS[outcome.disposition]
    placed = EFFECTS[outcome.disposition].call_placed
    return Disposition.DO_NOT_CALL, replace(EFFECTS[Disposition.DO_NOT_CALL], call_placed=placed)

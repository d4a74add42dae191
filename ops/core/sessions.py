"""What state a session is in: from its newest plan, its last result, and what the writer's group has committed. No I/O.

Whether a plan is settled is what the committed offsets and their metadata say, since the writer goes by them: a blocked
plan that a group was rewound to is tried again, whatever its result says. Results alone decide only where a note beyond
the committed offset was too long and had to be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas.records import ResultStatus
from writer.core.history import Settled
from writer.core.ledger import decode_settled, is_complete


class Status(StrEnum):
    """What is said of a session. The first four are those of its last result."""

    COMPLETED = "completed"
    BLOCKED = "blocked"
    CLOSED = "closed"
    RESUME_NEEDED = "resume_needed"
    QUEUED = "queued"
    """Planned, and nothing is said of it yet."""
    PASSED_OVER = "passed_over"
    """The group's offset is behind its plan, and no final result says why: somebody moved the offset, or a result got
    lost. A person must act."""
    RETIRED = "retired"
    """Settled long ago; its mark alone is kept."""


class Committed(StrEnum):
    """What the group's offsets say of one plan."""

    SETTLED = "settled"
    UNSETTLED = "unsettled"
    NOT_SAID = "not said"


@dataclass(frozen=True, slots=True)
class Frontier:
    """What a group has committed for one partition. An offset of None: nothing yet."""

    offset: int | None
    settled_beyond: Sequence[tuple[int, int]] = ()
    """Ranges of offsets: the first, and the first behind."""
    complete: bool = True
    """False if the note of what is settled beyond was cut."""


def frontier_of(offset: int | None, metadata: str | None) -> Frontier:
    if offset is None:
        return Frontier(None)
    cut = (metadata or "").startswith(_A_NOTE) and not is_complete(metadata, offset)
    return Frontier(offset, decode_settled(metadata, offset), complete=not cut)


_A_NOTE = "wb2-:"
"""How `writer.core.ledger` begins a note that it had to cut."""


@dataclass(frozen=True, slots=True)
class PlanSeen:
    """Of a session's newest plan what decides."""

    partition: int
    offset: int
    retired: bool = False


@dataclass(frozen=True, slots=True)
class ResultSeen:
    """Of a session's last result what decides. `partition` and `offset` are those of the plan that it is about."""

    status: ResultStatus
    settled_as: Settled | None
    partition: int
    offset: int
    opt_out_decided: bool = False
    """Who closed it knew what became of the opt-out."""


@dataclass(frozen=True, slots=True)
class State:
    status: Status
    unsettled: bool
    """A writer has it before it, for the first time or again."""
    opt_out_open: bool
    """The contact asked not to be called, and do-not-call is not on the row."""


def state_of(plan: PlanSeen | None, result: ResultSeen | None, committed: Committed, *, opt_out: bool) -> State:
    unsettled = plan is not None and not plan.retired and _is_unsettled(plan, result, committed)
    status = _status(plan, result, unsettled=unsettled)
    on_row = result is not None and result.settled_as in _OPT_OUT_ON_ROW
    decided = status is Status.CLOSED and result is not None and result.opt_out_decided
    return State(status, unsettled, opt_out and not on_row and not decided and status is not Status.RETIRED)


def urgency(state: State) -> int:
    """0 to 9, the most urgent first: an opt-out that is not on its row comes before everything else."""
    return 0 if state.opt_out_open else _URGENCY.get(state.status, 9)


_URGENCY = {Status.PASSED_OVER: 1, Status.BLOCKED: 2, Status.RESUME_NEEDED: 3, Status.QUEUED: 4}
_OPT_OUT_ON_ROW = (Settled.LANDED, Settled.SUPERSEDED, Settled.OPT_OUT_ONLY)
"""A late session sets do-not-call too."""
_NOT_FINAL = (ResultStatus.RESUME_NEEDED, ResultStatus.DRY_RUN)


def _is_unsettled(plan: PlanSeen, result: ResultSeen | None, committed: Committed) -> bool:
    if committed is not Committed.NOT_SAID:
        return committed is Committed.UNSETTLED
    about_it = result is not None and (result.partition, result.offset) == (plan.partition, plan.offset)
    return not about_it or (result is not None and result.status in _NOT_FINAL)


def _status(plan: PlanSeen | None, result: ResultSeen | None, *, unsettled: bool) -> Status:
    if plan is not None and plan.retired:
        return Status.RETIRED
    if result is None or result.status in _NOT_FINAL:
        if not unsettled:
            return Status.PASSED_OVER
        again = result is not None and result.status is ResultStatus.RESUME_NEEDED
        return Status.RESUME_NEEDED if again else Status.QUEUED
    return Status(result.status.value)

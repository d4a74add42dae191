"""Whose trouble a refusal is: one plan's own, or the installation's (W6). No I/O.

A refusal blocks a plan for what the CRM said: a permanent reply, or metadata and owners that the plan names and the CRM
does not have. A conflict is none: what the rows hold decides it.

| the CRM refuses a plan, and                               | then                                              |
|-----------------------------------------------------------|---------------------------------------------------|
| plans that name the same land                             | it is the plan's own trouble: block it            |
| no such plan landed yet, and fewer than `HANDFUL` of them | block it: a plan that is alone must not wait for  |
| were blocked since the last one did                       | others to judge it by                             |
| no such plan lands, and `HANDFUL` were blocked            | it is the installation's: hold the plan, probe,   |
|                                                           | say `resume_needed`, alert                        |
| nothing at all lands, and `HANDFUL` were blocked          | the same, whatever each of them was refused for   |

"The same" is what the refusal is about: the operation that failed, the table and column of a gap, the option value that
is gone, the owner that is gone. So a privilege to create tasks that is missing holds the plans with a task, while those
without one land; and a text that is too long blocks its own plan only, since others write the same column.

Credit is what counts: a blocked plan uses one, a landing of its like gives one back, if its request was begun after the
refusal. What had been on its way before the CRM changed its mind proves nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace

from schemas.records import BlockReason, PlannedStep, PlannedWriteback, ResultStatus, StepOutcome, WritebackResult
from writer.core.gate import people_columns

HANDFUL = 3
"""How many plans may be blocked for one thing while no plan that needs it lands."""
_REMEMBERED = 1000
UNVERIFIABLE = "unverifiable"
"""The reason to hold a plan whose metadata or owners the application user is not allowed to read."""

Names = frozenset[str]
"""Operations, tables, columns, option values, owners. A landing proves every name of its plan."""
ANYTHING: Names = frozenset()
"""What every landing proves."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`about`: several things that may each be the reason; `reason` is a word for metrics."""

    about: tuple[Names, ...]
    reason: str


def refusal_of(plan: PlannedWriteback, result: WritebackResult) -> Refusal | None:
    """Why this result blocks its plan, if the CRM's own words do; None for every other result."""
    if result.status is not ResultStatus.BLOCKED:
        return None
    if result.gaps:
        steps = {step.entity_set: step for step in plan.steps}
        about = tuple(_of_gap(steps.get(gap.entity), gap.entity, gap.column) for gap in result.gaps)
        return Refusal(about, BlockReason.METADATA)
    failed = [step for step in result.steps if step.outcome is StepOutcome.BLOCKED and step.http_status is not None]
    if not failed or result.block_reason is BlockReason.CONFLICT_DETECTED:
        return None
    reason = result.block_reason or BlockReason.PERMANENT_OTHER
    return Refusal((frozenset(str(step.operation) for step in failed),), reason)


def of_whole(plan: PlannedWriteback) -> tuple[Names, ...]:
    """What a refusal is about that may concern any step."""
    return (frozenset(str(step.operation) for step in plan.steps),)


def taken(result: WritebackResult) -> frozenset[int]:
    """The steps that the CRM took as planned; in a dry run, those that would have been sent."""
    return frozenset(step.step_index for step in result.steps if step.outcome in _TAKEN)


_TAKEN = (StepOutcome.CREATED, StepOutcome.UPDATED, StepOutcome.PLANNED)


def named_by(plan: PlannedWriteback, steps: Collection[int]) -> Names:
    """Everything that a landing of these steps of the plan proves to be as it should."""
    return frozenset(name for step in plan.steps if step.step_index in steps for name in _names(step))


def has_landed(result: WritebackResult) -> bool:
    """Whether the CRM took the plan's own update just now; in a dry run, whether it would have been sent."""
    if result.status is ResultStatus.DRY_RUN:
        return result.block_reason is None
    whole = result.status is ResultStatus.COMPLETED or result.block_reason is BlockReason.ELIGIBILITY
    return whole and any(step.outcome in (StepOutcome.UPDATED, StepOutcome.CREATED) for step in result.steps)


def held(result: WritebackResult) -> WritebackResult:
    """What is published in place of a block while the trouble is the installation's."""
    unsent = (StepOutcome.BLOCKED, StepOutcome.SKIPPED)
    steps = tuple(replace(s, outcome=StepOutcome.PLANNED) if s.outcome in unsent else s for s in result.steps)
    return replace(
        result,
        status=ResultStatus.RESUME_NEEDED,
        block_reason=None,
        first_settled_at=None,
        steps=steps,
        message=f"Still queued, not blocked: no plan that needs the same lands at present, so the installation is at "
        f"fault and not this plan. It is tried again until it lands. {result.message}",
    )


class Credits:
    """How many more plans may be blocked for each thing. What nobody was blocked for has full credit."""

    def __init__(self) -> None:
        self._used: OrderedDict[Names, _Used] = OrderedDict()

    def take(self, about: Collection[Names], now: float) -> bool:
        """Whether one more plan may be blocked for this; if so, it counts."""
        if not (self._left(ANYTHING) and any(self._left(one) for one in about)):
            return False
        for one in (ANYTHING, *about):
            used = self._used.setdefault(one, _Used(now))
            used.times = min(HANDFUL, used.times + 1)
        self._bound()
        return True

    def landed(self, named: Names, sent_at: float) -> None:
        """A plan that names these landed; its request was begun at `sent_at`."""
        for one, used in list(self._used.items()):
            if one <= named and sent_at >= used.since:
                used.times -= 1
                if used.times == 0:
                    del self._used[one]

    def _left(self, one: Names) -> bool:
        return one not in self._used or self._used[one].times < HANDFUL

    def _bound(self) -> None:
        while len(self._used) > _REMEMBERED:
            oldest = next(one for one in self._used if one != ANYTHING)
            del self._used[oldest]


@dataclass(slots=True)
class _Used:
    since: float
    times: int = 0


def _of_gap(step: PlannedStep | None, entity_set: str, column: str | None) -> Names:
    """A gap without a column is the table's or the owner's."""
    if column is None:
        owner = f" owner {step.owner_candidates[-1].value}" if step and step.owner_candidates else ""
        return frozenset({entity_set + owner})
    value = step.attributes.get(column) if step else None
    return frozenset({f"{entity_set}.{column}={value}" if isinstance(value, int) else f"{entity_set}.{column}"})


def _names(step: PlannedStep) -> list[str]:
    columns = (*step.attributes, *step.increments)
    values = [f"{step.entity_set}.{name}={value}" for name, value in step.attributes.items() if isinstance(value, int)]
    owners = [f"{step.entity_set} owner {owner.value}" for owner in step.owner_candidates[-1:]]
    people = [f"{step.entity_set}.{name}" for name in people_columns(step)]
    named = (f"{step.entity_set}.{name}" for name in columns)
    return [step.operation, step.entity_set, *named, *values, *owners, *people]

"""What became of a plan, judged by the records that stand in the CRM. Pure.

What the judgement rests on:

- A plan's steps land in one change set, so one of them that stands proves the others; the exception is the call
  activity, which a conflict leaves alone. So the task, or the queue item showing our session, proves the whole plan,
  and the phone call alone proves nothing about the queue item.
- A later session of ours on the row says that this one was settled before that was begun (W4), not how: it may have
  landed, or been a conflict. The result that was told then stands.
- People work on queue items, but the session column is the machines' own: it names the last plan that landed there.
- The baseline is the plan's. What is read now is compared with it, and never takes its place (W7).
- Records are known by the plan's id *and* by their identity columns: one session id used for two queue items must not
  pass for landed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from schemas.records import Operation, PlannedStep, PlannedWriteback, Value
from writer.core.emission import CALL_ACTIVITY, update_step


@dataclass(frozen=True, slots=True)
class Observed:
    """One record as it stands: columns in the plan's vocabulary, a lookup as `/set(id)` under its binding name."""

    etag: str
    columns: Mapping[str, Value]


Observations = Mapping[int, Observed | None]
"""By the step index of `emission.reads`; None for a record that is not there."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Every step took effect: nothing to send."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A later session of ours stands on the row: settled before, and told. Nothing to send, nothing to tell again."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Send these steps together, the queue item under this etag."""

    steps: tuple[int, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A person changed these columns, or deleted the row. Record the call (`call_steps`), touch nothing else."""

    columns: tuple[str, ...]
    call_steps: tuple[int, ...]
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class SomebodyElses:
    """Under the id of this step stands a record that is not this plan's. Nothing may be sent."""

    step_index: int


Finding = Landed | Superseded | Missing | Conflict | SomebodyElses


def reconcile(plan: PlannedWriteback, observed: Observations) -> Finding:
    """Decides what is left to do."""
    for step in plan.steps:
        if (record := observed.get(step.step_index)) is not None and not _is_ours(step, record):
            return SomebodyElses(step.step_index)
    row = observed.get(update_step(plan).step_index)
    if _proved(plan, observed, row):
        return Landed()
    if row is not None and _superseded(plan, observed, row):
        return Superseded()
    missing = _missing_steps(plan, observed)
    call = tuple(s.step_index for s in plan.steps if s.step_index in missing and s.operation in CALL_ACTIVITY)
    if row is None:
        return Conflict((), call, deleted=True)
    if columns := changed_columns(plan, row):
        return Conflict(columns, call)
    return Missing(missing, row.etag)


def changed_columns(plan: PlannedWriteback, row: Observed) -> tuple[str, ...]:
    """The columns in which the row is in none of the states in which it may be found; empty if there is no conflict."""
    if row.etag == plan.baseline.etag:
        return ()
    differing = [(state, _differing(plan, state, row.columns)) for state in _accepted_states(plan)]
    if any(not columns for _, columns in differing):
        return ()
    ours = _session_column(plan)
    of_same_session = (
        columns for state, columns in differing[:-1] if ours and same(state.get(ours), row.columns.get(ours))
    )
    return next(of_same_session, differing[-1][1])


def _accepted_states(plan: PlannedWriteback) -> list[Mapping[str, Value]]:
    """Newest first, the baseline last."""
    baseline = plan.baseline.columns
    return [*({**baseline, **earlier.columns} for earlier in plan.preceding), baseline]


def _differing(plan: PlannedWriteback, state: Mapping[str, Value], row: Mapping[str, Value]) -> tuple[str, ...]:
    """A column that the plan writes but nobody knew before may be empty, or already what the plan says. A column that
    concerns only an earlier plan was not read, and is none of this one's business.
    """
    planned = update_step(plan).attributes
    concerned = plan.baseline.columns.keys() | planned.keys()
    known = [name for name, value in state.items() if name in concerned and not same(row.get(name), value)]
    unknown = [
        name
        for name, value in planned.items()
        if name not in state and row.get(name) is not None and not same(row.get(name), value)
    ]
    return (*known, *unknown)


def _proved(plan: PlannedWriteback, observed: Observations, row: Observed | None) -> bool:
    call_stands = _stands(plan, observed, Operation.CREATE_PHONE_CALL)
    task_stands = _stands(plan, observed, Operation.CREATE_TASK)
    if task_stands or row is None:
        return bool(task_stands)
    if (ours := _session_column(plan)) is None:
        planned = update_step(plan).attributes
        return call_stands is not False and all(same(row.columns.get(name), value) for name, value in planned.items())
    return same(row.columns.get(ours), plan.session_id)


def _superseded(plan: PlannedWriteback, observed: Observations, row: Observed) -> bool:
    """Whether the row shows a session nobody knew when this one was planned. A plan with a task is told by its task."""
    if (ours := _session_column(plan)) is None or ours not in plan.baseline.columns:
        return False
    session = row.columns.get(ours)
    if session is None or any(same(session, state.get(ours)) for state in _accepted_states(plan)):
        return False
    call_stands = _stands(plan, observed, Operation.CREATE_PHONE_CALL)
    return call_stands is not False and _stands(plan, observed, Operation.CREATE_TASK) is None


def _stands(plan: PlannedWriteback, observed: Observations, operation: Operation) -> bool | None:
    """Whether the record of this step is there; None if the plan has no such step."""
    found = [observed.get(step.step_index) is not None for step in plan.steps if step.operation is operation]
    return any(found) if found else None


def _missing_steps(plan: PlannedWriteback, observed: Observations) -> tuple[int, ...]:
    call = next((observed.get(s.step_index) for s in plan.steps if s.operation is Operation.CREATE_PHONE_CALL), None)
    return tuple(step.step_index for step in plan.steps if _is_missing(step, observed.get(step.step_index), call))


def _is_missing(step: PlannedStep, record: Observed | None, call: Observed | None) -> bool:
    if step.operation is Operation.UPDATE_QUEUE_ITEM:
        return True
    if step.operation is Operation.COMPLETE_PHONE_CALL:
        return call is None or any(not same(call.columns.get(name), v) for name, v in step.attributes.items())
    return record is None


def _is_ours(step: PlannedStep, record: Observed) -> bool:
    column = step.session_column
    if column is None or step.operation is Operation.UPDATE_QUEUE_ITEM:
        return True
    return record.columns.get(column) == step.attributes.get(column)


def _session_column(plan: PlannedWriteback) -> str | None:
    """The column in which the row shows whose plan landed last; None if the plan writes none, or it proves nothing."""
    for name, value in update_step(plan).attributes.items():
        if value == plan.session_id and plan.baseline.columns.get(name) != value:
            return name
    return None


_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9:.]{5,}(Z|[+-][0-9:]{4,6})")
_ID = re.compile(r"(?:/?([A-Za-z0-9_]+)\((?=.*\)$))?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(?(1)\))")


def same(one: Value, other: Value) -> bool:
    """Equal as the CRM means it: times as instants, links and ids whatever their letters' case, a link and the bare id
    of a lookup column by that id; null only null.
    """
    if one == other:
        return True
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    if _TIME.fullmatch(one) and _TIME.fullmatch(other):
        return _instant(one) == _instant(other) is not None
    ids = _ID.fullmatch(one), _ID.fullmatch(other)
    if ids[0] is None or ids[1] is None or ids[0][2].lower() != ids[1][2].lower():
        return False
    return None in (ids[0][1], ids[1][1]) or ids[0][1] == ids[1][1]


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None

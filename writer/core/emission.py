"""A plan as requests. Nothing is sent that is not in the plan, and every write carries a precondition.

- Creates are refused if the record exists: they are the fence against a second writer and against a lost reply. They
  carry `If-None-Match: *`. One with activity parties is a POST that names the record's id: rows that are made together
  with a record are documented for a POST alone, and a second POST of one id is refused as a duplicate.
- The queue item is only patched under an etag; `If-Match: *` never touches it.
- Completing the phone call needs its record to be there; it always follows the create in the same change set.
- A counter is sent as what the row holds under that etag plus the step's amount: it counts once, since the etag is then
  over, and what a person corrected is added to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote

from schemas.records import (
    ActivityParties,
    Operation,
    OwnerCandidate,
    PlannedStep,
    PlannedWriteback,
    Precondition,
    Value,
)
from writer.core.batch import Body, ChangeSet, Request
from writer.core.values import ETAG, instant

Owners = Mapping[int, OwnerCandidate]
"""The owner chosen for each step that has candidates, by step index."""


@dataclass(frozen=True, slots=True)
class Emission:
    """A change set, and which step each of its operations is."""

    steps: tuple[PlannedStep, ...]
    change_set: ChangeSet


@dataclass(frozen=True, slots=True)
class Read:
    """A record of the plan's to look at: the columns are the plan's own names, binding names included."""

    step_index: int
    entity_set: str
    record_id: str
    columns: tuple[str, ...]


PRECONDITIONS: Mapping[Operation, Precondition] = {
    Operation.CREATE_PHONE_CALL: Precondition.MUST_NOT_EXIST,
    Operation.COMPLETE_PHONE_CALL: Precondition.MUST_EXIST,
    Operation.UPDATE_QUEUE_ITEM: Precondition.MUST_MATCH_BASELINE,
    Operation.CREATE_TASK: Precondition.MUST_NOT_EXIST,
}
"""The only one under which a step of this operation may be sent."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One record as it is now: columns in the plan's vocabulary, a lookup as `/set(id)` under its binding name."""

    etag: str
    columns: Mapping[str, Value]


Limits = Mapping[str, int]
"""The most that a counter of the queue item may hold, by column; one that is not there has no limit."""
NO_LIMITS: Limits = MappingProxyType({})


def baseline_row(plan: PlannedWriteback) -> Observed | None:
    """The row as the call system read it; None if it has to be read first: no etag, or a counter that is not known."""
    etag, columns = plan.baseline.etag, plan.baseline.columns
    if not etag or not ETAG.fullmatch(etag) or update_step(plan).increments.keys() - columns.keys():
        return None
    return Observed(etag, columns)


def counted(step: PlannedStep, row: Observed, limits: Limits) -> dict[str, Value]:
    """What the counters hold once this step has landed: null counts as 0, and nothing goes beyond its limit."""
    return {name: _sum(row.columns.get(name), amount, limits.get(name)) for name, amount in step.increments.items()}


def _sum(held: Value, amount: int, limit: int | None) -> int:
    held = held if isinstance(held, int) else 0
    return held + amount if limit is None else max(held, min(held + amount, limit))


def at_limit(step: PlannedStep, row: Observed, limits: Limits) -> tuple[str, ...]:
    """Counters that cannot be counted up in full."""
    full_sum = counted(step, row, {})
    return tuple(name for name, value in counted(step, row, limits).items() if value != full_sum[name])


def of_steps(
    plan: PlannedWriteback, steps: Iterable[int], owners: Owners, row: Observed | None, limits: Limits = NO_LIMITS
) -> Emission:
    """Some steps of the plan, in its order, complete. `row` is needed if the queue item's update is among them."""
    wanted = frozenset(steps)
    chosen = tuple(step for step in plan.steps if step.step_index in wanted)
    return Emission(chosen, ChangeSet(tuple(_request(s, owners.get(s.step_index), row, limits) for s in chosen)))


def full(plan: PlannedWriteback, owners: Owners, row: Observed, limits: Limits = NO_LIMITS) -> Emission:
    """Every step of the plan."""
    return of_steps(plan, (step.step_index for step in plan.steps), owners, row, limits)


def late(
    plan: PlannedWriteback,
    steps: Iterable[int],
    owners: Owners,
    row: Observed,
    limits: Limits = NO_LIMITS,
    *,
    counts: bool,
    sets_do_not_call: bool,
) -> Emission:
    """What a plan still does once a later session is on the queue item: the steps given, and of its update no more than
    to count and to set do-not-call."""
    update = update_step(plan)
    body = counted(update, row, limits) if counts else {}
    if sets_do_not_call:
        body |= _do_not_call(update)
    return _with_part_of_update(of_steps(plan, steps, owners, None), plan, row, body)


def call_activity(plan: PlannedWriteback, steps: Iterable[int], row: Observed | None = None) -> Emission:
    """What is still recorded in a conflict (W3): the call itself, never the task; of the queue item do-not-call alone,
    if `row` is given."""
    wanted = frozenset(steps) & {step.step_index for step in plan.steps if step.operation in CALL_ACTIVITY}
    calls = of_steps(plan, wanted, {}, None)
    return calls if row is None else _with_part_of_update(calls, plan, row, _do_not_call(update_step(plan)))


def _with_part_of_update(
    others: Emission, plan: PlannedWriteback, row: Observed, body: Mapping[str, Value]
) -> Emission:
    """In the plan's order, so that step and request stay together; without a body the queue item is left alone."""
    if not body:
        return others
    update = update_step(plan)
    part = replace(update, attributes=body, increments={})
    pairs = [*zip(others.steps, others.change_set.requests, strict=True), (update, _request(part, None, row, {}))]
    pairs.sort(key=lambda pair: pair[0].step_index)
    return Emission(tuple(step for step, _ in pairs), ChangeSet(tuple(request for _, request in pairs)))


def _do_not_call(update: PlannedStep) -> dict[str, Value]:
    return {name: value for name, value in update.attributes.items() if name == update.do_not_call_column}


CALL_ACTIVITY = frozenset({Operation.CREATE_PHONE_CALL, Operation.COMPLETE_PHONE_CALL})


def update_step(plan: PlannedWriteback) -> PlannedStep:
    """The queue item's update; every plan has exactly one. Raises ValueError if this one does not."""
    (step,) = (step for step in plan.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)
    return step


def was_read(plan: PlannedWriteback) -> bool:
    """Whether the call system read the queue item: if it is not there now, somebody deleted it."""
    return plan.baseline.etag is not None


def opts_out(plan: PlannedWriteback) -> bool:
    """Whether the contact asked not to be called again: the plan sets do-not-call."""
    update = update_step(plan)
    return update.do_not_call_column is not None and update.attributes.get(update.do_not_call_column) is True


def reads(plan: PlannedWriteback) -> tuple[Read, ...]:
    """What to look at before deciding what is missing: each record once, under the index of the step that names it.

    Records that the plan creates are read with the columns by which they are known, the queue item with all that is
    compared, counted or set. The phone call is read under its create step.
    """
    return tuple(
        Read(step.step_index, step.entity_set, step.record_id, tuple(dict.fromkeys(_columns_to_read(plan, step))))
        for step in plan.steps
        if step.operation is not Operation.COMPLETE_PHONE_CALL
    )


def evidence(plan: PlannedWriteback) -> Read:
    """Where it shows first that a plan has landed: in its call, whatever that holds; without one, in the session on the
    queue item.
    """
    call = next((step for step in plan.steps if step.operation is Operation.CREATE_PHONE_CALL), None)
    step = call or update_step(plan)
    return Read(
        step.step_index, step.entity_set, step.record_id, () if call else tuple(filter(None, [step.session_column]))
    )


def _columns_to_read(plan: PlannedWriteback, step: PlannedStep) -> Iterator[str]:
    if step.operation is Operation.UPDATE_QUEUE_ITEM:
        yield from (*plan.baseline.columns, *step.attributes, *step.increments)
        yield from filter(None, (step.session_column, step.do_not_call_column))
        return
    yield from filter(None, (step.session_column,))
    if step.operation is Operation.CREATE_PHONE_CALL:
        yield from moments(step, plan)


def moments(step: PlannedStep, plan: PlannedWriteback) -> tuple[str, ...]:
    """The columns of a step that hold when the session began and when it ended, to the second as plans do."""
    known = {moment.replace(microsecond=0) for moment in (plan.started_at, plan.outcome_at)}
    return tuple(name for name, value in step.attributes.items() if isinstance(value, str) and instant(value) in known)


def get(read: Read, selected: Mapping[str, str]) -> Request:
    """The GET of one record. `selected`: plan column to the property that shows it, where the two differ."""
    properties = tuple(dict.fromkeys(selected.get(column, column) for column in read.columns))
    return Request("GET", f"{read.entity_set}({read.record_id}){_select(properties)}", {"Accept": "application/json"})


@lru_cache(maxsize=1024)
def _select(properties: tuple[str, ...]) -> str:
    """Kept, since the plans of one mapping ask for the same few sets of columns."""
    return f"?$select={','.join(quote(name, safe='_') for name in properties)}" if properties else ""


def _request(step: PlannedStep, owner: OwnerCandidate | None, row: Observed | None, limits: Limits) -> Request:
    headers = _precondition(step.precondition, None if row is None else row.etag)
    body: dict[str, Value] = dict(step.attributes)
    if row is not None:
        body |= counted(step, row, limits)
    if owner is not None:
        body[owner.column] = owner.value
    if step.activity_parties is not None:
        return Request(
            "POST", step.entity_set, _on_behalf(step), {**body, **_with_parties(step, step.activity_parties)}
        )
    return Request("PATCH", f"{step.entity_set}({step.record_id})", headers | _on_behalf(step), body)


def _with_parties(step: PlannedStep, parties: ActivityParties) -> Body:
    members: list[Mapping[str, Value]] = [
        {one.column: one.value, "participationtypemask": one.participation} for one in parties.members
    ]
    return {parties.id_column: step.record_id, parties.collection: members}


def _on_behalf(step: PlannedStep) -> dict[str, str]:
    """In each operation of its own: plans of several callers share a request."""
    return {} if step.caller is None else {CALLER: step.caller.object_id}


CALLER = "CallerObjectId"
"""The header that names the user on whose behalf an operation is carried out."""


def _precondition(precondition: Precondition, etag: str | None) -> dict[str, str]:
    if precondition is Precondition.MUST_NOT_EXIST:
        return {"If-None-Match": "*"}
    if precondition is Precondition.MUST_EXIST:
        return {"If-Match": "*"}
    if etag is None or not ETAG.fullmatch(etag):
        raise ValueError("the queue item is never patched without an etag that was read")
    return {"If-Match": etag}

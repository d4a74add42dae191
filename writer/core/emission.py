"""A plan as requests. Nothing is sent that is not in the plan, and every write carries a precondition.

- Creates carry `If-None-Match: *`: they are the fence against a second writer and against a lost reply.
- The queue item is only patched under an etag; `If-Match: *` never touches it.
- Completing the phone call needs its record to be there; it always follows the create in the same change set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from schemas.records import Operation, OwnerCandidate, PlannedStep, PlannedWriteback, Precondition, Value
from writer.core.batch import ChangeSet, Request

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


ETAG = re.compile(r'(?:W/)?"[!#-~]{1,200}"')
"""A version of a record. Whatever else is called an etag, the wildcard above all, is none to write under."""

PRECONDITIONS: Mapping[Operation, Precondition] = {
    Operation.CREATE_PHONE_CALL: Precondition.MUST_NOT_EXIST,
    Operation.COMPLETE_PHONE_CALL: Precondition.MUST_EXIST,
    Operation.UPDATE_QUEUE_ITEM: Precondition.MUST_MATCH_BASELINE,
    Operation.CREATE_TASK: Precondition.MUST_NOT_EXIST,
}
"""The only one under which a step of this operation may be sent."""


def first_etag(plan: PlannedWriteback) -> str | None:
    """The etag to write under straight away; None if the row has to be read first."""
    etag = plan.baseline.etag
    return etag if etag and ETAG.fullmatch(etag) else None


def full(plan: PlannedWriteback, owners: Owners, etag: str) -> Emission:
    """Every step of the plan, the queue item under this etag."""
    return of_steps(plan, (step.step_index for step in plan.steps), owners, etag)


def of_steps(plan: PlannedWriteback, steps: Iterable[int], owners: Owners, etag: str | None) -> Emission:
    """Some steps of the plan, in its order. `etag` is needed if the queue item's update is among them."""
    wanted = frozenset(steps)
    chosen = tuple(step for step in plan.steps if step.step_index in wanted)
    requests = tuple(_request(step, owners.get(step.step_index), etag) for step in chosen)
    return Emission(chosen, ChangeSet(requests))


def call_activity(plan: PlannedWriteback, steps: Iterable[int]) -> Emission:
    """What is still recorded in a conflict (W3): the call itself, never the queue item or the task."""
    wanted = frozenset(steps) & {step.step_index for step in plan.steps if step.operation in CALL_ACTIVITY}
    return of_steps(plan, wanted, {}, None)


CALL_ACTIVITY = frozenset({Operation.CREATE_PHONE_CALL, Operation.COMPLETE_PHONE_CALL})


def update_step(plan: PlannedWriteback) -> PlannedStep:
    """The queue item's update; every plan has exactly one. Raises ValueError if this one does not."""
    (step,) = (step for step in plan.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)
    return step


def reads(plan: PlannedWriteback) -> tuple[Read, ...]:
    """What to look at before deciding what is missing: each record once, under the index of the step that names it.

    The phone call is read under its create step, with the columns by which it is known and those that complete it.
    """
    found: list[Read] = []
    for step in plan.steps:
        if step.operation is Operation.UPDATE_QUEUE_ITEM:
            columns = (*plan.baseline.columns, *step.attributes)
        elif step.operation is Operation.COMPLETE_PHONE_CALL:
            continue
        else:
            completion = (other.attributes for other in plan.steps if other.operation is Operation.COMPLETE_PHONE_CALL)
            closing = [name for attributes in completion for name in attributes]
            columns = (
                *([step.session_column] if step.session_column else []),
                *(closing if step.operation is Operation.CREATE_PHONE_CALL else ()),
            )
        found.append(Read(step.step_index, step.entity_set, step.record_id, tuple(dict.fromkeys(columns))))
    return tuple(found)


def get(read: Read, selected: Mapping[str, str]) -> Request:
    """The GET of one record. `selected`: plan column to the property that shows it, where the two differ."""
    properties = dict.fromkeys(selected.get(column, column) for column in read.columns)
    query = f"?$select={','.join(quote(name, safe='_') for name in properties)}" if properties else ""
    return Request("GET", f"{read.entity_set}({read.record_id}){query}", {"Accept": "application/json"})


def _request(step: PlannedStep, owner: OwnerCandidate | None, etag: str | None) -> Request:
    body: dict[str, Value] = dict(step.attributes)
    if owner is not None:
        body[owner.column] = owner.value
    return Request("PATCH", f"{step.entity_set}({step.record_id})", _precondition(step.precondition, etag), body)


def _precondition(precondition: Precondition, etag: str | None) -> dict[str, str]:
    if precondition is Precondition.MUST_NOT_EXIST:
        return {"If-None-Match": "*"}
    if precondition is Precondition.MUST_EXIST:
        return {"If-Match": "*"}
    if etag is None or not ETAG.fullmatch(etag):
        raise ValueError("the queue item is never patched without an etag that was read")
    return {"If-Match": etag}

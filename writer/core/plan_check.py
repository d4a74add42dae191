"""Whether a decoded record is a plan that the writer may make true. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.headers import Reason
from schemas.records import Operation, PlannedWriteback
from writer.core.emission import PRECONDITIONS


def is_mark(plan: PlannedWriteback) -> bool:
    """What is left under the key of a session that settled long ago and was retired: nothing to do, nothing to say."""
    return plan.retired_at is not None and not plan.steps


def reasons_against(plan: PlannedWriteback, key: bytes | None) -> Sequence[Reason]:
    """Every reason against this plan; none if it is a plan, or a mark."""
    reasons = []
    if key != plan.session_id.encode():
        reasons.append(Reason("key_mismatch", "session_id", "the record's key is the plan's session id"))
    if not is_mark(plan) and [step.operation for step in plan.steps].count(Operation.UPDATE_QUEUE_ITEM) != 1:
        reasons.append(Reason("no_queue_item_update", "steps", "exactly one step that updates the queue item"))
    if len({step.step_index for step in plan.steps}) != len(plan.steps):
        reasons.append(Reason("step_index_repeated", "steps", "every step has an index of its own"))
    if any(step.precondition is not PRECONDITIONS[step.operation] for step in plan.steps):
        reasons.append(Reason("precondition_mismatch", "steps", "the precondition that its operation demands"))
    if any(step.activity_parties and step.operation is not Operation.CREATE_PHONE_CALL for step in plan.steps):
        reasons.append(Reason("parties_misplaced", "steps", "activity parties on no step but the phone call's create"))
    return reasons

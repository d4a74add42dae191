"""P8 What a later outcome may not undo. Pure.

Automation never leaves `dnc`. It leaves `completed` and `blocked` only for a session that began when the one that set
them was over. Calls overlap and analyses come late, so the order on the topic says nothing about that: the sessions'
own times decide. The call is recorded and counted all the same; the status stays, and a warning says why.

The row is expected to say what the baseline says, overlaid by our plans that the baseline does not include:

- A row whose baseline says do-not-call, by its flag or by its status, has opted out. So has one for which an earlier
  plan of ours is an opt-out, until a later baseline shows that a person has lifted it: another status, the flag false.
- A baseline that says `completed` or `blocked` where no plan of ours set that shows the decision of a person, or of
  another system. Nothing says when it was made, so it stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from planner.core.dispositions import Effect, TaskKind
from planner.core.preceding import EarlierPlan, History
from planner.core.times import milliseconds
from schemas.records import Baseline, CallOutcome, QueueStatus, Value

_CLOSED = (QueueStatus.COMPLETED, QueueStatus.BLOCKED)


class Kept(StrEnum):
    """Why a status stays; each is the end of a sentence."""

    OPTED_OUT = "the contact asked not to be called"
    NOT_OVER = "the session that set it was not over when this one began"
    UNKNOWN = "it was set by somebody else, before the call"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the row is expected to say. `setter` is the plan of ours that set the status, None if that is not known."""

    opted_out: bool
    status: QueueStatus | None
    setter: EarlierPlan | None

    def keeps(self, outcome: CallOutcome, effect: Effect) -> Kept | None:
        """Why the outcome may not set the status that its disposition asks for; None if it may, or asks for none."""
        if effect.status in (None, QueueStatus.DNC):
            return None
        if self.opted_out:
            return Kept.OPTED_OUT
        if self.status not in _CLOSED or self.status is effect.status:
            return None
        if self.setter is None:
            return Kept.UNKNOWN
        return None if _began_after(outcome, self.setter) else Kept.NOT_OVER


def standing(baseline: Baseline, history: History, column: str, statuses: Mapping[QueueStatus, Value]) -> Standing:
    """`column` holds the status of the queue item, `statuses` are its values there."""
    names = {value: status for status, value in statuses.items()}
    found = _at_baseline(baseline, history, column, names)
    for plan in history.outstanding():
        found = _laid_over(found, plan, names.get(plan.columns.get(column)))
    return found


def restrained(effect: Effect, kept: Kept | None) -> Effect:
    """What is left of an effect: no other status, and nobody is asked to call a contact who opted out."""
    if kept is None:
        return effect
    no_callback = kept is Kept.OPTED_OUT and effect.task is TaskKind.CALLBACK
    return replace(effect, status=None, task=None if no_callback else effect.task)


def _at_baseline(baseline: Baseline, history: History, column: str, names: Mapping[Value, QueueStatus]) -> Standing:
    opted_out = QueueStatus.DNC is baseline.status or bool(baseline.do_not_call) or history.opted_out_before
    setter = history.setter_before
    set_by_us = names.get(setter.columns[column]) if setter else None
    if baseline.status is None:
        return Standing(opted_out, set_by_us, setter)
    return Standing(opted_out, baseline.status, setter if set_by_us is baseline.status else None)


def _laid_over(found: Standing, plan: EarlierPlan, status: QueueStatus | None) -> Standing:
    opted_out = found.opted_out or plan.opt_out
    if status is None:
        return replace(found, opted_out=opted_out)
    again = found.setter is not None and found.status is status and found.setter.ended_ms > plan.ended_ms
    return Standing(opted_out, status, found.setter if again else plan)


def _began_after(outcome: CallOutcome, setter: EarlierPlan) -> bool:
    began = milliseconds(outcome.started_at)
    return began > setter.started_ms and began >= setter.ended_ms

"""Which claims may be given back because nobody reports on them any more. No I/O.

A claimer that died left its item `in_progress`. One that did report left it so too, until its write-back lands: then
the item is not to be released, or the plan would meet a row that was changed under it, and conflict. One whose session
a person closed, or whose outcome was rejected, was called: it is not released by its age, only by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ops.core.queue_item import QueueItem
from ops.core.remedies import planned_since
from ops.core.sessions import Status
from ops.core.times import milliseconds
from ops.core.verdicts import needs_a_person

SKEW = timedelta(minutes=5)
"""Two clocks may differ by this much: a report that is this much older than the claim may still be about it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One item that is in progress, and for how long. `held_back` says why it stays claimed, if it does; `means` what
    follows if it is released although somebody reported on it."""

    item: QueueItem
    age: timedelta
    held_back: str | None = None
    for_a_person: bool = False
    means: str | None = None

    @property
    def releasable(self) -> bool:
        return self.held_back is None


def judged(
    item: QueueItem,
    now: datetime,
    *,
    sessions: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    waits_for_the_planner: bool,
    named: bool = False,
) -> Claim:
    """`sessions` and `rejected`: rows of the view about this item. `named`: a person asked for this very item."""
    since_ms = milliseconds(item.claimed_at - SKEW)
    age = now - item.claimed_at
    if waits_for_the_planner:
        return Claim(item, age, "its outcome is published and not planned yet")
    since = [row for row in sessions if (row["planned_ms"] or row["settled_ms"] or 0) >= since_ms]
    for row in since:
        if row["unsettled"] or row["status"] in (Status.QUEUED, Status.RESUME_NEEDED):
            return Claim(item, age, f"session {row['session']} is on its way to the CRM")
        if needs_a_person(row["status"], row["reason"]):
            why = (
                f"its session {row['session']} is {row['status']}, and a person has to decide about it first: "
                f"writeback {'replay --session' if row['status'] == Status.PASSED_OVER else 'resolve'} {row['session']}"
            )
            return Claim(item, age, why, for_a_person=True)
    by_name = f"writeback release --queue-item {item.id}"
    if closed := next((row["session"] for row in since if row["status"] == Status.CLOSED), None):
        if named:
            return Claim(item, age, means=f"its session {closed} was closed by a person. {_CALLED_AGAIN}")
        why = (
            f"its session {closed} was closed by a person, and the item was left as it is: set its status in the CRM, "
            f"or give it back to be called again: {by_name}"
        )
        return Claim(item, age, why, for_a_person=True)
    if any(row["at_ms"] >= since_ms and not planned_since(row) for row in rejected):
        if named:
            return Claim(item, age, means=f"its outcome was rejected. {_CALLED_AGAIN} {_CONFLICTS}")
        why = (
            "its outcome was rejected: correct it and publish it again (writeback rejected list); if that will not "
            f"happen, give the item back to be called again: {by_name}"
        )
        return Claim(item, age, why, for_a_person=True)
    return Claim(item, age)


_CALLED_AGAIN = "Released, the item is called again, and the call that was made is not counted as an attempt."
_CONFLICTS = "An outcome of that call that is published later conflicts."


def what_is_released(items: Sequence[QueueItem], stale_after: str | None) -> Mapping[str, Any]:
    """What `operator-actions` keeps of it."""
    return {"stale_after": stale_after, "queue_items": [each.id for each in items]}

"""Which sessions may be planned anew, and what comes of it. No I/O.

P1 Only a session of which nothing was written gets a new plan, and only in the place of exactly the plan that it has.
   The planner and the writer hold that too: what changed since it was asked for stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops.core.actions import Asked, Preview
from ops.core.counting import number_of
from ops.core.sessions import Status
from ops.core.times import iso
from ops.core.verdicts import needs_a_person
from schemas import headers
from schemas.headers import Headers
from writer.core.history import Settled

Row = Mapping[str, Any]
REPLAN = "replan"
PART = 500
"""Sessions in one record of what was asked for."""


def why_not(row: Row) -> str | None:
    """Why this session is not planned anew, in words with what helps; None if it may be."""
    if row["plan_offset"] is None or row["retired_ms"] is not None:
        return "no plan any more"
    if row["unsettled"]:
        return "not settled yet: wait for the writer's result"
    if row["status"] != Status.BLOCKED:
        return f"{row['status']}, not blocked"
    if row["settled_as"] == Settled.IN_DOUBT:
        return "it may have landed: `writeback replay` finds that out"
    if row["settled_as"] != Settled.NOT_WRITTEN:
        return "something was written already: that is for `writeback resolve`"
    return None


@dataclass(frozen=True, slots=True)
class OutcomePlace:
    """Where an outcome is, by the plan that was made from it."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def place_of(source: str) -> OutcomePlace:
    topic, partition, offset = source.rsplit("/", 2)
    return OutcomePlace(topic, int(partition), int(offset))


def kept_until(planned_ms: int, retention_ms: int | None) -> str:
    if retention_ms is None:
        return "for as long as its topic keeps outcomes"
    return "without end" if retention_ms < 0 else f"until about {iso(planned_ms + retention_ms)}"


def header(given: Headers, digest: str, person: Asked) -> list[tuple[str, bytes]]:
    """Those of the sender, and which plan is to be replaced, by whom and why."""
    kept = [(name, value) for name, value in given if name not in (*headers.MARKS, headers.ASKED)]
    return [*kept, (headers.REPLAN, digest.encode("ascii")), person.header(headers.ASKED)]


@dataclass(frozen=True, slots=True)
class ReplanSelection:
    """`gone`: session to until when its outcome was kept. `left_out`: why, to how many."""

    chosen: Sequence[str]
    gone: Mapping[str, str]
    left_out: Mapping[str, int]

    def preview(self, selected: str) -> Preview:
        notes = [
            f"{number_of(count, 'more is left out', 'more are left out')}: {why}"
            for why, count in self.left_out.items()
        ]
        notes += [
            f"{session} cannot be planned anew: its outcome was kept {until}. Have the call system publish it again, "
            "under a new session id"
            for session, until in self.gone.items()
        ]
        return Preview(
            what=REPLAN,
            selected=selected,
            count=len(self.chosen),
            requests=2 * len(self.chosen),
            notes=notes,
            details={"sessions": list(self.chosen), "gone": dict(self.gone), "left_out": dict(self.left_out)},
        )


@dataclass(frozen=True, slots=True)
class Copy:
    """The outcome of a session as it was sent again, and the plan that it is to replace."""

    session: str
    digest: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class ReplanState:
    """`done`: nothing more comes of it. `ok`: nobody has to act."""

    what: str
    done: bool
    ok: bool = True


def came_of(copy: Copy, row: Row | None, *, planner_at: int, rejected: str | None) -> ReplanState:
    """`planner_at`: the next outcome that the planner's group reads in this partition. `rejected`: reasons, if the copy
    was rejected."""
    if rejected is not None:
        return ReplanState(f"not planned anew: rejected ({rejected}); the old plan stays", done=True, ok=False)
    if row is None or row["plan_offset"] is None:
        return ReplanState("not planned anew: retired or forgotten meanwhile", done=True, ok=False)
    if row["digest"] != copy.digest:
        if row["unsettled"]:
            return ReplanState("planned anew, and the writer has yet to settle it", done=False)
        said = f"{row['status']} {row['reason'] or ''}".strip()
        return ReplanState(f"planned anew: {said}", done=True, ok=not needs_a_person(row["status"], row["reason"]))
    if planner_at <= copy.offset:
        return ReplanState("the planner has yet to read it", done=False)
    return ReplanState(
        "not planned anew: the planner's mapping gives the very same plan, or another plan took its place first; the "
        "planner's log line outcome.not_replanned says which. If the planner runs with the old mapping file, start it "
        "with the corrected one and call this again. If the mapping was right already, use `writeback replay`",
        done=True,
        ok=False,
    )

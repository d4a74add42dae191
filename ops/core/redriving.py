"""Which rejected outcomes are sent again, under which key, and what came of them. No I/O.

- Only what can be accepted is sent again; of each reason `core.remedies` says whether the same bytes can help.
- A record with a wrong key or in a wrong partition is sent under its own queue item, and only if that is asked for.
- Loop guard: what was sent again counts how often, in a header that the planner keeps when it rejects it again. By
  default nothing is sent again a second time.
- A rejected record that a redrive has taken on is not taken on by another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ops.core.actions import Action, Asked, Preview
from ops.core.jobs import JobKind, counted
from ops.core.remedies import Again, planned_since, remedies

REDRIVE = JobKind(
    name="redrive",
    command="writeback rejected redrive",
    of="records",
    settled="read by the planner",
    part=100,
)
REDRIVE_SENT = "redrive part sent"
MOST_REDRIVES = 1
"""How often an outcome is sent again unless more is asked for."""

Row = Mapping[str, Any]


class Fate(StrEnum):
    """What a redrive does with a rejected record."""

    SENT = "sent again"
    HOPELESS = "left out: the same record would be rejected again"
    WRONG_KEY = "left out: it needs another key; --rekey sends it under its queue item"
    LOOPED = "left out: it was sent again before, and rejected again; --most-redrives N allows more"
    TAKEN = "left out: an earlier redrive has taken it on"
    PLANNED = "left out: its session was published again since, and has its plan"
    A_PLAN = "left out: it is a plan, which the planner makes anew from its outcome"
    EMPTY = "left out: the record has no value; its original is where rejected-from says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    rekey: bool = False
    anyway: bool = False
    """Also what is hopeless as far as its reason says."""
    most: int = MOST_REDRIVES

    def details(self, selected: str, records: int) -> dict[str, Any]:
        """What the first record of a job keeps."""
        return {"selected": selected, "records": records, "rekey": self.rekey, "anyway": self.anyway}


def place_of(row: Row) -> str:
    return f"{row['topic']}/{row['partition']}/{row['offset']}"


def fate_of(row: Row, rules: Rules, taken: Collection[str], *, outcomes: str) -> Fate:
    """`outcomes`: the topic of rejected outcomes; `taken`: places that earlier redrives have taken on."""
    again, _ = remedies(row["codes"].split())
    if row["topic"] != outcomes:
        return Fate.A_PLAN
    if place_of(row) in taken:
        return Fate.TAKEN
    if planned_since(row):
        return Fate.PLANNED
    if not row["size"]:
        return Fate.EMPTY
    if row["redrives"] >= rules.most:
        return Fate.LOOPED
    if again is Again.OTHER_KEY and not rules.rekey:
        return Fate.WRONG_KEY
    if again is Again.NO and not rules.anyway:
        return Fate.HOPELESS
    return Fate.SENT


@dataclass(frozen=True, slots=True)
class RejectedGroup:
    """Rejected records of one reason and sender that have the same fate."""

    codes: tuple[str, ...]
    sender: str
    fate: Fate
    records: int
    opt_outs: int
    remedies: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "reasons": list(self.codes), "sender": self.sender, "fate": self.fate.name.lower(), "what": self.fate,
            "records": self.records, "opt_outs": self.opt_outs, "remedies": list(self.remedies),
        }  # fmt: skip


UNKNOWN_SENDER = "unknown"


@dataclass(slots=True)
class RedriveSelection:
    """Rejected records in their order, with what becomes of each."""

    chosen: list[str] = field(default_factory=list)
    """Places of those that are sent again."""
    groups: list[RejectedGroup] = field(default_factory=list)

    @property
    def left_out(self) -> int:
        return sum(group.records for group in self.groups) - len(self.chosen)

    def preview(self, selected: str) -> Preview:
        notes = [
            f"{group.records:,} {' '.join(group.codes)} from {group.sender}: {group.fate}"
            + (f" ({'; '.join(group.remedies)})" if group.fate is Fate.HOPELESS else "")
            for group in self.groups
        ]
        return Preview(
            what="redrive", selected=selected, count=len(self.chosen), of="rejected outcome", notes=notes,
            details={"left_out": self.left_out, "groups": [group.as_json() for group in self.groups]},
        )  # fmt: skip


def select(rows: Iterable[Row], rules: Rules, taken: Collection[str], *, outcomes: str) -> RedriveSelection:
    """Groups with opt-outs first, then the largest."""
    found, counts, opt_outs = RedriveSelection(), Counter[tuple[str, str, Fate]](), Counter[tuple[str, str, Fate]]()
    for row in rows:
        fate = fate_of(row, rules, taken, outcomes=outcomes)
        group = row["codes"], row["sender"] or UNKNOWN_SENDER, fate
        counts[group] += 1
        opt_outs[group] += row["opt_out"]
        if fate is Fate.SENT:
            found.chosen.append(place_of(row))
    for (codes, sender, fate), records in sorted(counts.items(), key=lambda one: (-opt_outs[one[0]], -one[1], one[0])):
        split = tuple(codes.split())
        found.groups.append(
            RejectedGroup(split, sender, fate, records, opt_outs[codes, sender, fate], remedies(split)[1])
        )
    return found


def sent_action(asked: Asked, job: str, part: int, sent: int, *, at: str) -> Action:
    return asked.action(REDRIVE_SENT, about=job, count=sent, at=at, details={"part": part})


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one rejected record of a job."""

    place: str
    sent: bool
    rejected_again: tuple[str, ...] | None
    """The reasons of the second rejection."""
    planned: bool
    """Its session has a plan."""
    planner_waits: bool
    """The planner has outcomes before it."""

    @property
    def settled(self) -> bool:
        return self.sent and (self.rejected_again is not None or self.planned or not self.planner_waits)

    def sentence(self) -> str:
        if not self.sent:
            return "not sent yet"
        if self.rejected_again is not None:
            return f"rejected again: {' '.join(self.rejected_again)}"
        if self.planned:
            return "planned"
        if self.planner_waits:
            return "sent; the planner has it before it"
        return "read by the planner; which session it is of cannot be seen"


@dataclass(frozen=True, slots=True)
class RedriveProgress:
    came: tuple[Redriven, ...]

    @property
    def total(self) -> int:
        return len(self.came)

    @property
    def settled(self) -> int:
        return sum(each.settled for each in self.came)

    @property
    def to_send(self) -> int:
        return sum(not each.sent for each in self.came)

    @property
    def needs_a_person(self) -> bool:
        """Something was rejected again."""
        return any(each.rejected_again is not None for each in self.came)

    def counts(self) -> list[tuple[str, int]]:
        return counted((each.sentence(), 1) for each in self.came)

    def as_json(self, job: str) -> dict[str, Any]:
        return {
            "job": job, "records": self.total, "settled": self.settled, "to_send": self.to_send,
            "came": [{"what": what, "records": records} for what, records in self.counts()],
        }  # fmt: skip

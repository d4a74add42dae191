"""One session's story: what happened to it, in order, and where it is now. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops.core.counting import number_of
from ops.core.sessions import Status
from ops.core.times import iso, milliseconds
from ops.core.values import StepNow
from ops.core.verdicts import CommandVerdict, exit_of, row_needs_a_person
from schemas import headers
from schemas.records import StepOutcome, WritebackResult

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the story. `at_ms` is None where no time is known."""

    at_ms: int | None
    what: str
    place: str | None = None
    details: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"at": iso(self.at_ms), "what": self.what, "place": self.place, "details": list(self.details)}


def of_outcome(row: Row, found: Mapping[str, Any] | None) -> Event:
    """`found`: what the outcome said, if it is still on its topic."""
    details = [f"{name}: {value}" for name, value in (found or {}).items() if value not in (None, (), "")]
    kept = () if found else ("the record itself is gone from the topic, which keeps outcomes for some days",)
    return Event(row["ended_ms"], "the call ended; its outcome was published", row["source"], (*details, *kept))


def of_rejection(row: Row) -> Event:
    reasons = [
        f"{each['code']} ({each['field'] or 'value'}): expected {each['expected']}"
        for each in json.loads(row["reasons"])
    ]
    what = "an outcome of it was REJECTED" if "outcomes" in row["topic"] else "a plan of it was REJECTED"
    urgent = ("the contact opted out in it",) if row["opt_out"] else ()
    return Event(row["at_ms"], what, _place(row["topic"], row["partition"], row["offset"]), (*urgent, *reasons))


def of_earlier(row: Row, *, planned: str, results: str) -> Event:
    topic = planned if row["kind"] == "plan" else results
    what = f"plan: {row['what']}" if row["kind"] == "plan" else f"result: {row['what']}"
    return Event(row["at_ms"], what, _place(topic, row["partition"], row["offset"]))


def of_plan(row: Row, topic: str) -> Event:
    details = [f"mapping {row['mapping'][:12]}", f"digest {row['digest'][:12]}"] if row["digest"] else []
    what = "planned"
    if row["asked"]:
        asked = [_ASKED.get(each, each) for each in str(row["asked"]).split()]
        what = f"sent again by an operator, {' and '.join(asked)}"
    elif row["requeues"]:
        what = f"requeued for the {row['requeues']}. time"
        details.append(f"not to be tried before {iso(row['not_before_ms'])}")
    if row["retired_ms"] is not None:
        what = "retired: settled long ago, only this mark is kept"
    return Event(row["plan_ms"], what, _place(topic, row["plan_partition"], row["plan_offset"]), tuple(details))


_ASKED = {
    headers.REPLAY: "to be tried again (replay)",
    headers.REPLAN: "planned anew (replan)",
    headers.ACCEPTED_ETAG: "to be applied onto the row that they had seen (resolve --apply)",
    headers.LEAVE: "to be closed (resolve --leave)",
}


def of_action(action: Row, topic: str) -> Event:
    """What an operator did about it, perhaps with other sessions."""
    name = str(action["action"]).removesuffix(" sessions")
    what = f"{action['who']}: {name} of {number_of(action['count'], 'session')} ({action['about']})"
    if len(action.get("details", {}).get("items", ())) < 1:
        what = f"{action['who']}: {name}"
    return Event(action["at_ms"], what, f"{topic}/{action['place']}", (str(action["why"]),))


def of_result(result: WritebackResult, topic: str, partition: int, offset: int, *, dry_run: bool = False) -> Event:
    reason = f", {result.block_reason}" if result.block_reason else ""
    kind = "dry run" if dry_run else "result"
    what = f"{kind}: {result.status}{reason}, by {result.written_by}, attempt {result.attempts}"
    details = [result.message] if result.message else []
    if result.conflicts:
        details.append(f"changed by a person: {', '.join(result.conflicts)}")
    details += [f"step {step.step_index} {step.operation}: {_outcome(step)}" for step in result.steps]
    details += [f"warning {each.code}" for each in result.warnings]
    if result.last_reply:
        details.append(f"last reply: {result.last_reply.kind}, status {result.last_reply.http_status}")
    if result.decision:
        details.append(f"{result.decision.by} decided: {result.decision.what}, {result.decision.reason}")
    return Event(milliseconds(result.settled_at), what, _place(topic, partition, offset), tuple(details))


def _outcome(step: Any) -> str:
    """What became of it, with the evidence where it did not land."""
    if step.outcome is not StepOutcome.BLOCKED:
        return str(step.outcome)
    evidence = [f"status {step.http_status}" if step.http_status else "", step.error_code or "", step.request_id or ""]
    return " ".join([str(step.outcome), *filter(None, evidence)])


def in_order(events: Sequence[Event]) -> list[Event]:
    """By time; what has none, first; the given order within a millisecond."""
    return sorted(events, key=lambda event: event.at_ms or 0)


@dataclass(frozen=True, slots=True)
class Story:
    session: str
    status: Status | None
    """None if the session was never planned."""
    row: Row | None
    events: tuple[Event, ...]
    steps: tuple[StepNow, ...] = ()
    crm: str | None = None
    """Why the CRM was not looked at, if it was not."""

    @property
    def differs(self) -> bool:
        return any(step.differs for step in self.steps)

    @property
    def exit_code(self) -> CommandVerdict:
        """What was only rejected, or never seen, needs a person."""
        if self.row is None:
            return CommandVerdict.ACT
        return exit_of(act=row_needs_a_person(self.row), wait=bool(self.row["unsettled"]))

    def as_json(self, session: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            "session_id": self.session,
            "status": self.status,
            "session": session,
            "events": [event.as_json() for event in self.events],
            "steps": [_step_json(step) for step in self.steps],
            "crm_not_looked_at": self.crm,
            "differs_from_crm": self.differs if self.crm is None else None,
        }


def _step_json(step: StepNow) -> dict[str, Any]:
    return {
        "step_index": step.step_index,
        "operation": step.operation,
        "record": step.record,
        "exists": step.exists,
        "differs": step.differs,
        "row_is_of_session": step.whose,
        "columns": [
            {"name": each.name, "planned": each.planned, "found": each.found, "same": each.same}
            for each in step.columns
        ],
    }


def _place(topic: str, partition: int, offset: int) -> str:
    return f"{topic}/{partition}/{offset}"

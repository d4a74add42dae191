"""What a person decides about a blocked session: both sides, column by column, and who may decide what. No I/O.

- A decision is about what the person has seen: to apply a plan they name the version of the row that was shown.
- It is the writer that carries it out, in the order of the queue item, and the first decision is the last word.
- An opt-out comes first, and can be applied alone.
- No session is closed whose contact opted out while do-not-call is not on the queue item: the contact would be called
  again. Only if the contact withdrew that, a person may say so, and it is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ops.core.queue_item import claim_mark
from ops.core.sessions import Status
from ops.core.values import shown
from ops.core.verdicts import CommandVerdict, exit_of, row_needs_a_person
from schemas import headers
from schemas.records import BlockReason, PlannedWriteback, WritebackResult
from writer.core.decisions import OptOutLeft
from writer.core.emission import Observed, opts_out, update_step
from writer.core.history import History
from writer.core.reconcile import changed_columns, expected_columns

Row = Mapping[str, Any]
_VERSION = re.compile(r'W/"([0-9]+)"')
REQUESTS = 2
"""To the CRM: the row and the session's records are read, then written."""


class Choice(StrEnum):
    APPLY = "apply"
    OPT_OUT = "apply the opt-out alone"
    LEAVE = "leave"
    WITHDRAWN = OptOutLeft.WITHDRAWN.value

    @property
    def closes(self) -> bool:
        """Whether the session is closed by it, and nothing is written."""
        return self in (Choice.LEAVE, Choice.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class Side:
    """One column of the queue item, as both sides may be shown. `expected`: the baseline, with what our earlier
    sessions wrote since."""

    name: str
    expected: str
    now: str
    planned: str
    changed: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "column": self.name, "expected": self.expected, "now": self.now, "planned": self.planned,
            "changed": self.changed,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sides:
    """A plan beside the row that it is about. Without `etag` there is no such row."""

    etag: str | None
    columns: tuple[Side, ...] = ()
    written_by: str | None = None
    """The session that the row shows, if that is another one of ours, and not the one from before the call."""
    opts_out: bool = False
    opted_out: bool = False
    """Do-not-call is set on the row."""
    claimed: bool = False
    """The row shows the mark of a claim."""

    @property
    def version(self) -> str | None:
        """What a person names when they accept this row: short where the etag has Dataverse's form."""
        found = _VERSION.fullmatch(self.etag or "")
        return found[1] if found else self.etag


def sides(plan: PlannedWriteback, seen: Observed | None, history: History) -> Sides:
    """`seen`: the queue item, None if it is not there."""
    update = update_step(plan)
    if seen is None:
        return Sides(None, opts_out=opts_out(plan))
    row = seen.columns
    changed = changed_columns(plan, seen, history)
    expected = expected_columns(plan, seen, history)
    writes: dict[str, object] = {**update.attributes, **{name: f"{by:+d}" for name, by in update.increments.items()}}
    ours = {plan.session_id, *(each.session_id for each in plan.preceding)}

    def text(values: Mapping[str, object], name: str, absent: str) -> str:
        if name not in values:
            return absent
        value = values[name]
        return str(value) if name in update.increments else shown(value, session_id=plan.session_id)

    shows, showed = (values.get(str(update.session_column)) for values in (row, expected))
    return Sides(
        etag=seen.etag,
        columns=tuple(
            Side(name, text(expected, name, "(not read)"), text(row, name, "(empty)"), text(writes, name, ""),
                 name in changed)
            for name in dict.fromkeys((*changed, *writes, *plan.baseline.columns))
        ),
        written_by=shows
        if isinstance(shows, str) and shows not in {showed, *ours} and history.of(shows) is not None
        else None,
        opts_out=opts_out(plan),
        opted_out=row.get(str(update.do_not_call_column)) is True,
        claimed=any(claim_mark(value) is not None for value in row.values()),
    )  # fmt: skip


def is_version(text: str) -> bool:
    """Whether a row can have it: a number, or an etag as it is shown where it has another form."""
    return text.isascii() and (text.isdecimal() or re.fullmatch(r'(W/)?"[^"]*"', text) is not None)


Meanings = Mapping[str, Mapping[str, str]]
"""Column to what people see in the CRM for the number of an option."""


def with_meanings(found: Sides, meanings: Meanings) -> Sides:
    """Numbers of options with their label beside them."""

    def meant(name: str, text: str) -> str:
        label = meanings.get(name, {}).get(text)
        return text if label is None else f"{text} ({label})"

    columns = tuple(
        replace(
            each, expected=meant(each.name, each.expected), now=meant(each.name, each.now),
            planned=meant(each.name, each.planned),
        )
        for each in found.columns
    )  # fmt: skip
    return replace(found, columns=columns)


def etag_of(seen: str) -> str:
    """What the person gave, as an etag."""
    return f'W/"{seen}"' if seen.isdecimal() else seen


def waits_for(row: Row | None, last_action: str | None = None) -> str | None:
    """Why nobody can decide about a session now, in a sentence with what to do; None if it waits for a decision.
    `last_action`: what an operator did about it last.
    """
    if row is None or row["status"] is None:
        return "nothing is known of this session: look for it with writeback list"
    if row["unsettled"]:
        decided = {headers.ACCEPTED_ETAG, headers.LEAVE} & set(str(row["asked"] or "").split())
        if decided:
            return f"{last_action or 'somebody has decided'}; the writer has yet to carry that out, so wait for it"
        return "the writer has this session before it: wait until it is settled (writeback trace)"
    if row["status"] == Status.CLOSED and row["opt_out_open"]:
        return (
            "this session was closed although its opt-out is not known to be on the queue item: set do-not-call there "
            "in the CRM, or have the opt-out published as a session of its own"
        )
    if row["status"] != Status.BLOCKED:
        return f"this session is {row['status']}: there is nothing left to decide"
    if row["reason"] == BlockReason.ELIGIBILITY:
        return "no call was placed, and the queue item says why: there is nothing to decide"
    if row["plan_offset"] is None:
        return "this session has no plan any more"
    return None


def opt_out_left(row: Row, found: Sides | None) -> OptOutLeft | None:
    """What is known of an opt-out whose session is left; None if there is none, or it would be lost."""
    if not row["opt_out"] or found is None:
        return None
    if found.etag is None:
        return OptOutLeft.NO_ROW
    return OptOutLeft.ON_ROW if found.opted_out else None


def _against_leaving(row: Row, found: Sides | None) -> str | None:
    if not row["opt_out"] or opt_out_left(row, found) is not None:
        return None
    withdrawn = "Only if the contact withdrew it: --leave --opt-out-withdrawn closes the session and records that"
    if found is None:
        return (
            "the contact opted out in this session, and nobody knows whether do-not-call is set: the queue item could "
            f"not be read, so nothing was done. Make that possible, and call this again. {withdrawn}"
        )
    set_it = (
        f"set do-not-call alone with --apply --opt-out-only --seen {found.version}"
        if row["reason"] == BlockReason.CONFLICT_DETECTED
        else "set do-not-call on the queue item in the CRM, then call this again"
    )
    return (
        "the contact opted out in this session, and do-not-call is not on the queue item: closed like this, the "
        f"contact would be called again, so nothing was done. Instead {set_it}. {withdrawn}"
    )


def exit_of_case(row: Row, *, decides: bool) -> CommandVerdict:
    """Of a session that is shown, or of a decision that was not made."""
    if decides or row["status"] is None:
        return CommandVerdict.ACT
    return exit_of(act=row_needs_a_person(row), wait=bool(row["unsettled"]))


def against(choice: Choice, row: Row, found: Sides | None, seen: str | None) -> str | None:
    """Why this choice cannot be made, in a sentence with what to do; None if it can. `found` None: nobody looked."""
    if choice is Choice.LEAVE:
        return _against_leaving(row, found)
    if choice is Choice.WITHDRAWN:
        if not row["opt_out"]:
            return "the contact did not opt out in this session: give --leave alone"
        kept = opt_out_left(row, found) is not None
        return "do-not-call is set, or there is no queue item that could have it: give --leave alone" if kept else None
    if row["reason"] != BlockReason.CONFLICT_DETECTED:
        return (
            "nobody changed the queue item, so there is nothing to apply the plan onto: `writeback replay` tries the "
            "same plan again, `writeback replan` makes a new one after the mapping was corrected"
        )
    if found is None:
        return "the queue item could not be read, and a plan is applied only onto what somebody has seen"
    if found.etag is None:
        return "there is no such queue item to apply the plan onto: --leave closes the session"
    if choice is Choice.OPT_OUT and not found.opts_out:
        return "the contact did not opt out in this session: there is no opt-out to apply"
    if choice is Choice.OPT_OUT and found.opted_out:
        return "do-not-call is set on the queue item already"
    if seen is not None and etag_of(seen) != found.etag:
        return (
            "the queue item has changed since you looked at it, and nothing was done: look at both sides again, above, "
            f"and decide with --seen {found.version}"
        )
    return None


_OPT_OUT_SENTENCES = {
    OptOutLeft.WITHDRAWN: "The contact opted out, and you say that this was withdrawn: do-not-call is not set, and the "
    "contact may be called again.",
    OptOutLeft.ON_ROW: "The contact opted out, and do-not-call is on the queue item: it stays there.",
    OptOutLeft.NO_ROW: "The contact opted out, and the queue item is gone: make sure that nobody calls this contact "
    "from another one.",
}


def what_leaving_means(choice: Choice, row: Row, found: Sides | None) -> list[str]:
    """What becomes of the opt-out and of the queue item when the session is closed, and what a person does next."""
    left = OptOutLeft.WITHDRAWN if choice is Choice.WITHDRAWN else opt_out_left(row, found)
    lines = [] if left is None else [_OPT_OUT_SENTENCES[left]]
    if found is not None and found.etag is None:
        return lines
    kept = "its claim (status in_progress)" if found is not None and found.claimed else "its status"
    item = (
        f"The queue item keeps {kept} and everything else. While it is in_progress, nobody calls it: set the status "
        "that it should have in the CRM, or give it back to be called again, without counting this call as an attempt: "
        f"writeback release --queue-item {row['queue_item']}"
    )
    return [*lines, item]


def came_of(row: Row, result: WritebackResult | None, *, by: str, at: str) -> tuple[bool, str]:
    """Whether this person's decision took effect, and what is said to them."""
    decision = result.decision if result else None
    if decision and decision.by == by and f"{decision.at:%Y-%m-%dT%H:%M:%SZ}" == at:
        rest = "; the rest of it still waits for a decision" if row["status"] == Status.BLOCKED else ""
        return True, f"done ({decision.what}): the session is {row['status']}{rest}"
    if decision:
        return False, (
            f"your decision changed nothing: {decision.by} decided first, at {decision.at:%Y-%m-%dT%H:%M:%SZ}, to "
            f"{decision.what} ({decision.reason}); the session is {row['status']}"
        )
    return False, f"your decision was not carried out: the session is {row['status']}. {row['message'] or ''}".rstrip()

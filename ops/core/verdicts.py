"""Which exit code a command ends with for what it found: one rule for all of them. No I/O.

1  A person must act. A session is blocked (eligibility waits for nobody) or passed over; or it was closed, and its
   opt-out is not known to be on its row; or a service that has work before it is not running.
2  Nobody has to act, and something is still queued: a session that the writer has before it, for the first time or
   again, or an outcome that the planner has before it. An opt-out that is only queued lands by itself.
0  Neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from ops.core.sessions import Status


class CommandVerdict(IntEnum):
    """Exit codes, by their meaning."""

    WELL = 0
    ACT = 1
    WAIT = 2


_NEED_A_PERSON = (Status.BLOCKED, Status.PASSED_OVER)


def needs_a_person(
    status: str | None, reason: str | None, *, unsettled: bool = False, opt_out_open: bool = False
) -> bool:
    if unsettled:
        return False
    return (status in _NEED_A_PERSON and reason != "eligibility") or (status == Status.CLOSED and opt_out_open)


def row_needs_a_person(row: Mapping[str, Any]) -> bool:
    """Of one session."""
    return needs_a_person(
        row["status"], row["reason"], unsettled=bool(row["unsettled"]), opt_out_open=bool(row["opt_out_open"])
    )


def counts_need_a_person(row: Mapping[str, Any]) -> bool:
    """Of sessions of one status and reason."""
    return needs_a_person(
        row["status"],
        row["reason"],
        unsettled=int(row["unsettled"]) >= int(row["sessions"]),
        opt_out_open=bool(row["opt_outs_open"]),
    )


def exit_of(*, act: bool, wait: bool) -> CommandVerdict:
    if act:
        return CommandVerdict.ACT
    return CommandVerdict.WAIT if wait else CommandVerdict.WELL


def exit_of_counts(rows: Iterable[Mapping[str, Any]]) -> CommandVerdict:
    """`rows`: sessions by status and reason."""
    found = list(rows)
    return exit_of(act=any(map(counts_need_a_person, found)), wait=any(row["unsettled"] for row in found))

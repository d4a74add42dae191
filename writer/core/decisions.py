"""What a person decided about a session, as the header of the plan says that they sent again. No I/O.

W2 Nothing but a person's decision follows a final result; the first decision that takes effect is the last word.
W7 A person who accepts a row has seen it: the plan is written onto that version of it, and onto no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from schemas.headers import ACCEPTED_ETAG, LEAVE, Headers, mark
from schemas.records import Decision

APPLY, APPLY_OPT_OUT = "apply", "apply the opt-out alone"


class OptOutLeft(StrEnum):
    """Why a session whose contact opted out may be closed without setting do-not-call. Each is the person's word, kept
    in the result's decision; without one the opt-out stays open."""

    WITHDRAWN = "leave, the opt-out was withdrawn"
    ON_ROW = "leave, do-not-call is on the queue item"
    NO_ROW = "leave, there is no queue item"


_AT_NO_TIME = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Apply the plan onto the row of this etag; `opt_out_only`: nothing but its do-not-call."""

    etag: str
    opt_out_only: bool
    decision: Decision


@dataclass(frozen=True, slots=True)
class Left:
    """Leave the row as it is, and close the session."""

    decision: Decision
    opt_out: OptOutLeft | None = None


def decision_of(headers: Headers) -> Accepted | Left | None:
    """None for a plan that carries no decision. Who decided is not known if the header is damaged."""
    if (mark_says := mark(headers, LEAVE)) is not None:
        opt_out = next((each for each in OptOutLeft if each == mark_says.get("opt_out")), None)
        return Left(_decision(opt_out or LEAVE, mark_says), opt_out)
    if (mark_says := mark(headers, ACCEPTED_ETAG)) is not None:
        alone = mark_says.get("only") == "opt-out"
        return Accepted(str(mark_says.get("etag")), alone, _decision(APPLY_OPT_OUT if alone else APPLY, mark_says))
    return None


def _decision(what: str, mark_says: Mapping[str, Any]) -> Decision:
    return Decision(
        what=str(what), by=str(mark_says.get("by")), reason=str(mark_says.get("why")), at=_moment(mark_says.get("at"))
    )


def _moment(text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return _AT_NO_TIME

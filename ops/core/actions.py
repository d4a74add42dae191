"""Changes that a person makes with `writeback`: how they are shown before, and what is kept of them. No I/O.

- A change is only shown unless --for-real is given; then it needs a reason.
- It shows first how many sessions or records it is about, and how many requests to the CRM it costs.
- It is recorded on `operator-actions` before anything changes: a change that was begun is never without its record.
- More than the ceiling at once is refused, or confirmed by the person at the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ops.core.counting import number_of
from schemas import headers
from schemas.headers import Headers

CEILING = 1_000
"""Most sessions or records that one command changes without being asked for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A change that a person made, as `operator-actions` keeps it: JSON, its key the group, session or job it is
    about.
    """

    action: str
    about: str
    who: str
    why: str
    at: str
    count: int
    details: Mapping[str, Any]

    def encoded(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, default=str).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a change, why, and whether it is to be made."""

    for_real: bool
    who: str
    why: str

    def action(self, name: str, *, about: str, count: int, at: str, details: Mapping[str, Any]) -> Action:
        return Action(action=name, about=about, who=self.who, why=self.why, at=at, count=count, details=details)

    def header(self, name: str, **more: str) -> tuple[str, bytes]:
        """What a record that this person sent carries: who and why, and `more`."""
        return name, json.dumps({"by": self.who, "why": self.why, **more}, sort_keys=True).encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a change is about, before it is made. `requests`: to the CRM, as far as it can be known;
    None if it never asks the CRM."""

    what: str
    """The command as a verb: "replay"."""
    selected: str
    count: int
    of: str = "session"
    """What is counted, in the singular."""
    requests: int | None = None
    notes: Sequence[str] = ()
    """Further lines for the person."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further figures for a script."""

    def lines(self) -> list[str]:
        cost = "" if self.requests is None else f", about {number_of(self.requests, 'request')} to the CRM"
        return [f"{self.what}: {number_of(self.count, self.of)}{cost}; selected: {self.selected}", *self.notes]

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what, "selected": self.selected, "count": self.count, "requests": self.requests,
            **self.details,
        }  # fmt: skip

    def above(self, ceiling: int) -> str | None:
        """Why it is refused, with the remedy; None if it is within the ceiling. 0: no ceiling."""
        if not ceiling or self.count <= ceiling:
            return None
        return (
            f"{number_of(self.count, self.of)} are more than the ceiling of {ceiling:,}: narrow the selection, or give "
            f"--limit {self.count}"
        )


def sent_again(kept: Headers, mark: tuple[str, bytes], *, unsettled: bool = False) -> list[tuple[str, bytes]]:
    """Headers of a plan that an operator sends again: with the operator's mark, and without what delayed an earlier
    copy. What is known of an earlier attempt is kept. The age of the plan counts from now on; when its session was
    planned is in the mark (`planned_ms`). A person's decision goes along as long as the writer has yet to carry it out
    (`unsettled`), and not a second time.
    """
    decisions = (headers.ACCEPTED_ETAG, headers.LEAVE)
    marks = [name for name in headers.MARKS if not (unsettled and name in decisions and name != mark[0])]
    gone = (*marks, headers.REQUEUE_COUNT, headers.NOT_BEFORE, headers.FIRST_APPENDED_AT)
    return [*((name, value) for name, value in kept if name not in gone), mark]


def mark_of(given: Headers) -> Mapping[str, Any] | None:
    """What an operator's mark on a plan says; None if there is none, or if it is not one of ours."""
    raw = next((value for name in headers.MARKS if (value := headers.last(given, name)) is not None), None)
    try:
        said: Any = json.loads(raw or b"null")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def planned_ms(given: Headers, appended_ms: int) -> int:
    """When the session of a plan was planned, however often a writer or an operator appended it since."""
    said = (mark_of(given) or {}).get("planned_ms")
    if isinstance(said, str) and said.isdigit():
        return int(said)
    first = headers.first_appended_ms(given)
    return appended_ms if first is None else first

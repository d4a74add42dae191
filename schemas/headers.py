"""The headers on our records. Pure. None of them ever holds personal data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

TRACEPARENT = "traceparent"
REQUEUE_COUNT = "requeue-count"
FIRST_APPENDED_AT = "first-appended-at"
REPLAY = "replay"
REPLAN = "replan"
ACCEPTED_ETAG = "accepted-etag"
NOT_BEFORE = "not-before"
REJECTION_REASONS = "rejection-reasons"
REJECTED_BY = "rejected-by"
REJECTED_FROM = "rejected-from"
SETTLED_AS = "settled-as"
OPT_OUT = "opt-out"
"""`true` on a rejected outcome in which the contact asked not to be called."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record was rejected: a stable code, the field, and what is expected of it. Never what was found there."""

    code: str
    field: str | None
    expected: str


def reasons_header(reasons: Iterable[Reason]) -> tuple[str, bytes]:
    listed = [{"code": r.code, "field": r.field, "expected": r.expected} for r in reasons]
    return REJECTION_REASONS, json.dumps(listed, ensure_ascii=True, separators=(",", ":")).encode()


def reasons(headers: Headers | None) -> list[Reason]:
    if (raw := last(headers, REJECTION_REASONS)) is None:
        return []
    return [Reason(**reason) for reason in json.loads(raw)]


def last(headers: Headers | None, name: str) -> bytes | None:
    """The newest value of a header, since Kafka allows several."""
    return next((value for key, value in reversed(headers or ()) if key == name), None)


def requeue_count(headers: Headers | None) -> int:
    """How often a plan was requeued; 0 if never, or if somebody else's header cannot be read."""
    raw = last(headers, REQUEUE_COUNT) or b"0"
    return int(raw) if raw.isdigit() and len(raw) < 10 else 0


def not_before(headers: Headers | None) -> datetime | None:
    """When a requeued plan may be tried; None for at once."""
    at_ms = _milliseconds(headers, NOT_BEFORE)
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)


def first_appended_ms(headers: Headers | None) -> int | None:
    """When the first copy of a requeued plan was appended; None if it never was requeued."""
    return _milliseconds(headers, FIRST_APPENDED_AT)


def was_read_before(headers: Headers | None) -> bool:
    """Whether this is a further copy of a plan: requeued by a writer, or sent again by an operator."""
    return any(last(headers, name) is not None for name in (REQUEUE_COUNT, REPLAY, REPLAN, ACCEPTED_ETAG))


def requeued(headers: Headers | None, *, count: int, at: datetime, first_ms: int) -> list[tuple[str, bytes]]:
    """The headers of a plan that is requeued, not to be tried before `at`; the others are kept. `first_ms`: when its
    first copy was appended, so that its age does not begin anew.
    """
    ours = {
        REQUEUE_COUNT: str(count),
        NOT_BEFORE: str(round(at.timestamp() * 1000)),
        FIRST_APPENDED_AT: str(first_ms),
    }
    kept = [(key, value) for key, value in headers or () if key not in ours]
    return [*kept, *((name, value.encode()) for name, value in ours.items())]


def _milliseconds(headers: Headers | None, name: str) -> int | None:
    """None if it is not there, or somebody else's cannot be read."""
    raw = last(headers, name) or b""
    return int(raw) if raw.isdigit() and len(raw) < 15 else None


def settled_as(headers: Headers | None) -> str | None:
    """How a result's session is settled, so that nobody has to decode the result for it; None if it does not say."""
    raw = last(headers, SETTLED_AS)
    return None if raw is None else raw.decode("ascii", "replace")

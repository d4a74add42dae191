"""The headers on our records. Pure. None of them ever holds personal data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

TRACEPARENT = "traceparent"
REPLAY_COUNT = "replay-count"
NOT_BEFORE = "not-before"
REJECTION_REASONS = "rejection-reasons"
REJECTED_BY = "rejected-by"
REJECTED_FROM = "rejected-from"
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


def replay_count(headers: Headers | None) -> int:
    """How often a plan was appended again; 0 if never, or if somebody else's header cannot be read."""
    raw = last(headers, REPLAY_COUNT) or b"0"
    return int(raw) if raw.isdigit() and len(raw) < 10 else 0


def not_before(headers: Headers | None) -> datetime | None:
    """When a plan that was appended again may be tried; None for at once."""
    raw = last(headers, NOT_BEFORE) or b""
    return datetime.fromtimestamp(int(raw) / 1000, UTC) if raw.isdigit() and len(raw) < 15 else None


def appended_again(headers: Headers | None, *, count: int, at: datetime) -> list[tuple[str, bytes]]:
    """The headers of a plan that goes to the back of its topic: the others are kept."""
    kept = [(key, value) for key, value in headers or () if key not in (REPLAY_COUNT, NOT_BEFORE)]
    return [*kept, (REPLAY_COUNT, str(count).encode()), (NOT_BEFORE, str(round(at.timestamp() * 1000)).encode())]

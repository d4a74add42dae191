"""The headers on our records. No I/O. They never hold personal data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

TRACEPARENT = "traceparent"
REQUEUE_COUNT = "requeue-count"
FIRST_APPENDED_AT = "first-appended-at"
REPLAY = "replay"
REPLAN = "replan"
ACCEPTED_ETAG = "accepted-etag"
LEAVE = "leave"
"""On a plan: a person decided to close its session and to leave the row as it is. `opt_out` in it: what they know of an
opt-out that this session did not set."""
ASKED = "asked"
"""Beside REPLAN on an outcome: who asked, and why."""
NOT_BEFORE = "not-before"
REJECTION_REASONS = "rejection-reasons"
REJECTED_BY = "rejected-by"
REJECTED_FROM = "rejected-from"
CALL_MAY_EXIST = "call-may-exist"
"""On a requeued plan: a request without an answer was to record its call alone."""
SETTLED_AS = "settled-as"
FIRST_SETTLED_AT = "first-settled-at"
"""On a result: when the first final result of its session was reached, readable without decoding the result."""
CLIENT_ID = "client-id"
"""Which client published an outcome, in its own words: Kafka does not show a client's id to readers."""
_CLOUD_EVENTS_SOURCE = "ce_source"
REDRIVE = "redrive"
"""Who sent a rejected outcome again, and why."""
REDRIVE_COUNT = "redrive-count"
REDRIVEN_FROM = "redriven-from"
"""On an outcome that was sent again: the place of the rejected record. Both are kept if it is rejected again."""
OPT_OUT = "opt-out"
"""`true` on a rejected outcome in which the contact asked not to be called."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record was rejected: a stable code, the field, and what is expected there. Never what was found."""

    code: str
    field: str | None
    expected: str


def reasons_header(reasons: Iterable[Reason]) -> tuple[str, bytes]:
    listed = [{"code": r.code, "field": r.field, "expected": r.expected} for r in reasons]
    return REJECTION_REASONS, json.dumps(listed, ensure_ascii=True, separators=(",", ":")).encode()


def reasons(headers: Headers | None) -> list[Reason]:
    """Empty if the header is missing, or not one of ours."""
    try:
        listed = json.loads(last(headers, REJECTION_REASONS) or b"[]")
        return [Reason(str(one["code"]), _text(one["field"]), str(one["expected"])) for one in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def last(headers: Headers | None, name: str) -> bytes | None:
    """The newest value of a header. Kafka allows several."""
    for key, value in reversed(headers or ()):
        if key == name:
            return value
    return None


def requeue_count(headers: Headers | None) -> int:
    """How often a plan was requeued; 0 if never, or if the header is not one of ours."""
    return _count(headers, REQUEUE_COUNT)


def redrive_count(headers: Headers | None) -> int:
    """How often operators sent an outcome again; 0 if never, or if the header is not one of ours."""
    return _count(headers, REDRIVE_COUNT)


def _count(headers: Headers | None, name: str) -> int:
    raw = last(headers, name) or b"0"
    return int(raw) if raw.isdigit() and len(raw) < 10 else 0


def sender(headers: Headers | None) -> str | None:
    """Who published an outcome: its header `client-id`, else the source of a CloudEvent; None if neither says so."""
    raw = last(headers, CLIENT_ID) or last(headers, _CLOUD_EVENTS_SOURCE)
    return None if raw is None else raw.decode("ascii", "replace")


def not_before(headers: Headers | None) -> datetime | None:
    """The earliest time to try a requeued plan; None for at once."""
    at_ms = _milliseconds(headers, NOT_BEFORE)
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)


def first_appended_ms(headers: Headers | None) -> int | None:
    """When the first copy of a requeued plan was appended; None if the plan was never requeued."""
    return _milliseconds(headers, FIRST_APPENDED_AT)


def was_read_before(headers: Headers | None) -> bool:
    """Whether this is a later copy of a plan: a writer requeued it, or an operator sent it again."""
    return any(last(headers, name) is not None for name in (REQUEUE_COUNT, *MARKS))


MARKS = (REPLAY, REPLAN, ACCEPTED_ETAG, LEAVE)
"""Headers by which a plan says that an operator sent it."""


def mark(headers: Headers | None, name: str) -> Mapping[str, Any] | None:
    """What an operator's header of this name says, who asked and why included: an empty one if it cannot be read. None
    without that header.
    """
    if (raw := last(headers, name)) is None:
        return None
    try:
        said: Any = json.loads(raw)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


_DIGEST = re.compile(rb"[0-9a-f]{64}")


def plan_to_replace(headers: Headers | None) -> str | None:
    """The digest of the plan that a person wants replaced by a new one, or, on a plan, of the one that it replaced."""
    raw = last(headers, REPLAN)
    return raw.decode() if raw is not None and _DIGEST.fullmatch(raw) else None


def call_may_exist(headers: Headers | None) -> bool:
    return last(headers, CALL_MAY_EXIST) is not None


def requeued(
    headers: Headers | None, *, count: int, at: datetime, first_ms: int, call_may_exist: bool = False
) -> list[tuple[str, bytes]]:
    """The headers of a requeued plan, which must not be tried before `at`. Other headers are kept. `first_ms`: when the
    first copy was appended, so that the plan's age keeps counting from there.
    """
    ours = {
        REQUEUE_COUNT: str(count),
        NOT_BEFORE: str(round(at.timestamp() * 1000)),
        FIRST_APPENDED_AT: str(first_ms),
        **({CALL_MAY_EXIST: "true"} if call_may_exist else {}),
    }
    kept = [(key, value) for key, value in headers or () if key not in ours]
    return [*kept, *((name, value.encode()) for name, value in ours.items())]


def _milliseconds(headers: Headers | None, name: str) -> int | None:
    """None if the header is missing, or not one of ours."""
    raw = last(headers, name) or b""
    return int(raw) if raw.isdigit() and len(raw) < 15 else None


def settled_as(headers: Headers | None) -> str | None:
    """How the result's session is settled, readable without decoding the result; None without that header."""
    raw = last(headers, SETTLED_AS)
    return None if raw is None else raw.decode("ascii", "replace")


def whole_milliseconds(at: datetime) -> int:
    """Unix time as our records keep it: cut to the millisecond, not rounded."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def first_settled_ms(headers: Headers | None) -> int | None:
    """Of a result's session; None without that header."""
    return _milliseconds(headers, FIRST_SETTLED_AT)

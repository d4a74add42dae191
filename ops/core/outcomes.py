"""A call outcome as a publisher writes it down: read from JSON, every mistake at once, and what it left out. No I/O.

Times are ISO 8601 with a zone, or milliseconds; values may be wrapped as in Avro's own JSON (`{"string": "x"}`).
Mistakes name fields and what is expected there, never what was found (B1).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from planner.core.resolution import ResolvedMapping
from schemas.headers import Reason
from schemas.records import CallOutcome, Operation, PlannedWriteback

_ADAPTER: TypeAdapter[CallOutcome] = TypeAdapter(CallOutcome)
_WRAPPERS = {"string", "boolean", "int", "long", "float", "double", "array", "map"}


def from_json(text: bytes) -> CallOutcome | tuple[Reason, ...]:
    try:
        given = json.loads(text)
    except ValueError:
        return (Reason("no_json", "value", "one JSON object, or an Avro record in one of the two framings"),)
    if not isinstance(given, dict):
        return (Reason("no_json", "value", "one JSON object"),)
    plain = _unwrapped(given)
    unknown = tuple(_unknown(CallOutcome, plain, ""))
    try:
        outcome = _ADAPTER.validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        wrong = [_mistake(each["loc"], each["type"], each["msg"]) for each in error.errors(include_input=False)]
        return (*unknown, *dict.fromkeys(wrong))
    return (*unknown, *naive) if (naive := tuple(_naive(outcome, ""))) or unknown else outcome


def _unwrapped(value: Any) -> Any:
    """Avro's JSON encoding names the branch of a union."""
    if isinstance(value, list):
        return [_unwrapped(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(name, inner)] = value.items()
        if name in _WRAPPERS or "." in name:
            return _unwrapped(inner)
    return {name: _moment(each) if name.endswith("_at") else _unwrapped(each) for name, each in value.items()}


def _moment(value: Any) -> Any:
    """Milliseconds, as Avro has them, as text."""
    plain = _unwrapped(value)
    if isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) < _LAST_MS:
        return datetime.fromtimestamp(plain / 1000, UTC).isoformat()
    return plain


_LAST_MS = 253_402_300_800_000
"""The year 10000."""


def _unknown(cls: type, given: Mapping[str, Any], where: str) -> Iterator[Reason]:
    hints = get_type_hints(cls)
    for name, value in given.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            yield Reason("unknown_field", f"{where}{name}", f"{near[0]}, perhaps" if near else "no such field")
            continue
        inner, many = _record_in(hints[name])
        if inner is not None:
            for each in value if many and isinstance(value, list) else [value]:
                if isinstance(each, dict):
                    yield from _unknown(inner, each, f"{where}{name}.")


def _record_in(hint: Any) -> tuple[type | None, bool]:
    """The record class behind `Record`, `Record | None` or `tuple[Record, ...]`, and whether there may be several."""
    many = get_origin(hint) is tuple
    candidates = get_args(hint) if many or isinstance(hint, UnionType) else (hint,)
    return next((each for each in candidates if isinstance(each, type) and is_dataclass(each)), None), many


def _mistake(where: tuple[int | str, ...], kind: str, message: str) -> Reason:
    place = ".".join(str(each) for each in where if each not in ("function-after", "nullable"))
    return Reason("missing" if kind == "missing" else "wrong_type", place, message[:1].lower() + message[1:])


def _naive(record: Any, where: str) -> Iterator[Reason]:
    for each in fields(record):
        value = getattr(record, each.name)
        if isinstance(value, datetime) and value.tzinfo is None:
            yield Reason("no_zone", f"{where}{each.name}", "a time with its zone, such as 2026-11-20T12:00:00Z")
        elif is_dataclass(value):
            yield from _naive(value, f"{where}{each.name}.")


_WORTH_SENDING: Mapping[str, str] = {
    "campaign_id": "sessions cannot be selected by campaign",
    "provider_call_id": "nobody finds the call at the telephony provider",
    "phone_number": "the phone call activity has no number",
    "account": "the phone call and the task are not linked to the account",
    "summary": "the subject only names the disposition",
    "baseline.etag": "the writer reads the row first, which is one more request",
    "baseline.status": "a status that a person changed meanwhile cannot be distinguished from one that was there",
    "baseline.attempt_count": "the writer reads the row first, to count up",
    "baseline.do_not_call": "a do-not-call that a person set meanwhile cannot be distinguished from one that was there",
}


def left_out(outcome: CallOutcome) -> list[tuple[str, str]]:
    """Fields that are not given and could have been, with what follows from it."""
    return [(name, why) for name, why in _WORTH_SENDING.items() if _value(outcome, name) is None]


def _value(outcome: CallOutcome, path: str) -> Any:
    found: Any = outcome
    for name in path.split("."):
        found = getattr(found, name)
    return found


def columns_left_out(plan: PlannedWriteback, mapping: ResolvedMapping) -> list[str]:
    """Columns of the queue item that decide about a conflict, and whose value at the beginning is not known."""
    update = next(step for step in plan.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)
    concerned = {*update.attributes, *update.increments, *mapping.preserved, mapping.queue_item.do_not_call}
    own = {mapping.queue_item.status, mapping.queue_item.last_session_id, mapping.queue_item.do_not_call}
    own |= set(update.increments)  # fields of the record, `left_out` says so
    return sorted(concerned - own - plan.baseline.columns.keys())

"""Records as rows of the view: what selectors and tables need, and no value that is written. No I/O (B1).

Keys are the columns of the view's tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.actions import mark_of, planned_ms
from ops.core.times import milliseconds
from planner.core.normalisation import identifier, is_phone_number
from schemas import headers as names
from schemas.headers import Headers
from schemas.records import Disposition, Operation, PlannedWriteback, ResultStatus, Source, StepOutcome, WritebackResult
from writer.core.decisions import OptOutLeft
from writer.core.history import Settled, settled_as

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is, and when the broker or its sender says that it was appended."""

    partition: int
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHead:
    """Of a plan what its row needs; fields are those of `PlannedWriteback`."""

    session_id: str
    queue_item_id: str
    campaign_id: str | None
    disposition: Disposition
    opt_out: bool
    mapping_fingerprint: str
    digest: str
    source: Source
    started_at: datetime
    outcome_at: datetime
    retired_at: datetime | None


def plan_row(plan: PlanHead | PlannedWriteback, place: Place, headers: Headers) -> Row:
    not_before = names.not_before(headers)
    asked = [name for name in names.MARKS if names.last(headers, name)]
    return {
        "session": plan.session_id,
        "queue_item": plan.queue_item_id,
        "campaign": plan.campaign_id,
        "disposition": plan.disposition.value,
        "opt_out": int(plan.opt_out or plan.disposition is Disposition.DO_NOT_CALL),
        "mapping": plan.mapping_fingerprint,
        "started_ms": milliseconds(plan.started_at),
        "ended_ms": milliseconds(plan.outcome_at),
        "plan_partition": place.partition,
        "plan_offset": place.offset,
        "plan_ms": place.at_ms,
        "planned_ms": planned_ms(headers, place.at_ms),
        "requeues": names.requeue_count(headers),
        "not_before_ms": None if not_before is None else milliseconds(not_before),
        "asked": " ".join(asked) or None,
        "job": _job(headers),
        "digest": plan.digest,
        "source": f"{plan.source.topic}/{plan.source.partition}/{plan.source.offset}",
        "retired_ms": None if plan.retired_at is None else milliseconds(plan.retired_at),
    }


def _job(headers: Headers) -> str | None:
    """The operator's job that appended it."""
    job = (mark_of(headers) or {}).get("job")
    return job if isinstance(job, str) else None


def result_row(result: WritebackResult, place: Place, headers: Headers) -> Row:
    gaps = [each for gap in result.gaps for each in (gap.entity, gap.column) if each]
    return {
        "session": result.session_id,
        "queue_item": result.queue_item_id,
        "campaign": result.campaign_id,
        "disposition": result.disposition.value,
        "opt_out": int(result.opt_out),
        "mapping": result.mapping_fingerprint,
        "started_ms": milliseconds(result.started_at),
        "ended_ms": milliseconds(result.ended_at),
        "result_partition": place.partition,
        "result_offset": place.offset,
        "result_ms": place.at_ms,
        "result_status": result.status.value,
        "reason": None if result.block_reason is None else result.block_reason.value,
        "message": result.message,
        "conflicts": " ".join(result.conflicts) or None,
        "gaps": "".join(f"\n{each}\n" for each in gaps) or None,
        "attempts": result.attempts,
        "settled_ms": milliseconds(result.settled_at),
        "first_settled_ms": milliseconds(result.first_settled_at or result.settled_at),
        "settled_as": _settled(result, headers),
        "opt_out_decided": int(opt_out_decided(result)),
        "about_partition": result.plan.partition,
        "about_offset": result.plan.offset,
        "written_by": result.written_by,
    }


def opt_out_decided(result: WritebackResult) -> bool:
    """Whether who closed the session knew what became of its opt-out; without that, closing it does not settle one."""
    set_before = any(
        step.operation is Operation.UPDATE_QUEUE_ITEM and step.outcome is StepOutcome.ALREADY_THERE
        for step in result.steps
    )
    known = result.decision is not None and result.decision.what in tuple(OptOutLeft)
    return result.status is ResultStatus.CLOSED and (known or set_before)


def _settled(result: WritebackResult, headers: Headers) -> str | None:
    """The header counts: it says what holds of all results so far."""
    said = names.settled_as(headers)
    if said in tuple(Settled):
        return said
    found = settled_as(result)
    return None if found is None else found.value


def rejected_row(
    topic: str, place: Place, key: bytes | None, value: bytes | None, headers: Headers, session: str | None = None
) -> Row:
    reasons = _reasons(headers)
    return {
        "topic": topic,
        "partition": place.partition,
        "offset": place.offset,
        "at_ms": place.at_ms,
        "key": shown_key(key),
        "session": shown_session(session),
        "codes": " ".join(sorted({str(each["code"]) for each in reasons})) or "unknown",
        "reasons": json.dumps(reasons),
        "rejected_by": _text(names.last(headers, names.REJECTED_BY)),
        "source": _text(names.last(headers, names.REJECTED_FROM)),
        "opt_out": int(names.last(headers, names.OPT_OUT) == b"true"),
        "sender": names.sender(headers),
        "redrives": names.redrive_count(headers),
        "redriven_from": _text(names.last(headers, names.REDRIVEN_FROM)),
        "size": len(value or b""),
    }


def _reasons(headers: Headers) -> list[dict[str, str | None]]:
    return [{"code": r.code, "field": r.field, "expected": r.expected} for r in names.reasons(headers)]


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def shown_key(key: bytes | None) -> str | None:
    """A queue item's id. None for any other key: nobody checked what was rejected, it may be a phone number (B1)."""
    text = (key or b"").decode("ascii", "replace")
    return text if _UUID.fullmatch(text) else None


_SESSION = re.compile(r"[!-~]{1,200}")


def shown_session(session: str | None) -> str | None:
    """None for what cannot be a session's id, or may be a phone number or an address (B1)."""
    text = identifier(session or "")
    return text if _SESSION.fullmatch(text) and not is_phone_number(text) and "@" not in text else None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("ascii", "replace")


def columns(rows: Sequence[Row]) -> list[str]:
    """Of rows of one kind."""
    return list(rows[0])

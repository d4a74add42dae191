"""A record of the planned topic as a plan, and the trace that it carries."""

from __future__ import annotations

from typing import cast

from opentelemetry.trace import INVALID_SPAN, Span, get_tracer, set_span_in_context

from runtime.registry import RegistryUnavailable
from runtime.tracing import context_of, traceparent_of
from schemas import headers
from schemas.codec import Codec, Undecodable, UnknownSchema
from schemas.records import PlannedWriteback
from writer.core.assignment import ConsumerRecord
from writer.core.messages import Decoded, Unreadable
from writer.core.plan_check import reasons_against

_NEWER = "run a writer that is at least as new as the planner, with its schema registry; nothing is skipped"


def decoded(record: ConsumerRecord, codec: Codec[PlannedWriteback]) -> Decoded | Unreadable:
    """The plan, every reason why the record is none, or why nobody can say at present."""
    try:
        plan = codec.decode(record.value or b"")
    except UnknownSchema as error:
        return Unreadable(record, str(error), _NEWER)
    except RegistryUnavailable as error:
        return Unreadable(record, str(error), "nothing is skipped")
    except Undecodable as error:
        return Decoded(record, [headers.Reason("undecodable", None, str(error))])
    if reasons := reasons_against(plan, record.key):
        return Decoded(record, reasons)
    return Decoded(record, plan, _begun(plan, record))


def _begun(plan: PlannedWriteback, record: ConsumerRecord) -> Span:
    """A plan's way, as a span of the trace that its record carries; free if tracing is off."""
    parent = context_of(headers.last(record.headers, headers.TRACEPARENT))
    return get_tracer("writer").start_span("write back", parent, attributes={"session_id": plan.session_id})


def traceparent(trace: object) -> bytes | None:
    """What hands the trace on, to the CRM and to the result."""
    return traceparent_of(set_span_in_context(_span(trace)))


def end(trace: object, outcome: str) -> None:
    span = _span(trace)
    span.set_attribute("outcome", outcome)
    span.end()


def _span(trace: object) -> Span:
    return INVALID_SPAN if trace is None else cast("Span", trace)

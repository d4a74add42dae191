"""Trace context from the outcome to the plan: only a well-formed one, since a header could hold anything (B1)."""

from __future__ import annotations

import re

from opentelemetry import trace

from runtime.tracing import context_of, traceparent_of
from schemas.headers import TRACEPARENT, Headers, last

_WELL_FORMED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def kept_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """Of the headers of an outcome, those that are handed on."""
    context = last(headers, TRACEPARENT)
    return [(TRACEPARENT, context)] if context and _WELL_FORMED.fullmatch(context) else []


class Traces:
    """A span per plan, if tracing is configured; otherwise the outcome's context goes through as it came."""

    def __init__(self, *, on: bool) -> None:
        self._tracer = trace.get_tracer("planner") if on else None

    def of_plan(self, headers: Headers, *, partition: int, offset: int) -> list[tuple[str, bytes]]:
        """The headers of a plan. The span names the place of the outcome, and no person."""
        kept = kept_headers(headers)
        if self._tracer is None:
            return kept
        where: dict[str, str | int] = {
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
        }
        span = self._tracer.start_span("plan", context=context_of(last(kept, TRACEPARENT)), attributes=where)
        span.end()
        context = traceparent_of(trace.set_span_in_context(span))
        return [(TRACEPARENT, context)] if context else kept

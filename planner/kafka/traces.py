"""Trace context from the outcome to the plan, and a span for each outcome.

Only a well-formed context is handed on, since a header could hold anything (B1). A span names the place of its outcome
and what became of it, and nothing that the sender chose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, Tracer, get_tracer

from planner.core.deciding import AlreadyPlanned, Decision, Planned, Refused
from runtime.tracing import ProcessSpans, context_of, failed, traceparent_of
from schemas.headers import TRACEPARENT, Headers, last

_WELL_FORMED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def kept_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """Of the headers of an outcome, those that are handed on."""
    context = last(headers, TRACEPARENT)
    return [(TRACEPARENT, context)] if context and _WELL_FORMED.fullmatch(context) else []


class Traces:
    def __init__(self, *, topic: str, group: str, tracer: Tracer | None = None) -> None:
        self._spans = ProcessSpans(tracer or get_tracer("planner"), topic=topic, group=group)

    @contextmanager
    def of_batch(self, decisions: Sequence[Decision], *, began_ns: int) -> Iterator[Sequence[Span]]:
        """A span per decision, from when the batch was taken until its plans and rejections are acknowledged."""
        spans = [self._begun(decision, began_ns) for decision in decisions]
        try:
            yield spans
        except BaseException as error:
            for span in spans:
                failed(span, type(error).__name__)
            raise
        finally:
            for span in spans:
                span.end()

    def _begun(self, decision: Decision, began_ns: int) -> Span:
        at = decision.incoming
        sender = context_of(last(kept_headers(at.headers), TRACEPARENT))
        return self._spans.begun(sender, partition=at.partition, offset=at.offset, began_ns=began_ns)

    @staticmethod
    def decided(spans: Sequence[Span], decisions: Sequence[Decision]) -> None:
        """As published: what a topic did not take for its size has become something else."""
        for span, decision in zip(spans, decisions, strict=True):
            match decision:
                case Planned():
                    span.set_attribute("writeback.outcome", "planned")
                case Refused(_, reasons):
                    span.set_attribute("writeback.outcome", "rejected")
                    failed(span, reasons[0].code)
                case AlreadyPlanned():
                    span.set_attribute("writeback.outcome", "duplicate")
                case _:
                    span.set_attribute("writeback.outcome", "tombstone")

    @staticmethod
    def headers(span: Span) -> list[tuple[str, bytes]]:
        """Those of a plan: what is done for it later belongs to the same trace."""
        context = traceparent_of(trace.set_span_in_context(span))
        return [(TRACEPARENT, context)] if context else []

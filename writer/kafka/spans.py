"""A plan's way as a span: from when its record is decoded until its result is acknowledged. It is a child of the span
in which the planner made the plan.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import Span, Tracer, get_current_span, get_tracer

from runtime.tracing import ProcessSpans, context_of, failed, span_of
from schemas import headers
from schemas.records import PlannedWriteback
from writer.core.assignment import ConsumerRecord
from writer.core.messages import Ended


class PlanSpans:
    def __init__(self, *, topic: str, group: str, tracer: Tracer | None = None) -> None:
        self._spans = ProcessSpans(tracer or get_tracer("writer"), topic=topic, group=group)

    def sender_of(self, record: ConsumerRecord) -> Span:
        """The span that the record names as its origin."""
        return get_current_span(_sender_of(record))

    def begun(self, record: ConsumerRecord, plan: PlannedWriteback | None) -> Span:
        """Of a record that holds no plan, nothing but its place is known."""
        span = self._spans.begun(_sender_of(record), partition=record.partition, offset=record.offset)
        if plan is not None:
            span.set_attributes(
                {"writeback.session_id": plan.session_id, "writeback.queue_item_id": plan.queue_item_id}
            )
        return span

    def end(self, ended: Ended) -> None:
        span = span_of(ended.trace)
        span.set_attribute("writeback.outcome", ended.outcome)
        if ended.error is not None:
            failed(span, ended.error)
        span.end()


def _sender_of(record: ConsumerRecord) -> Context:
    return context_of(headers.last(record.headers, headers.TRACEPARENT))

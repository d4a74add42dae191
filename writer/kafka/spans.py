"""A plan's way as a span: a message that is processed, in OpenTelemetry's words. Free if tracing is off: then the
context that the record carries goes through as it came.

The span begins when the record is decoded and ends when its result is acknowledged. It is a child of the span in which
the planner made the plan.
"""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind, Tracer, get_current_span, get_tracer

from runtime.tracing import context_of, failed, span_of
from schemas import headers
from schemas.records import PlannedWriteback
from writer.core.assignment import ConsumerRecord
from writer.core.messages import Ended


class PlanSpans:
    def __init__(self, *, topic: str, group: str, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or get_tracer("writer")
        self._name = f"process {topic}"
        self._where = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": group,
        }

    def sender_of(self, record: ConsumerRecord) -> Span:
        """The span that the record names as its origin."""
        return get_current_span(context_of(headers.last(record.headers, headers.TRACEPARENT)))

    def begun(self, record: ConsumerRecord, plan: PlannedWriteback | None) -> Span:
        """Of a record that holds no plan, nothing but its place is known."""
        parent = context_of(headers.last(record.headers, headers.TRACEPARENT))
        span = self._tracer.start_span(self._name, parent, kind=SpanKind.CONSUMER)
        if span.is_recording():
            span.set_attributes(
                {
                    **self._where,
                    "messaging.destination.partition.id": str(record.partition),
                    "messaging.kafka.offset": record.offset,
                }
            )
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

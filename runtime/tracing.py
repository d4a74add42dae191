"""W3C trace context through the topics, and OpenTelemetry spans if an OTLP endpoint is configured.

The SDK's own variables say the rest: OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES, …
Attributes hold ids, places, counts and codes, and exceptions are recorded by type alone (B1).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.errors import Misconfigured

_PROPAGATOR = TraceContextTextMapPropagator()


_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


class TracingNotInstalled(Misconfigured):
    """An OTLP endpoint is configured, but the exporter is not installed."""


def configure_tracing(*, service: str, version: str, instance: str) -> bool:
    """Exports spans if OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) is set. True if it does.

    What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say of the service counts more than what is given here.

    Raises TracingNotInstalled if the extra `tracing` is missing, Misconfigured if another protocol is asked for.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS) or _switched_off():
        return False
    for name in _PROTOCOLS:
        if os.environ.get(name, _PROTOCOL) != _PROTOCOL:
            raise Misconfigured([f"{name}: spans are exported as {_PROTOCOL} only; set it to that, or unset it"])
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingNotInstalled(
            ["an OTLP endpoint is set, but the exporter is missing; install the extra `tracing`, or unset the endpoint"]
        ) from None
    ours = {"service.name": service, "service.version": version, "service.instance.id": instance}
    provider = TracerProvider(resource=Resource.create(ours).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


def _switched_off() -> bool:
    """As the specification says."""
    exporters = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    return exporters == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"


def context_of(traceparent: bytes | None) -> Context:
    """The context in a record's `traceparent` header; an empty one if the header is missing or unreadable."""
    return _PROPAGATOR.extract({"traceparent": traceparent.decode("ascii", "replace")} if traceparent else {})


def traceparent_of(context: Context) -> bytes | None:
    """The header that passes `context` on; None without a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier["traceparent"].encode() if "traceparent" in carrier else None


def span_of(trace_of_record: object) -> Span:
    """The core hands spans on without looking at them; None is none."""
    return trace_of_record if isinstance(trace_of_record, Span) else INVALID_SPAN


def trace_id(trace_of_record: object) -> str | None:
    """As log lines show it; None without a trace."""
    context = span_of(trace_of_record).get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def which_traces(traces: Iterable[object]) -> Mapping[str, object]:
    """The field of a log line that names them: `trace_id` for one, `trace_ids` for several."""
    ids = list(dict.fromkeys(found for each in traces if (found := trace_id(each)) is not None))
    if not ids:
        return {}
    return {"trace_id": ids[0]} if len(ids) == 1 else {"trace_ids": ids}


class ProcessSpans:
    """Each record of a topic as a span: a message that is processed, in OpenTelemetry's words. Free if tracing is off:
    then the context that the record carries goes through as it came.
    """

    def __init__(self, tracer: Tracer, *, topic: str, group: str) -> None:
        self._tracer = tracer
        self._name = f"process {topic}"
        self._where = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": group,
        }

    def begun(self, sender: Context, *, partition: int, offset: int, began_ns: int | None = None) -> Span:
        """A child of the span that the record names; now, if no time is given."""
        span = self._tracer.start_span(self._name, sender, kind=SpanKind.CONSUMER, start_time=began_ns)
        if span.is_recording():
            span.set_attributes(self._where)
            span.set_attributes(
                {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}
            )
        return span


def failed(span: Span, error: str) -> None:
    """`error`: a code or a type, never a text."""
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR, error))


@contextmanager
def inside(span: Span) -> Iterator[Span]:
    """What happens inside is a child of this span, which ends with it. An exception is named by its type, since its
    text may quote a record.
    """
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            failed(span, type(error).__name__)
            raise

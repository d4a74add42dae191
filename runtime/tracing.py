"""W3C trace context through the topics, and OpenTelemetry spans if an OTLP endpoint is configured."""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.errors import Misconfigured

_PROPAGATOR = TraceContextTextMapPropagator()


class TracingNotInstalled(Misconfigured):
    """An OTLP endpoint is configured, but the exporter is not installed."""


def configure_tracing(*, service: str, version: str) -> bool:
    """Exports spans if OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) is set. True if it does.

    Raises TracingNotInstalled if the extra `tracing` is missing.
    """
    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingNotInstalled(
            ["an OTLP endpoint is set, but the exporter is missing; install the extra `tracing`, or unset the endpoint"]
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": service, "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


def context_of(traceparent: bytes | None) -> Context:
    """The context in a record's `traceparent` header; an empty one if the header is missing or unreadable."""
    return _PROPAGATOR.extract({"traceparent": traceparent.decode("ascii", "replace")} if traceparent else {})


def traceparent_of(context: Context) -> bytes | None:
    """The header that passes `context` on; None without a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier["traceparent"].encode() if "traceparent" in carrier else None

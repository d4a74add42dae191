"""What a process says of itself: probes, metrics, log lines, trace context."""

from __future__ import annotations

import json
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, Counter

from ops.demo.waiting import HANGS_AFTER_S
from runtime.endpoint import Endpoint, Verdict
from runtime.errors import Misconfigured
from runtime.logs import configure_logs, form_named
from runtime.tracing import (
    TracingNotInstalled,
    configure_tracing,
    context_of,
    inside,
    traceparent_of,
    which_traces,
)
from tests.support.logs import logging_as_it_was


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=HANGS_AFTER_S) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_endpoint_tells_live_from_ready_and_serves_metrics() -> None:
    registry = CollectorRegistry()
    Counter("writebacks", "Landed.", registry=registry).inc(3)
    waiting = Verdict(ok=False, checks={"metadata": "not verified yet"})
    endpoint = Endpoint(
        host="127.0.0.1", port=0, registry=registry, live=lambda: Verdict(ok=True), ready=lambda: waiting
    )
    endpoint.start()
    try:
        base = f"http://127.0.0.1:{endpoint.port}"
        assert get(base + "/live")[0] == 200
        status, body = get(base + "/ready")
        assert (status, json.loads(body)) == (503, {"ok": False, "metadata": "not verified yet"})
        assert b"writebacks_total 3.0" in get(base + "/metrics")[1]
        assert get(base + "/elsewhere")[0] == 404
    finally:
        endpoint.stop()


def test_B1_an_exception_is_logged_by_type_and_place_and_never_by_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="writer", form="json")
    try:
        int("canary")
    except ValueError:
        structlog.get_logger("writer").exception("plan.failed", session="sess-1")
    logging.getLogger("writer").warning("from the standard library")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["event"] == "plan.failed"
    assert (first["service"], first["error"], first["session"]) == ("writer", "ValueError", "sess-1")
    assert "canary" not in json.dumps(first)
    assert first["at"][0].startswith("test_logs_and_tracing:") or "test_logs_and_tracing" in first["at"][0]
    assert second["event"] == "from the standard library"


def test_a_line_that_asks_for_an_exception_where_there_is_none_says_what_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(service="writer", form="json")
    structlog.get_logger("writer").error("plan.failed", exc_info=True)
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], "error" in line, "exc_info" in line) == ("plan.failed", False, False)


@pytest.mark.parametrize(("text", "form"), [("json", "json"), ("Console", "console"), ("xml", "auto"), (None, "auto")])
def test_the_form_of_the_log_is_known_before_the_settings_are_read(text: str | None, form: str) -> None:
    assert form_named(text) == form


def test_on_a_terminal_the_same_line_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="writer", form="console")
    structlog.get_logger("writer").info("writer.started", partitions=12)
    assert "writer.started" in capsys.readouterr().out


def test_a_logger_that_a_module_keeps_follows_the_latest_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    kept: Any = structlog.get_logger("writer")
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    with logging_as_it_was():
        configure_logs(service="writer", form="json")
        kept.info("settings.read")
    kept.info("writer.started")
    assert capsys.readouterr().out.splitlines()[-1] == "event='writer.started'"


def test_a_trace_goes_through_a_header_and_unreadable_ones_start_none() -> None:
    header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert traceparent_of(context_of(header)) == header
    assert trace.get_current_span(context_of(header)).get_span_context().is_remote
    assert traceparent_of(context_of(b"\xff\xfe")) is None
    assert traceparent_of(context_of(None)) is None
    assert traceparent_of(Context()) is None


def test_with_an_endpoint_spans_of_this_service_and_version_are_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    set_to: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", set_to.append)
    assert configure_tracing(service="writer", version="0.1.0", instance="writer-0") is True
    (provider,) = set_to
    assert {"service.name": "writer", "service.version": "0.1.0"}.items() <= provider.resource.attributes.items()
    exported: list[str] = []

    def export(_exporter: OTLPSpanExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        exported.extend(span.name for span in spans)
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(OTLPSpanExporter, "export", export)
    provider.get_tracer("writer").start_span("plan").end()
    provider.shutdown()
    assert exported == ["plan"]


def test_an_endpoint_without_the_exporter_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingNotInstalled, match="install the extra `tracing`, or unset the endpoint"):
        configure_tracing(service="writer", version="0", instance="writer-0")


def test_tracing_is_off_unless_an_endpoint_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    assert configure_tracing(service="writer", version="0", instance="writer-0") is False


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TracerProvider]:
    """That which these variables configure."""

    def configured(**variables: str) -> TracerProvider:
        set_to: list[TracerProvider] = []
        monkeypatch.setattr(trace, "set_tracer_provider", set_to.append)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert configure_tracing(service="writer", version="0.1.0", instance="writer-0")
        [provider] = set_to
        return provider

    return configured


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"service.name": "writer", "service.version": "0.1.0", "service.instance.id": "writer-0"}),
        ({"OTEL_SERVICE_NAME": "calls-writer"}, {"service.name": "calls-writer", "service.version": "0.1.0"}),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=calls,service.version=9,deployment.environment.name=test"},
            {"service.name": "calls", "service.version": "9", "deployment.environment.name": "test"},
        ),
    ],
)
def test_what_the_environment_says_of_the_service_counts_more_than_our_own_name_for_it(
    provider: Callable[..., TracerProvider], variables: dict[str, str], expected: dict[str, str]
) -> None:
    configured = provider(**variables)
    assert expected.items() <= configured.resource.attributes.items()
    configured.shutdown()


def test_sampling_is_that_of_the_environment(provider: Callable[..., TracerProvider]) -> None:
    configured = provider(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    span = configured.get_tracer("writer").start_span("plan")
    assert not span.is_recording()
    handed_on = traceparent_of(trace.set_span_in_context(span)) or b"1"
    assert int(handed_on[-1:], 16) % 2 == 0, "the next service does not sample it either"
    configured.shutdown()


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_another_protocol_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, "grpc")
    with pytest.raises(Misconfigured, match=f"{variable}: spans are exported as http/protobuf only"):
        configure_tracing(service="writer", version="0", instance="writer-0")


@pytest.mark.parametrize(("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_tracing_can_be_switched_off_as_the_specification_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    assert configure_tracing(service="writer", version="0", instance="writer-0") is False


def test_B1_an_error_inside_a_span_is_named_by_its_type() -> None:
    exported, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    with pytest.raises(ValueError, match="canary"), inside(provider.get_tracer("writer").start_span("request")):
        raise ValueError("canary")
    [span] = exported.get_finished_spans()
    assert (dict(span.attributes or {}), span.status.status_code) == ({"error.type": "ValueError"}, StatusCode.ERROR)
    assert "canary" not in span.to_json()


def test_a_line_names_one_trace_or_several_and_none_that_is_not_there() -> None:
    one, other = (trace.get_current_span(context_of(f"00-{n:032x}-{n:016x}-01".encode())) for n in (1, 2))
    assert which_traces([]) == which_traces([None]) == {}
    assert which_traces([one, None, one]) == {"trace_id": f"{1:032x}"}
    assert which_traces([one, other]) == {"trace_ids": [f"{1:032x}", f"{2:032x}"]}

"""A record of the planned topic on its way through the writer."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.factories import make_plan
from tests.unit.writer.workbench import make_record
from writer import work
from writer.work import begin

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_without_tracing_the_trace_is_handed_on_as_it_came() -> None:
    assert begin(make_plan(), make_record(headers=[("traceparent", TRACE)]), 1).traceparent == TRACE
    assert begin(make_plan(), make_record(), 1).traceparent is None


def test_with_tracing_the_plans_way_is_a_span_of_its_records_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    exported, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(work, "get_tracer", provider.get_tracer)
    one = begin(make_plan(), make_record(headers=[("traceparent", TRACE)]), 1)
    handed_on = one.traceparent
    one.span.end()
    [span] = exported.get_finished_spans()
    assert handed_on is not None
    assert handed_on.startswith(TRACE[:35])
    assert handed_on != TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}".encode() in TRACE

"""One session, followed through real processes: spans at a collector, lines in both logs, a header of its result."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka import Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.records import Disposition
from simulator.testing import RunningSimulator
from tests.integration.planner.harness import AN_HOUR_AGO, CODEC, planner_env, ready
from tests.integration.writer.conftest import desk, embedded, simulator, topic
from tests.integration.writer.kit import Desk, Topic, baseline_of, seed_item, writer_env

__all__ = ["desk", "embedded", "simulator", "topic"]

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALL = "b7ad6b7169203331"
PERSONAL = ("+15305550123", "kim@example.com", "Canary")


@dataclass(frozen=True)
class Told:
    service: str
    name: str
    span: str
    parent: str
    trace: str
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What an OTLP collector receives over HTTP."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def spans(self) -> list[Told]:
        return [
            Told(
                service=_values(resource.resource.attributes)["service.name"],
                name=span.name,
                span=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                trace=span.trace_id.hex(),
                attributes=_values(span.attributes),
            )
            for body in list(self.bodies)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    if value.HasField("array_value"):
        return [_value(each) for each in value.array_value.values]
    return getattr(value, value.WhichOneof("value"))


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.headers.append(dict(self.headers))
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="collector")
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_one_session_is_followed_from_its_outcome_to_its_result(
    collector: Collector,
    simulator: RunningSimulator,
    desk: Desk,
    topic: Topic,
    make_service: Callable[..., Service],
) -> None:
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=calls",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    named = {"OTEL_SERVICE_NAME": "calls-writer"}
    planner = make_service("planner", module("planner"), env=planner_env(topic.bootstrap) | otlp).start(ready)
    writer = make_service("writer", module("writer"), env=writer_env(simulator, topic.bootstrap) | otlp | named).start()
    item = seed_item(simulator)
    outcome = desk.outcome(
        item,
        Disposition.INTERESTED_EMAIL_CAPTURED,
        summary="Canary would like an e-mail to kim@example.com.",
        baseline=baseline_of(desk.row(item), captured_at=AN_HOUR_AGO),
        started_at=AN_HOUR_AGO,
        ended_at=AN_HOUR_AGO + timedelta(seconds=30),
    )
    producer = Producer({"bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random", "log_level": 0})
    sent = [("traceparent", f"00-{TRACE}-{CALL}-01".encode())]
    producer.produce("call-outcomes", CODEC.encode(outcome), item.encode(), headers=sent)
    assert producer.flush(20) == 0
    wait_until(topic.results, what="its result")
    wait_until(lambda: named_spans(collector, "process planned-writebacks"), what="the last span is exported")
    assert (planner.stop(), writer.stop()) == (0, 0)

    [planned] = named_spans(collector, "process call-outcomes")
    [written] = named_spans(collector, "process planned-writebacks")
    [request] = named_spans(collector, "dataverse write")
    [attempt] = [span for span in collector.spans() if span.parent == request.span]
    assert [each.trace for each in (planned, written, request, attempt)] == [TRACE] * 4
    assert [each.parent for each in (planned, written, request, attempt)] == [
        CALL, planned.span, written.span, request.span,
    ]  # fmt: skip
    assert [each.service for each in (planned, written, request)] == ["planner", "calls-writer", "calls-writer"]
    of_session = [each for each in collector.spans() if each.attributes.get("writeback.session_id")]
    assert {each.attributes["writeback.session_id"] for each in of_session} == {outcome.session_id}
    [request_id] = attempt.attributes["http.response.header.x-ms-service-request-id"]

    lines = [*planner.lines(), *writer.lines()]
    joined = [line for line in map(json.loads, lines) if line.get("trace_id") == TRACE]
    assert {(line["service"], line["event"]) for line in joined} >= {
        ("planner", "batch.planned"), ("writer", "plans.sent"),
    }  # fmt: skip
    assert {line["session_id"] for line in joined if line["service"] == "writer"} == {outcome.session_id}
    assert request_id in {line.get("request_id") for line in joined}
    [result] = topic.read(topic.topics.writeback_results.name)
    assert dict(result.headers())["traceparent"].decode() == f"00-{TRACE}-{written.span}-01"

    assert {each["x-tenant"] for each in collector.headers} == {"calls"}
    told = b"".join(collector.bodies).decode("utf-8", "replace") + "".join(lines)
    assert [each for each in PERSONAL if each in told] == [], "B1"


def named_spans(collector: Collector, name: str) -> list[Told]:
    return [span for span in collector.spans() if span.name == name]

"""What a tracing backend is told of a plan's way, from the engine's real shell through the real client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs
from structlog.typing import EventDict

from schemas.headers import TRACEPARENT
from schemas.records import PlannedWriteback
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import an_id, make_plan
from tests.unit.writer.test_service import CODEC, FakeProducer, a_service, until
from tests.unit.writer.workbench import make_pool, make_record
from writer.core import messages
from writer.core.assignment import AssignedPartition, OffsetAndMetadata
from writer.dataverse.client import DataverseClient, HttpRequest
from writer.errors import NeverSent
from writer.service import Service
from writer.settings import DataverseSettings

TRACE = "0af7651916cd43dd8448eb211c80319c"
PLANNED_IN = f"00-{TRACE}-b7ad6b7169203331-01".encode()
REQUEST_ID = "11111111-2222-4333-8444-555555555555"
ITEMS = "medx_callqueueitems"


class Spans:
    """A tracer, and what it told so far."""

    def __init__(self) -> None:
        self._exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("writer")

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


class Crm(FakeDataverse):
    """Its replies bear the service's id of the request."""

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        reply = super()._answer(request)
        reply.headers["x-ms-service-request-id"] = REQUEST_ID
        return reply


def of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def plans_in(crm: FakeDataverse, count: int) -> list[PlannedWriteback]:
    """Of queue items of their own, which stand as their baselines say."""
    plans = [make_plan(session_id=f"sess-{n}", queue_item_id=an_id(f"item {n}")) for n in range(count)]
    etags = [crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns) for plan in plans]
    return [replace(plan, baseline=replace(plan.baseline, etag=etag)) for plan, etag in zip(plans, etags, strict=True)]


@asynccontextmanager
async def working(
    crm: FakeDataverse, spans: Spans, producer: FakeProducer | None = None, *, requests_at_once: int = 4
) -> AsyncIterator[Service]:
    pool = make_pool(crm, tracer=spans.tracer, start=requests_at_once)
    service = a_service(pool=pool, producer=producer, tracer=spans.tracer)
    running = asyncio.create_task(service.run())
    service.post(messages.AssignedPartitions([AssignedPartition(0, 1, OffsetAndMetadata(0, "wb2:0:"))]))
    service.post(messages.EndOffsets({0: 0}, 0.0))
    try:
        yield service
    finally:
        service.stop()
        await running
        await pool.close()


def arrive(service: Service, *plans: PlannedWriteback, first: int = 7) -> None:
    records = [
        make_record(
            first + n, key=plan.session_id.encode(), value=CODEC.encode(plan), headers=[(TRACEPARENT, PLANNED_IN)]
        )
        for n, plan in enumerate(plans)
    ]
    service.post(messages.Received(records))


def lines(log: list[EventDict], event: str) -> list[EventDict]:
    return [line for line in log if line["event"] == event]


async def test_one_session_is_one_trace_from_its_record_through_each_request_to_its_result(
    spans: Spans, log: list[EventDict]
) -> None:
    crm, producer = Crm(), FakeProducer()
    [plan] = plans_in(crm, 1)
    async with working(crm, spans, producer) as service:
        arrive(service, plan)
        await until(lambda: spans.named("process planned-writebacks"))
    way, request = spans.one("process planned-writebacks"), spans.one("dataverse write")
    [attempt] = [span for span in spans.named("POST $batch") if parent_of(span) == id_of(request)]
    assert {span.context.trace_id for span in (way, request, attempt) if span.context} == {int(TRACE, 16)}
    assert (parent_of(way), parent_of(request)) == (0xB7AD6B7169203331, id_of(way))
    assert (way.kind, attempt.kind) == (SpanKind.CONSUMER, SpanKind.CLIENT)
    assert of(way) == {
        "messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.destination.name": "planned-writebacks", "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 7, "messaging.consumer.group.name": "writeback-writer",
        "writeback.session_id": "sess-0", "writeback.queue_item_id": plan.queue_item_id,
        "writeback.outcome": "completed",
    }  # fmt: skip
    assert of(attempt) | {"http.request.header.x-ms-client-request-id": "any"} == {
        "http.request.method": "POST", "url.full": "http://localhost:1/api/data/v9.2/$batch", "url.template": "$batch",
        "server.address": "localhost", "server.port": 1, "http.response.status_code": 200,
        "http.request.header.x-ms-client-request-id": "any",
        "http.response.header.x-ms-service-request-id": (REQUEST_ID,),
    }  # fmt: skip
    [sent] = [each for each in crm.requests if f"{id_of(attempt):016x}" in each.headers.get("traceparent", "")]
    assert (sent.headers["x-ms-client-request-id"],) == of(attempt)["http.request.header.x-ms-client-request-id"]
    [result] = [record for records, _ in producer.batches for record in records]
    assert dict(result.headers)[TRACEPARENT].decode() == f"00-{TRACE}-{id_of(way):016x}-01"
    [line] = lines(log, "plans.sent")
    assert line.items() >= {
        "session_id": "sess-0", "partition": 0, "offset": 7, "trace_id": TRACE, "request_id": REQUEST_ID,
    }.items()  # fmt: skip


async def test_a_request_that_several_plans_share_is_linked_with_each_of_them_in_both_directions(
    spans: Spans, log: list[EventDict]
) -> None:
    crm = Crm()
    async with working(crm, spans, requests_at_once=1) as service:
        arrive(service, *plans_in(crm, 3))
        await until(lambda: len(spans.named("process planned-writebacks")) == 3)
    ways = {id_of(span): span for span in spans.named("process planned-writebacks")}
    [shared] = [span for span in spans.named("dataverse write") if of(span)["writeback.plans"] == 3]
    assert {link.context.span_id for link in shared.links} == ways.keys()
    assert parent_of(shared) in ways
    for way in ways.values():
        assert [link.context.span_id for link in way.links] == [id_of(shared)]
    [line] = lines(log, "plans.sent")
    assert (line["sessions"], line["places"]) == (["sess-0", "sess-1", "sess-2"], ["0/7", "0/8", "0/9"])


async def test_each_attempt_has_a_span_of_its_own_and_the_failed_ones_say_so(spans: Spans) -> None:
    crm, left = Crm(), [httpx2.Response(503), httpx2.ConnectError("canary"), httpx2.ReadTimeout("canary")]

    def before(request: httpx2.Request) -> httpx2.Response | None:
        if not request.url.path.endswith("$batch") or not left:
            return None
        first = left.pop(0)
        if isinstance(first, Exception):
            raise first
        return first

    crm.before = before
    async with working(crm, spans) as service:
        arrive(service, *plans_in(crm, 1))
        await until(lambda: spans.named("process planned-writebacks"))
    tried = [span for span in spans.named("POST $batch") if of(span).get("error.type")]
    assert [of(span)["error.type"] for span in tried] == ["503", "NeverSent", "Unanswered"]
    assert all(span.status.status_code is StatusCode.ERROR for span in tried)
    requests = [span for span in spans.all() if span.name in ("dataverse write", "dataverse read")]
    assert [of(span)["writeback.reply"] for span in requests][:3] == ["transient", "transient", "ambiguous"]
    assert [span.status.status_code for span in requests][:3] == [StatusCode.ERROR] * 3
    assert spans.one("process planned-writebacks").status.status_code is StatusCode.UNSET, "it has landed"
    assert "canary" not in str([span.to_json() for span in spans.all()]), "B1: an error is named by its type"


async def test_a_blocked_plan_is_an_error_with_its_reason_and_its_line_leads_to_the_request(
    spans: Spans, log: list[EventDict]
) -> None:
    crm = Crm()
    [plan] = plans_in(crm, 1)
    crm.seed(ITEMS, plan.queue_item_id, **{**plan.baseline.columns, "medx_notes": "by hand"})
    async with working(crm, spans) as service:
        arrive(service, plan)
        await until(lambda: spans.named("process planned-writebacks"))
    way = spans.one("process planned-writebacks")
    assert (of(way)["writeback.outcome"], of(way)["error.type"]) == ("blocked", "conflict_detected")
    assert way.status.status_code is StatusCode.ERROR
    [line] = lines(log, "plan.blocked")
    assert line.items() >= {
        "session_id": "sess-0", "partition": 0, "offset": 7, "trace_id": TRACE, "request_id": REQUEST_ID,
    }.items()  # fmt: skip


async def test_what_holds_no_plan_is_an_error_and_names_its_trace(spans: Spans, log: list[EventDict]) -> None:
    async with working(Crm(), spans) as service:
        service.post(messages.Received([make_record(3, value=b"junk", headers=[(TRACEPARENT, PLANNED_IN)])]))
        await until(lambda: spans.named("process planned-writebacks"))
    way = spans.one("process planned-writebacks")
    assert (of(way)["writeback.outcome"], of(way)["error.type"]) == ("rejected", "undecodable")
    [line] = lines(log, "record.rejected")
    assert (line["offset"], line["trace_id"]) == (3, TRACE)


async def test_the_span_of_a_plan_whose_partition_is_lost_ends_too(spans: Spans) -> None:
    crm, held = Crm(), asyncio.Event()
    async with working(crm, spans) as service:
        await service.parts.publisher.publish([], [], None)
        original = service.parts.pool.send

        async def slow(*given: Any, **named: Any) -> Any:
            await held.wait()
            return await original(*given, **named)

        service.parts.pool.send = slow  # type: ignore[method-assign]
        arrive(service, *plans_in(crm, 1))
        await until(lambda: service.engine.gauges(messages.Now(0.0, make_plan().outcome_at)).in_flight == 1)
        service.post(messages.Lost([0]))
        await until(lambda: spans.named("process planned-writebacks"))
        held.set()
    assert of(spans.one("process planned-writebacks"))["writeback.outcome"] == "dropped"


class Renewed:
    name, expires_at, credential_expires_at = "app-0", None, None

    async def token(self) -> str | None:
        return "one"

    async def renewed(self, _rejected: str | None) -> str | None:
        return "two"

    def close(self) -> None: ...


async def once(spans: Spans, handler: Callable[[httpx2.Request], httpx2.Response], request: HttpRequest) -> None:
    settings = DataverseSettings.model_validate({"url": "http://localhost:1"})
    transport = httpx2.MockTransport(handler)
    client = DataverseClient(settings, Renewed(), transport=transport, tracer=spans.tracer)  # type: ignore[arg-type]
    try:
        await client.send(request)
    finally:
        await client.close()


async def test_a_request_that_is_sent_again_with_a_new_token_has_two_spans(spans: Spans) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(401 if request.headers["authorization"].endswith("one") else 204)

    await once(spans, handler, HttpRequest("GET", "WhoAmI"))
    first, second = spans.named("GET WhoAmI")
    assert (of(first)["error.type"], "http.request.resend_count" in of(first)) == ("401", False)
    assert (of(second)["http.request.resend_count"], second.status.status_code) == (1, StatusCode.UNSET)


async def test_B1_neither_query_nor_key_nor_error_nor_header_of_a_stranger_is_in_a_span(spans: Spans) -> None:
    def refuses(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, headers={"x-ms-service-request-id": "canary +15305550123"}, text="canary")

    def breaks(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("canary")

    await once(spans, refuses, HttpRequest("GET", "contacts?$filter=emailaddress1 eq 'canary'"))
    await once(spans, refuses, HttpRequest("GET", "contacts(emailaddress1='canary')", {"x-note": "canary"}, b"canary"))
    with pytest.raises(NeverSent):
        await once(spans, breaks, HttpRequest("POST", "$batch", {}, b"canary"))
    assert [span.name for span in spans.all()] == ["GET contacts", "GET contacts", "POST $batch"]
    told = "".join(span.to_json() for span in spans.all())
    assert not any(secret in told for secret in ("canary", "Bearer", "5305550123"))
    assert not any(span.events for span in spans.all())


async def test_attributes_have_the_names_of_the_semantic_conventions(spans: Spans) -> None:
    crm = Crm()
    async with working(crm, spans) as service:
        arrive(service, *plans_in(crm, 2))
        await until(lambda: len(spans.named("process planned-writebacks")) == 2)
    known = {
        value
        for module in (messaging_attributes, error_attributes, http_attributes, server_attributes, url_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    used = {name for span in spans.all() for name in of(span)}
    templates = {
        "url.template",
        "http.request.header.x-ms-client-request-id",
    }  # still in development, or with a name in it
    templates |= {"http.response.header.x-ms-service-request-id"}
    assert {name for name in used if not name.startswith("writeback.")} - templates <= known

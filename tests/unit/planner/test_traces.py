"""What a tracing backend and the log are told of an outcome: from its record to its acknowledged plan."""

import asyncio
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from planner.errors import NotPublished
from schemas.headers import TRACEPARENT
from tests.support.factories import make_outcome
from tests.unit.planner.test_service import MEMBER, TRACE, FakePublisher, a_service, incoming

TRACE_ID = TRACE.decode().split("-")[1]
NAMED = ((TRACEPARENT, TRACE),)


@pytest.fixture
def exported():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("planner")


def handled(*batch, tracer=None, publisher=None):
    service, _ = a_service(publisher=publisher or FakePublisher(), tracer=tracer)
    with capture_logs() as lines:
        asyncio.run(service.handle(list(batch), MEMBER))
    return [line for line in lines if line["event"] == "batch.planned"]


def test_a_plan_carries_the_span_that_made_it_on_in_the_outcomes_trace(exported, tracer):
    publisher = FakePublisher()
    handled(incoming(make_outcome(), 4, partition=3, headers=NAMED), tracer=tracer, publisher=publisher)
    (span,) = exported.get_finished_spans()
    assert (span.name, span.kind) == ("process call-outcomes", SpanKind.CONSUMER)
    assert f"{span.parent.span_id:016x}" in TRACE.decode()
    assert dict(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "call-outcomes",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 4,
        "messaging.consumer.group.name": "writeback-planner",
        "writeback.outcome": "planned",
    }
    assert publisher.published[0].headers == [(TRACEPARENT, f"00-{TRACE_ID}-{span.context.span_id:016x}-01".encode())]


def test_a_trace_begins_here_if_the_call_system_named_none(exported, tracer):
    publisher = FakePublisher()
    handled(incoming(make_outcome()), tracer=tracer, publisher=publisher)
    (span,) = exported.get_finished_spans()
    assert span.parent is None
    assert f"{span.context.trace_id:032x}".encode() in dict(publisher.published[0].headers)[TRACEPARENT]


def test_the_span_lasts_until_the_plan_is_acknowledged(exported, tracer):
    class Watching(FakePublisher):
        async def publish(self, records, progress):
            self.open = not exported.get_finished_spans()
            return await super().publish(records, progress)

    handled(incoming(make_outcome()), tracer=tracer, publisher=(publisher := Watching()))
    assert publisher.open
    assert len(exported.get_finished_spans()) == 1


def test_rejected_outcomes_are_errors_with_their_first_reason_and_duplicates_are_none(exported, tracer):
    batch = [incoming(make_outcome()), incoming(make_outcome(), 1), incoming(make_outcome(), 2, value=b"junk")]
    handled(*batch, incoming(make_outcome(), 3, value=None), tracer=tracer)
    spans = exported.get_finished_spans()
    assert [span.attributes["writeback.outcome"] for span in spans] == ["planned", "duplicate", "rejected", "tombstone"]
    errors = {span.attributes["writeback.outcome"] for span in spans if span.status.status_code is StatusCode.ERROR}
    assert errors == {"rejected"}
    assert spans[2].attributes["error.type"] == "undecodable"


def test_a_plan_that_is_not_published_is_an_error_of_its_span(exported, tracer):
    publisher = FakePublisher(NotPublished("REQUEST_TIMED_OUT"))
    with pytest.raises(NotPublished):
        handled(incoming(make_outcome()), tracer=tracer, publisher=publisher)
    (span,) = exported.get_finished_spans()
    assert (span.attributes["error.type"], span.events) == ("NotPublished", ())


def test_B1_nothing_that_the_sender_chose_is_in_a_span(exported, tracer):
    outcome = make_outcome(session_id="canary-1")
    handled(incoming(outcome, headers=((TRACEPARENT, b"canary"), ("contact", b"canary"))), tracer=tracer)
    (span,) = exported.get_finished_spans()
    assert "canary" not in span.to_json()
    assert make_outcome().phone_number not in span.to_json()


@pytest.mark.parametrize("is_traced", [False, True])
def test_the_line_of_a_single_outcome_names_its_place_and_trace(tracer, is_traced):
    (line,) = handled(incoming(make_outcome(), 4, partition=3, headers=NAMED), tracer=tracer if is_traced else None)
    named = {"partition": 3, "offset": 4, "trace_id": TRACE_ID}
    assert named.items() <= line.items()


def test_the_line_of_a_few_names_each_and_that_of_many_where_they_begin_and_end():
    outcomes = [
        incoming(
            replace(make_outcome(), session_id=f"s{n}"), n, partition=n % 2,
            headers=((TRACEPARENT, f"00-{n + 1:032x}-{1:016x}-01".encode()),),
        )
        for n in range(16)
    ]  # fmt: skip
    (few,) = handled(*outcomes[:3])
    assert (few["offsets"], few["trace_ids"]) == ({"0": [0, 2], "1": [1, 1]}, [f"{n + 1:032x}" for n in range(3)])
    (many,) = handled(*outcomes)
    assert (many["offsets"], "trace_ids" in many) == ({"0": [0, 14], "1": [1, 15]}, False)


def test_a_rejected_opt_out_is_found_by_its_place_and_trace():
    service, _ = a_service()
    invalid = make_outcome(opt_out=True, ended_at=make_outcome().started_at.replace(year=1999))
    with capture_logs() as lines:
        asyncio.run(service.handle([incoming(invalid, 4, partition=3, headers=NAMED)], MEMBER))
    (line,) = [line for line in lines if line["event"] == "outcome.opt_out_rejected"]
    assert {"partition": 3, "offset": 4, "trace_id": TRACE_ID}.items() <= line.items()

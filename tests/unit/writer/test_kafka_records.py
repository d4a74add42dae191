"""A record of the planned topic as a plan, and the trace that it carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planner.core.retirement import mark_of
from runtime.errors import RegistryUnavailable
from schemas.codec import Codec, ParsedSchema, UnknownSchema, single_object
from schemas.records import ActivityParties, CallOutcome, PlannedWriteback, Precondition
from schemas.wire import SchemaId
from tests.support.factories import NOON, make_outcome, make_plan
from tests.unit.writer.workbench import make_record
from writer.core.assignment import ConsumerRecord
from writer.core.messages import Decoded, Unreadable
from writer.kafka import records
from writer.kafka.spans import PlanSpans

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CODEC = single_object(PlannedWriteback)
SPANS = PlanSpans(topic="planned-writebacks", group="writeback-writer")


def record(plan: PlannedWriteback | None = None, **overrides: Any) -> ConsumerRecord:
    plan = plan or make_plan()
    return make_record(**{"key": plan.session_id.encode(), "value": CODEC.encode(plan), **overrides})


def decoded(one: ConsumerRecord) -> Decoded:
    told = records.decoded(one, CODEC, SPANS)
    assert isinstance(told, Decoded)
    return told


def reasons(one: ConsumerRecord) -> list[str]:
    plan = decoded(one).plan
    assert not isinstance(plan, PlannedWriteback)
    return [reason.code for reason in plan]


def test_a_plan_is_decoded() -> None:
    assert decoded(record()).plan == make_plan()
    mark = mark_of(make_plan(), NOON)
    assert decoded(record(mark)).plan == mark


call, complete, update = make_plan().steps
PARTIES = ActivityParties(
    collection="phonecall_activity_parties", entity_set="activityparties", id_column="activityid", members=()
)


@pytest.mark.parametrize(
    ("one", "codes"),
    [
        (record(value=b"junk"), ["undecodable"]),
        (record(value=single_object(CallOutcome).encode(make_outcome())), ["undecodable"]),
        (record(key=b"another"), ["key_mismatch"]),
        (record(make_plan(steps=(call, complete))), ["no_queue_item_update"]),
        (record(make_plan(steps=(call, replace(complete, step_index=0), update))), ["step_index_repeated"]),
        (
            record(make_plan(steps=(call, complete, replace(update, precondition=Precondition.MUST_EXIST)))),
            ["precondition_mismatch"],
        ),
        (record(make_plan(steps=(call, complete, replace(update, activity_parties=PARTIES)))), ["parties_misplaced"]),
        (record(replace(mark_of(make_plan(), NOON), retired_at=None)), ["no_queue_item_update"]),
        (record(mark_of(make_plan(), NOON), key=b"another"), ["key_mismatch"]),
    ],
)
def test_P6_what_is_no_plan_is_named_with_every_reason(one: ConsumerRecord, codes: list[str]) -> None:
    assert reasons(one) == codes


class Registry:
    """Knows no schema, and says so with `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def schema(self, _number: int) -> ParsedSchema:
        raise self.error


@pytest.mark.parametrize(
    "error", [RegistryUnavailable("gone"), UnknownSchema("was written with schema id 7, which nobody knows")]
)
def test_W1_a_record_whose_schema_cannot_be_found_is_not_put_aside(error: Exception) -> None:
    confluent = Codec(PlannedWriteback, SchemaId(7), Registry(error).schema)
    told = records.decoded(record(value=confluent.encode(make_plan())), confluent, SPANS)
    assert isinstance(told, Unreadable)
    assert told.problem == str(error)
    assert "nothing is skipped" in told.remedy
    assert isinstance(records.decoded(record(value=b"\xc3\x01" + bytes(8)), CODEC, SPANS), Unreadable)


def test_without_tracing_the_trace_is_handed_on_as_it_came() -> None:
    assert records.traceparent(decoded(record(headers=[("traceparent", TRACE)])).trace) == TRACE
    assert records.traceparent(decoded(record()).trace) is None
    assert records.traceparent(None) is None

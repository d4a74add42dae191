"""What the writer's records look like on their topics."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import headers
from schemas.codec import single_object
from schemas.records import BlockReason, ResultStatus, WritebackResult
from schemas.topics import Topics
from tests.support.factories import NOON, make_plan, make_result
from tests.unit.writer.workbench import make_assignment, make_in_flight, make_record
from writer.core.history import Settled
from writer.core.publishing import CopyOf, RejectionOf, ResultOf
from writer.kafka.producer import Outgoing
from writer.kafka.topics import WriterTopics

CODEC = single_object(WritebackResult)
TOPICS = WriterTopics(Topics(), CODEC, name="writer 1", write=True)
REASONS = [headers.Reason("undecodable", None, "a plan")]


def rejected(*, bare: bool = False, **record: Any) -> Outgoing:
    return TOPICS.outgoing(RejectionOf(make_record(**record), make_assignment(), REASONS, bare=bare))


def codes(one: Outgoing) -> list[str]:
    return [reason["code"] for reason in json.loads(dict(one.headers)[headers.REJECTION_REASONS])]


def test_a_rejected_record_keeps_its_bytes() -> None:
    one = rejected(value=b"no plan", headers=[("traceparent", b"00")])
    assert (one.key, one.value, one.topic) == (b"sess", b"no plan", "planned-writebacks-rejected")
    assert one.headers[0] == ("traceparent", b"00")
    assert codes(one) == ["undecodable"]


def test_a_giant_record_is_rejected_without_its_value() -> None:
    one = rejected(value=b"x" * 20_000, bare=True)
    assert (one.key, one.value) == (b"sess", b"")
    assert codes(one) == ["undecodable", "too_large"]


def test_a_giant_key_or_header_is_left_out_too() -> None:
    one = rejected(key=b"k" * 20_000, headers=[("x", b"x" * 20_000)], bare=True)
    assert one.key is None
    assert "x" not in dict(one.headers)


@pytest.mark.parametrize(
    ("before", "status", "says"),
    [
        (None, ResultStatus.BLOCKED, "not_written"),
        (Settled.CALL_ONLY, ResultStatus.BLOCKED, "call_only"),
        (Settled.CALL_ONLY, ResultStatus.CLOSED, "closed"),
        (Settled.CALL_ONLY, ResultStatus.RESUME_NEEDED, "not-final"),
    ],
)
def test_W2_the_header_says_what_holds_of_all_results_since_compaction_keeps_the_last_one_only(
    before: Settled | None, status: ResultStatus, says: str
) -> None:
    result = make_result(status=status, block_reason=BlockReason.METADATA, steps=())
    one = TOPICS.outgoing(ResultOf(make_in_flight(make_plan()), result, before, settles=True))
    assert dict(one.headers)[headers.SETTLED_AS] == says.encode()
    assert (one.topic, one.key, CODEC.decode(one.value or b"")) == ("writeback-results", b"sess-000001", result)


def test_W2_the_header_says_when_the_session_was_first_settled() -> None:
    first = datetime(2026, 11, 20, 12, 0, 0, 15_900, tzinfo=UTC)
    one = TOPICS.outgoing(
        ResultOf(make_in_flight(make_plan()), make_result(first_settled_at=first), None, settles=True)
    )
    kept = CODEC.decode(one.value or b"").first_settled_at
    assert headers.first_settled_ms(one.headers) == headers.whole_milliseconds(kept or NOON), "the record's own moment"
    assert headers.first_settled_ms([]) is None


def test_W8_results_of_a_dry_run_go_to_a_topic_of_their_own() -> None:
    topics = WriterTopics(Topics(), CODEC, name="writer 1", write=False)
    one = topics.outgoing(ResultOf(make_in_flight(make_plan()), make_result(), None, settles=True))
    assert one.topic == "writeback-dry-run"


def test_W4_a_copy_is_the_same_bytes_in_the_same_partition_and_says_when_and_how_often() -> None:
    plan = make_in_flight(make_plan(), partition=3, headers=[("x", b"1")])
    one = TOPICS.outgoing(CopyOf(plan, 2, NOON + timedelta(minutes=1)))
    assert (one.topic, one.partition, one.key, one.value) == ("planned-writebacks", 3, b"sess", b"plan")
    marked = replace(plan.record, headers=one.headers).headers
    assert (headers.requeue_count(marked), headers.not_before(marked)) == (2, NOON + timedelta(minutes=1))
    assert headers.first_appended_ms(marked) == plan.record.timestamp_ms
    assert ("x", b"1") in one.headers

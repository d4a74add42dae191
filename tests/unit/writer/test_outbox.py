"""What is published when the broker does not take everything."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from schemas import headers
from schemas.codec import single_object
from schemas.records import BlockReason, ResultStatus, WritebackResult
from schemas.topics import Topics
from tests.support.factories import make_plan, make_result
from tests.unit.writer.workbench import make_record, make_work
from writer.core.history import Settled
from writer.errors import RecordTooLarge
from writer.kafka.producer import Outgoing
from writer.kafka.topics import Outbox


class SmallBroker:
    """Takes ten thousand bytes per record."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []

    async def publish(self, record: Outgoing) -> int:
        if len(record.key or b"") + len(record.value or b"") + sum(len(v) for _, v in record.headers) > 10_000:
            raise RecordTooLarge("MSG_SIZE_TOO_LARGE")
        self.taken.append(record)
        return 0


def rejected(**record: Any) -> Outgoing:
    broker = SmallBroker()
    outbox = Outbox(broker, Topics(), single_object(WritebackResult), name="writer 1", write=True)
    reasons = [headers.Reason("undecodable", None, "a plan")]
    asyncio.run(outbox.rejected(make_record(**record), reasons))
    [one] = broker.taken
    return one


def test_a_rejected_record_keeps_its_bytes() -> None:
    one = rejected(value=b"no plan", headers=[("traceparent", b"00")])
    assert (one.key, one.value) == (b"sess", b"no plan")
    assert one.headers[0] == ("traceparent", b"00")


def test_a_giant_record_is_rejected_without_its_value_instead_of_ending_the_process() -> None:
    one = rejected(value=b"x" * 20_000)
    assert (one.key, one.value) == (b"sess", b"")
    codes = [reason["code"] for reason in json.loads(dict(one.headers)[headers.REJECTION_REASONS])]
    assert codes == ["undecodable", "too_large"]


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
    broker = SmallBroker()
    outbox = Outbox(broker, Topics(), single_object(WritebackResult), name="writer 1", write=True)
    result = make_result(status=status, block_reason=BlockReason.METADATA, steps=())
    asyncio.run(outbox.result(make_work(make_plan()), result, settles=True, before=before))
    assert dict(broker.taken[0].headers)[headers.SETTLED_AS] == says.encode()


def test_a_giant_key_or_header_is_left_out_too() -> None:
    assert rejected(key=b"k" * 20_000).key is None
    assert [name for name, _ in rejected(headers=[("x", b"x" * 20_000)]).headers].count("x") == 0

"""The producer's edge: wait for a broker that is gone, end when it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from runtime.environment import Misconfigured
from tests.unit.writer.workbench import make_record
from writer.errors import MustRestart, RecordTooLarge
from writer.kafka.producer import BrokerPublisher, Outgoing

RECORD = Outgoing("results", 3, b"k", b"v", [("traceparent", b"00")], about=make_record(), settles=True)


class FakeMessage:
    def offset(self) -> int:
        return 42


class FakeProducer:
    """Reports one of `fates` per record: None for delivered, an error, or an exception that `produce` raises."""

    def __init__(self, fates: list[Any]) -> None:
        self.fates = fates
        self.sent: list[tuple[Any, ...]] = []
        self.reports: list[Callable[[], None]] = []

    def produce(self, *record: Any, on_delivery: Callable[[Any, Any], None], headers: Any) -> None:
        fate = self.fates.pop(0)
        if isinstance(fate, Exception):
            raise fate
        self.sent.append((*record, headers))
        self.reports.append(lambda: on_delivery(fate, FakeMessage()))

    def poll(self, _seconds: float) -> None:
        while self.reports:
            self.reports.pop()()

    def flush(self, _seconds: float) -> int:
        return 0


def publish(*fates: Any) -> tuple[int, list[str], FakeProducer]:
    waited: list[str] = []
    producer = FakeProducer(list(fates))

    async def run() -> int:
        publisher = BrokerPublisher({}, on_wait=waited.append, connect=lambda _: producer)  # type: ignore[arg-type,return-value]
        try:
            return await publisher.publish(RECORD)
        finally:
            await publisher.close(within_s=1)

    return asyncio.run(run()), waited, producer


def test_a_record_is_placed_where_it_is_told_and_its_offset_returned() -> None:
    offset, waited, producer = publish(None)
    assert offset == 42
    assert waited == []
    assert producer.sent == [("results", b"v", b"k", 3, [("traceparent", b"00")])]


def test_W1_a_broker_that_is_gone_is_waited_for() -> None:
    timed_out = KafkaError(KafkaError._MSG_TIMED_OUT)
    offset, waited, producer = publish(timed_out, timed_out, None)
    assert offset == 42
    assert waited == ["_MSG_TIMED_OUT", "_MSG_TIMED_OUT"]
    assert len(producer.sent) == 3


def test_a_full_queue_is_waited_for() -> None:
    assert publish(BufferError("full"), None)[0] == 42


@pytest.mark.parametrize(
    ("fate", "end"),
    [
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), Misconfigured),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), RecordTooLarge),
        (KafkaError(KafkaError.RECORD_LIST_TOO_LARGE), RecordTooLarge),
        (KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION)), MustRestart),
        (KafkaError(KafkaError._FENCED, "fenced", True), MustRestart),
    ],
)
def test_W1_a_broker_that_refuses_ends_the_process(fate: Any, end: type[Exception]) -> None:
    with pytest.raises(end):
        publish(fate)

"""A record is handed to the producer once, whenever there is room for it."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from planner.core.outgoing import OutgoingRecord
from runtime.producing import produce

RECORD = OutgoingRecord("plans", 3, b"key", None, headers=(("traceparent", b"00-1"),))


class Full:
    """A producer whose queue has room after some polls."""

    def __init__(self, polls: int) -> None:
        self.polls = polls
        self.sent: list[tuple[Any, ...]] = []

    def poll(self) -> None:
        self.polls -= 1

    def produce(self, *record: Any, on_delivery: Any, headers: Any) -> None:
        if self.polls:
            raise BufferError
        self.sent.append((*record, on_delivery, headers))


@pytest.mark.parametrize("polls", [0, 3])
def test_a_full_queue_is_waited_for_and_the_record_goes_once(polls: int) -> None:
    producer = Full(polls)
    produce(producer, RECORD, report := lambda *_: None, while_full=producer.poll)  # type: ignore[arg-type]
    assert producer.sent == [("plans", None, b"key", 3, report, [("traceparent", b"00-1")])]


def test_a_record_that_the_client_refuses_raises() -> None:
    class Refusing(Full):
        def produce(self, *record: Any, on_delivery: Any, headers: Any) -> None:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        produce(Refusing(0), RECORD, lambda *_: None, while_full=lambda: None)  # type: ignore[arg-type]

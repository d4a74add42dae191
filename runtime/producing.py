"""Hands a record to librdkafka's producer. For both services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from confluent_kafka import KafkaError, Message, Producer

Report = Callable[[KafkaError | None, Message], None]


class Record(Protocol):
    """What of a record is published."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


def produce(producer: Producer, record: Record, report: Report, *, while_full: Callable[[], object]) -> None:
    """Calls `while_full`, which has to poll the producer, as long as its queue is full. Raises KafkaException if the
    client itself refuses the record: then `report` is not called."""
    while True:
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=report,
                headers=list(record.headers),
            )
        except BufferError:
            while_full()
        else:
            return

"""The edge that publishes. P5: `publish` returns only when all in-sync replicas have acknowledged every record.

confluent-kafka's producer, driven from one thread of its own: producing and waiting there leaves Faust's loop free, and
is almost twice as fast as Faust's own producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from planner.errors import NotPublished
from schemas.broker_errors import Kind, kind_of, missing_right
from schemas.connection import BrokerSettings
from schemas.environment import Misconfigured
from schemas.headers import Headers
from schemas.rights import Operation
from telemetry.librdkafka import client_log


@dataclass(frozen=True, slots=True)
class Record:
    """A record to publish. What `smaller` gives is published in its place if the broker finds it too large; it is made
    only then, since that takes as long as the plan itself."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    smaller: Callable[[], Record] | None = None


class Publisher:
    """Not to be shared by two batches at a time."""

    def __init__(self, broker: BrokerSettings, *, delivery_timeout_s: float, max_message_bytes: int) -> None:
        self._delivery_timeout_s = delivery_timeout_s
        self._producer = Producer(
            broker.producer_config()
            | {
                "delivery.timeout.ms": round(delivery_timeout_s * 1000),
                "message.max.bytes": max_message_bytes,
                "linger.ms": 2,
                "compression.type": "gzip",  # the one codec that every reader has; recovery reads these topics again
                "compression.level": 1,
                "log_level": 2,
            },
            logger=client_log("planner"),
        )
        self._thread = ThreadPoolExecutor(1, "publisher")

    async def publish(self, records: Sequence[Record]) -> list[Record]:
        """Those that were too large, in whose place the smaller ones stand.

        Raises NotPublished, naming the broker's errors, if any record was not acknowledged; Misconfigured if a right is
        missing.
        """
        if not records:
            return []
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._publish, records)

    def close(self) -> None:
        self._thread.shutdown()

    def _publish(self, records: Sequence[Record]) -> list[Record]:
        return [record for record in self._deliver(records) if self._replaced(record)]

    def _replaced(self, record: Record) -> bool:
        """Of records that were too large, if only together with others: it goes alone, or a smaller one does."""
        attempt, replaced = record, False
        while self._deliver([attempt]):
            if attempt.smaller is None:
                raise NotPublished("a record is larger than its topic's max.message.bytes")
            attempt, replaced = attempt.smaller(), True
        return replaced

    def _deliver(self, records: Sequence[Record]) -> list[Record]:
        """The records that were too large; all others are acknowledged."""
        delivery = _Delivery()
        for record in records:
            self._produce(record, delivery)
        self._producer.flush(self._delivery_timeout_s + 5)
        if delivery.forbidden:
            raise Misconfigured(sorted(delivery.forbidden))
        if delivery.errors or delivery.acknowledged + len(delivery.too_large) < len(records):
            raise NotPublished(", ".join(sorted(delivery.errors)) or "no answer from the broker")
        return delivery.too_large

    def _produce(self, record: Record, delivery: _Delivery) -> None:
        def delivered(error: KafkaError | None, _message: Message) -> None:
            delivery.note(record, error)

        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=delivered,
                    headers=list(record.headers),
                )
            except BufferError:  # the producer's queue is full: let it send
                self._producer.poll(0.1)
            except KafkaException as error:
                delivery.note(record, error.args[0])
                return
            else:
                return


class _Delivery:
    """What became of the records of one batch."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.too_large: list[Record] = []
        self.errors: set[str] = set()
        self.forbidden: set[str] = set()

    def note(self, record: Record, error: KafkaError | None) -> None:
        if error is None:
            self.acknowledged += 1
        elif (kind := kind_of(error)) is Kind.TOO_LARGE:
            self.too_large.append(record)
        elif kind is Kind.FORBIDDEN:
            self.forbidden.add(missing_right(error, (), doing=Operation.WRITE, name=record.topic))
        else:
            self.errors.add(error.name())

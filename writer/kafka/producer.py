"""Results, requeued plans and rejected records on their way to the broker, each by itself: for a broker without
transactions (`kafka_transactions` is the other way). Delivery is awaited before anything settles (W1).

A broker that is gone is waited for, without limit: the window fills, partitions pause, nothing is committed. A broker
that refuses a record (too large, not authorised, fenced) would refuse it for ever: that ends the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime.broker_errors import Kind, kind_of, missing_right
from runtime.connection import ClientConfig
from runtime.environment import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.rights import Operation
from writer.errors import MustRestart, RecordTooLarge
from writer.kafka.consumer import Taken

_POLL_S = 0.1
_QUEUE_FULL_S = 0.02
LARGEST = 64 * 1024 * 1024
"""Before compression, so that the broker's own limit decides: it holds for what is compressed."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way out. It is `about` one that was taken, and may settle it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    about: Taken
    settles: bool


class PartitionLost(Exception):
    """What the record is about belongs to another writer now: nothing is said about it any more."""


class Publisher(Protocol):
    async def publish(self, record: Outgoing) -> int:
        """The record's offset, once it counts for everybody. Raises MustRestart if it never will, and
        Misconfigured if a right is missing; PartitionLost.
        """
        ...


class BrokerPublisher:
    """Owns the producer and the thread that serves its delivery reports, from construction to `close`."""

    def __init__(
        self,
        config: ClientConfig,
        *,
        on_wait: Callable[[str], None],
        connect: Callable[[ClientConfig], Producer] | None = None,
    ) -> None:
        self._producer = (connect or _producer)(
            config | {"linger.ms": 2, "compression.type": "gzip", "message.max.bytes": LARGEST}
        )
        self._loop = asyncio.get_running_loop()
        self._on_wait = on_wait
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="producer", daemon=True)
        self._thread.start()

    async def publish(self, record: Outgoing) -> int:
        while True:
            told = await self._once(record)
            if isinstance(told, int):
                return told
            match kind_of(told):
                case Kind.TRANSIENT:
                    self._on_wait(told.name())
                case Kind.TOO_LARGE:
                    raise RecordTooLarge(f"the broker refuses a record for {record.topic}: {told.name()}")
                case Kind.FORBIDDEN:
                    raise Misconfigured([missing_right(told, (), doing=Operation.WRITE, name=record.topic)])
                case Kind.PERMANENT:
                    raise MustRestart(f"the broker refuses a record for {record.topic}: {told.name()}")

    async def _once(self, record: Outgoing) -> int | KafkaError:
        delivered: asyncio.Future[int | KafkaError] = self._loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            self._loop.call_soon_threadsafe(_resolve, delivered, error or (-1 if offset is None else offset))

        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=report,
                    headers=list(record.headers),
                )
            except BufferError:
                await asyncio.sleep(_QUEUE_FULL_S)
            except KafkaException as error:
                return cast("KafkaError", error.args[0])
            else:
                return await delivered

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(_POLL_S)

    async def close(self, *, within_s: float = 5.0) -> None:
        """Deliver what is queued, as far as that goes within the time; whoever awaits the rest has not settled it."""
        await asyncio.to_thread(self._producer.flush, within_s)
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)


def _producer(config: ClientConfig) -> Producer:
    return Producer(config, logger=client_log("writer"))


def _resolve(future: asyncio.Future[int | KafkaError], told: int | KafkaError) -> None:
    if not future.done():
        future.set_result(told)

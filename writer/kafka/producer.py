"""The thread that publishes: batches of results, requeued plans and rejected records, one after the other, each with
the offsets of what it settles.

`TransactionalProducer` in `transactions` is the usual way. `PlainProducer`, for a broker without transactions,
publishes each record by itself, and then has the consumer commit the offsets. A broker that is gone is waited for,
without limit: the window fills, partitions pause, nothing is committed. A broker that refuses records (not authorized,
fenced) would go on doing so: that ends the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime.broker_errors import Kind, kind_of, missing_right
from runtime.connection import ClientConfig
from runtime.errors import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.producing import produce
from runtime.rights import Operation
from writer.core.ledger import Commit
from writer.core.messages import NotPublished, Published
from writer.errors import GivenUp, MustRestart

_FLUSH_S = 0.5
_TOO_LARGE = "MSG_SIZE_TOO_LARGE"
NOTE_TOO_LONG = "OFFSET_METADATA_TOO_LARGE"
LARGEST = 64 * 1024 * 1024
"""Before compression, so that the broker's own limit decides: it holds for what is compressed."""

Headers = Sequence[tuple[str, bytes]]
Ending = Published | NotPublished


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way out."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class BatchProducer(Protocol):
    """Blocking; one thread at a time, but for `stop`."""

    def transact(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Ending:
        """Raises MustRestart, Misconfigured, GivenUp; then nothing is settled."""
        ...

    def stop(self) -> None:
        """A call that is in flight is not made again."""
        ...

    def close(self) -> None: ...


class PublisherThread:
    """Owns the producer, from construction to `close`."""

    def __init__(self, producer: BatchProducer) -> None:
        self._producer = producer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="producer")
        self._with_notes = True

    async def publish(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Ending:
        """Raises MustRestart, Misconfigured."""
        transact, loop = self._producer.transact, asyncio.get_running_loop()
        noted = positions if self._with_notes else [replace(at, metadata="") for at in positions]
        ended = await loop.run_in_executor(self._thread, transact, records, noted, group)
        codes = [ended.code] if isinstance(ended, NotPublished) else ended.refused.values()
        if self._with_notes and NOTE_TOO_LONG in codes:
            # The broker takes fewer bytes than are usual. Without notes a crash costs work, and nothing else.
            self._with_notes = False
            structlog.get_logger("writer").warning("commit.without_metadata")
        return ended

    async def close(self) -> None:
        """A transaction that is open is aborted, within some seconds; nothing of it was settled."""
        self._producer.stop()
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._producer.close)


class PlainProducer:
    """`commit` takes positions and the group they were put together under, and gives the partitions whose position was
    not taken. `on_wait` hears, in the producer's thread, of every record that has to be sent again.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        commit: Callable[[Sequence[Commit], Any], Future[dict[int, str]]],
        on_wait: Callable[[str], None],
        connect: Callable[[ClientConfig], Producer] | None = None,
    ) -> None:
        self._producer = (connect or _producer)(
            config | {"linger.ms": 2, "compression.type": "gzip", "message.max.bytes": LARGEST}
        )
        self._commit = commit
        self._on_wait = on_wait
        self._stopping = threading.Event()

    def transact(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Published:
        """Returns when the broker has all that it takes."""
        offsets = self._published(records)
        if None in offsets:  # what such a record would have settled is not settled
            return Published(offsets, {at.partition: _TOO_LARGE for at in positions})
        committing = self._commit(positions, group)
        while not wait([committing], _FLUSH_S).done:
            self._go_on()
        return Published(offsets, committing.result())

    def _published(self, records: Sequence[Outgoing]) -> list[int | None]:
        """W2 Behind a record that has to be sent again, those of its partition are sent again too: a session's outcome
        stays the last that is said of it, and the requeued plans of a lane keep their order.
        """
        offsets: dict[int, int | None] = {}
        while waiting := [number for number in range(len(records)) if number not in offsets]:
            reports = [self._produce(records[number]) for number in waiting]
            while self._producer.flush(_FLUSH_S):
                self._go_on()
            again: set[tuple[str, int]] = set()
            for number, [reported] in zip(waiting, reports, strict=True):
                place = records[number].topic, records[number].partition
                if isinstance(reported, int):
                    if place not in again:
                        offsets[number] = reported
                elif self._is_too_large(reported, records[number]):
                    offsets[number] = None
                else:
                    self._go_on()
                    self._on_wait(reported.name())
                    again.add(place)
        return [offsets[number] for number in range(len(records))]

    def _produce(self, record: Outgoing) -> list[int | KafkaError]:
        """Its report, once it was flushed."""
        report: list[int | KafkaError] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            report.append(error or (-1 if offset is None else offset))

        def let_it_send() -> None:
            self._producer.poll(_FLUSH_S)
            self._go_on()

        try:
            produce(self._producer, record, on_delivery, while_full=let_it_send)
        except KafkaException as failure:
            return [cast("KafkaError", failure.args[0])]
        return report

    @staticmethod
    def _is_too_large(report: KafkaError, record: Outgoing) -> bool:
        """False if it may be sent again."""
        match kind_of(report):
            case Kind.TRANSIENT:
                return False
            case Kind.TOO_LARGE:
                return True
            case Kind.FORBIDDEN:
                raise Misconfigured([missing_right(report, (), doing=Operation.WRITE, name=record.topic)])
            case Kind.PERMANENT:
                raise MustRestart(f"the broker refuses a record for {record.topic}: {report.name()}")

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise GivenUp

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        """What was not delivered is not settled."""


def _producer(config: ClientConfig) -> Producer:
    return Producer(config, logger=client_log("writer"))

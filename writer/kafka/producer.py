"""The thread that publishes: batches of results, requeued plans and rejected records, one after the other.

`TransactionalProducer` in `transactions` is the usual way. `PlainProducer`, for a broker without transactions,
publishes each record by itself, and leaves offsets to the consumer. A broker that is gone is waited for, without limit:
the window fills, partitions pause, nothing is committed. A broker that refuses records (not authorized, fenced) would
go on doing so: that ends the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime.broker_errors import Kind, kind_of, missing_right
from runtime.connection import ClientConfig
from runtime.environment import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.producing import produce
from runtime.rights import Operation
from writer.core.ledger import Commit
from writer.errors import GivenUp, MustRestart

_FLUSH_S = 0.5
LARGEST = 64 * 1024 * 1024
"""Before compression, so that the broker's own limit decides: it holds for what is compressed."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way out."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Committed:
    """The offset of each record; None for one that the broker does not take for its size, while it took the others."""

    offsets: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Aborted:
    """Nothing of it counts. `too_large`: which records the broker does not take, whatever is done."""

    code: str
    too_large: frozenset[int] = frozenset()


class BatchProducer(Protocol):
    """Blocking; one thread at a time, but for `stop`."""

    def transact(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Committed | Aborted:
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

    async def publish(
        self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any
    ) -> Committed | Aborted:
        """Raises MustRestart, Misconfigured."""
        transact, loop = self._producer.transact, asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, transact, records, positions, group)

    async def close(self) -> None:
        """A transaction that is open is aborted, within some seconds; nothing of it was settled."""
        self._producer.stop()
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._producer.close)


class PlainProducer:
    """`on_wait` hears, in the producer's thread, of every record that has to be sent again."""

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
        self._on_wait = on_wait
        self._stopping = threading.Event()

    def transact(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Committed:
        """Returns when the broker has all that it takes."""
        del positions, group
        offsets: dict[int, int | None] = {}
        while waiting := [number for number in range(len(records)) if number not in offsets]:
            reports = [self._produce(records[number]) for number in waiting]
            while self._producer.flush(_FLUSH_S):
                self._go_on()
            for number, [reported] in zip(waiting, reports, strict=True):
                if isinstance(reported, int):
                    offsets[number] = reported
                elif self._is_too_large(reported, records[number]):
                    offsets[number] = None
                else:
                    self._go_on()
                    self._on_wait(reported.name())
        return Committed(tuple(offsets[number] for number in range(len(records))))

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

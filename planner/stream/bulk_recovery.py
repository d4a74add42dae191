"""Recovery in bulk: the planned topic is read through confluent-kafka, several times faster than Faust reads it and
with a bounded buffer. Faust's own recovery then finds nothing left to do, or reads the rest.

It happens inside Faust's recovery and not in its rebalance callback: until that returns no heartbeat is sent, and the
broker would give the partitions to somebody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from faust.tables.recovery import Recovery
from faust.types import TP

from planner.pins.recovery import PinStore
from planner.waiting import Waits
from runtime.connection import BrokerSettings
from runtime.librdkafka_log import client_log
from runtime.registry import RegistryUnavailable
from schemas.codec import UnknownSchema

_AT_ONCE = 300
_POLL_S = 0.2
_BETWEEN_BATCHES = 100
_LONGEST_SILENCE_S = 30.0
_ANSWERS_WITHIN_S = 2.0
_ASK_AGAIN_S = 1.0


class _Message(NamedTuple):
    key: bytes | None
    value: bytes | None
    partition: int
    offset: int


Apply = Callable[[list[_Message]], None]


class BulkReader:
    """Reads partitions of the planned topic to their present end, in a thread of its own.

    The end is that of everything that was written, transactions that are still open included: what one of them holds
    may be a plan that another planner is about to commit, so it is waited for until the transaction ends.

    It joins no group. The client has to be given the name of one all the same, and asks the broker for it: so it gets
    the planner's own, which the planner may read anyway.
    """

    def __init__(self, broker: BrokerSettings, store: PinStore, waits: Waits, *, group_id: str) -> None:
        self._config = broker.consumer_config() | {
            "group.id": group_id,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Small on purpose: plans are compressed ten to one, and these count compressed bytes.
            "queued.min.messages": 1_000,
            "queued.max.messages.kbytes": 512,
            "fetch.message.max.bytes": 32_768,
            "fetch.max.bytes": 1_048_576,
            "fetch.queue.backoff.ms": 2,  # a second by default, after each time that the small queue was full
            "log_level": 2,
        }
        self._topic = broker.topics.planned_writebacks.name
        self._store = store
        self._waits = waits
        self._left = 0
        self._recovering = False
        self._read_to: dict[int, int] = {}
        self._following: asyncio.Task[None] | None = None
        self.stopped = threading.Event()
        """Set at a stop of the process, which need not wait for a broker that is away."""

    @property
    def remaining(self) -> int:
        """Records that a recovery still has to read."""
        return self._left if self._recovering else 0

    async def follow(self) -> None:
        """Read what others have appended since: tombstones, so that memory does not only grow (B3), and plans that the
        writer sent to the back. Slowly: the records are applied between batches, on the loop that plans."""
        self._following = asyncio.ensure_future(self._follow())
        with contextlib.suppress(asyncio.CancelledError):
            await self._following

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()

        async def apply(messages: list[_Message]) -> None:
            for start in range(0, len(messages), _BETWEEN_BATCHES):
                self._store.apply(messages[start : start + _BETWEEN_BATCHES])
                await asyncio.sleep(0)

        def on_the_loop(messages: list[_Message]) -> None:
            asyncio.run_coroutine_threadsafe(apply(messages), loop).result()

        self._read_to |= await self._in_a_thread(self._read_to, on_the_loop)

    async def read(self, after: Mapping[int, int]) -> dict[int, int]:
        """Partition to the last offset before its end. `after`: the last offset that is known already, -1 for none."""
        if self._following and self._following.cancel():
            await asyncio.wait([self._following])
        self._read_to, self._recovering = {}, True
        try:
            self._read_to = await self._in_a_thread(after, self._store.apply)
        finally:
            self._recovering = False
        return self._read_to

    async def _in_a_thread(self, after: Mapping[int, int], apply: Apply) -> dict[int, int]:
        stop = threading.Event()
        reading = asyncio.get_running_loop().run_in_executor(None, self._read, dict(after), apply, stop)
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:  # another rebalance, or a stop
            stop.set()
            await asyncio.wait([reading])
            reading.exception()  # whatever became of it: nobody waits for it any more
            raise

    def _read(self, after: dict[int, int], apply: Apply, stop: threading.Event) -> dict[int, int]:
        consumer = Consumer(self._config, logger=client_log("planner"))
        try:
            ends = self._ends(after, stop)
            left = {each: end for each, end in ends.items() if end > after[each] + 1}
            self._left = sum(end - after[each] - 1 for each, end in left.items())
            consumer.assign([TopicPartition(self._topic, each, after[each] + 1) for each in left])
            while left and not (stop.is_set() or self.stopped.is_set()):
                self._patiently(apply, self._read_some(consumer, left), stop)
            return {each: end - 1 for each, end in ends.items()}
        finally:
            consumer.close()
            _give_memory_back()

    def _ends(self, partitions: Iterable[int], stop: threading.Event) -> dict[int, int]:
        """A client that reads committed records is told of no more than the first open transaction."""
        asking = Consumer(self._config | {"isolation.level": "read_uncommitted"}, logger=client_log("planner"))
        try:
            return {each: self._end(asking, TopicPartition(self._topic, each), stop) for each in partitions}
        finally:
            asking.close()

    def _end(self, asking: Consumer, place: TopicPartition, stop: threading.Event) -> int:
        """Asks again and again, so that a stop need not wait for a broker that is away."""
        patience = time.monotonic() + _LONGEST_SILENCE_S
        while True:
            try:
                return int(asking.get_watermark_offsets(place, timeout=_ANSWERS_WITHIN_S)[1])
            except KafkaException:
                if stop.is_set() or self.stopped.is_set() or time.monotonic() > patience:
                    raise

    def _patiently(self, apply: Apply, messages: list[_Message], stop: threading.Event) -> None:
        """Waits for whoever can say what a plan holds: to pass over it could plan its session again (P1)."""
        with self._waits.until_over("registry", "schema"):
            while True:
                try:
                    apply(messages)
                except RegistryUnavailable as error:
                    self._waits.begin("registry", str(error))
                except UnknownSchema as error:
                    self._waits.begin("schema", _unreadable(messages, error))
                else:
                    break
                if stop.wait(_ASK_AGAIN_S) or self.stopped.is_set():
                    return
        self._left = max(0, self._left - len(messages))

    def _read_some(self, consumer: Consumer, left: dict[int, int]) -> list[_Message]:
        found = consumer.consume(_AT_ONCE, _POLL_S)
        messages = []
        for each in found:
            if error := each.error():
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  confluent-kafka's public name for it
                    raise KafkaException(error)
                partition = cast("int", each.partition())
                if cast("int", each.offset()) >= left.get(partition, 0):  # else an open transaction is in the way
                    left.pop(partition, None)
            else:
                messages.append(
                    _Message(each.key(), each.value(), cast("int", each.partition()), cast("int", each.offset()))
                )
        return messages


def _unreadable(messages: list[_Message], error: UnknownSchema) -> str:
    first, last = messages[0], messages[-1]
    return (
        f"a plan between offsets {first.offset} and {last.offset} of the planned topic (partitions "
        f"{sorted({each.partition for each in messages})}) {error}; run a planner that is at least as new as the "
        "newest one that has run, with the schema registry that it used"
    )


def _give_memory_back() -> None:
    """What glibc keeps of the buffers of a recovery that is over; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class BulkRecovery(Recovery):
    """Faust's recovery with the bulk reader before it."""

    logger = logging.getLogger("faust.tables")
    reader: BulkReader
    hard_exit: Callable[[BaseException], NoReturn]

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ARG002, ASYNC109  the base class's
        """Without the time limit: Faust takes one for a stop, and would silently never recover."""
        await super()._wait(coro)

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Counter[TP], title: str) -> None:
        await super()._build_offsets(consumer, tps, destination, title)
        if title == "active" and tps:
            try:
                read = await self.reader.read({tp.partition: destination[tp] for tp in tps})
            except Exception as error:  # noqa: BLE001  without pins nothing may be planned (P1)
                self.hard_exit(error)
            for tp in tps:  # not beyond what Faust has seen of the topic: it would take that for a mix-up
                destination[tp] = max(destination[tp], min(read[tp.partition], self.active_highwaters[tp]))

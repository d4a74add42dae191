"""From record to lane: decode, skip what is settled, put aside what is no plan.

W2 The mark of a retired session, like a tombstone, is settled at once: nothing is sent, and nothing is published that
would follow the session's last result.

W1 A record whose schema cannot be found is not put aside: only we write to the planned topic, so it is a plan that this
version, or the schema registry, does not know yet. It is waited for, and everything behind it in its partition; the
other partitions go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from runtime.registry import RegistryUnavailable
from schemas.codec import Codec, UnknownSchema
from schemas.headers import Reason
from schemas.records import PlannedWriteback
from writer.kafka.consumer import Taken
from writer.kafka.producer import PartitionLost
from writer.kafka.topics import Outbox
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.work import Work, begin, is_mark, plan_of

_AGAIN_S = 1.0


class Intake:
    """`queue_up` takes every plan that has work to do, in the order of its partition."""

    def __init__(
        self,
        codec: Codec[PlannedWriteback],
        partitions: Partitions,
        outbox: Outbox,
        metrics: Metrics,
        *,
        queue_up: Callable[[Work], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._codec = codec
        self._partitions = partitions
        self._outbox = outbox
        self._metrics = metrics
        self._queue_up = queue_up
        self._spawn = spawn
        self._records: asyncio.Queue[Taken] = asyncio.Queue()
        self._waiting: dict[int, deque[Taken]] = {}
        """Of partitions whose first record cannot be read: it, and what is behind it."""
        self._unreadable: dict[int, Taken] = {}
        """Their first records, once they count as taken."""
        self._log = structlog.get_logger("writer")

    def add(self, records: Sequence[Taken]) -> None:
        """The window bounds how many are waiting: what is added here pauses its partition when it is full."""
        for record in records:
            self._partitions.entered(record)
            self._records.put_nowait(record)

    async def run(self) -> None:
        while True:
            record = await self._records.get()
            if waiting := self._waiting.get(record.partition):
                waiting.append(record)
            elif not await self._taken(record):
                self._waiting[record.partition] = deque([record])
                self._spawn(self._wait(record.partition))
            if self._records.empty():
                self._partitions.settle_originals()

    async def _wait(self, partition: int) -> None:
        """Until the first record that waits can be read, or is not ours any more; then for the next."""
        waiting = self._waiting[partition]
        while waiting:
            await asyncio.sleep(_AGAIN_S)
            while waiting and await self._taken(waiting[0]):
                waiting.popleft()
        del self._waiting[partition]
        self._partitions.settle_originals()

    async def _taken(self, record: Taken) -> bool:
        """False if nobody can say what it holds."""
        plan = None
        if record.value is not None and self._partitions.epoch_of(record) and not self._partitions.is_settled(record):
            try:
                plan = await self._decoded(record)
            except (RegistryUnavailable, UnknownSchema) as error:
                return not self._stands_still(record, error)
        self._take(record, plan)
        return True

    async def _decoded(self, record: Taken) -> PlannedWriteback | Sequence[Reason]:
        if self._codec.asks_nobody(record.value or b""):
            return plan_of(record, self._codec)
        return await asyncio.to_thread(plan_of, record, self._codec)  # a new schema is asked for over HTTP

    def _stands_still(self, record: Taken, error: RegistryUnavailable | UnknownSchema) -> bool:
        """Whether its partition has to wait for it: it counts as taken and unsettled, so that its age shows."""
        if record.partition in self._unreadable:
            return True
        if self._partitions.epoch_of(record) is None or not self._partitions.arrived(record):
            return False
        self._unreadable[record.partition] = record
        self._metrics.unreadable_partitions.set(len(self._unreadable))
        remedy = (
            "run a writer that is at least as new as the planner, with its schema registry; nothing is skipped"
            if isinstance(error, UnknownSchema)
            else "nothing is skipped"
        )
        self._log.error(
            "plan.cannot_be_read", partition=record.partition, offset=record.offset, problem=str(error), remedy=remedy
        )
        return True

    def _take(self, record: Taken, plan: PlannedWriteback | Sequence[Reason] | None) -> None:
        counted = self._unreadable.pop(record.partition, None) is record
        self._metrics.unreadable_partitions.set(len(self._unreadable))
        epoch = self._partitions.epoch_of(record)
        if epoch is None or not (counted or self._partitions.arrived(record)):
            return
        if plan is None or (isinstance(plan, PlannedWriteback) and is_mark(plan)):
            self._partitions.let_go(record, epoch)
        elif isinstance(plan, PlannedWriteback):
            self._queue_up(begin(plan, record, epoch, look_back=self._partitions.may_have_settled(record)))
        else:
            self._spawn(self._reject(record, epoch, plan))

    async def _reject(self, record: Taken, epoch: int, reasons: Sequence[Reason]) -> None:
        try:
            await self._outbox.rejected(record, reasons)
        except PartitionLost:
            return
        self._metrics.rejected.inc()
        codes = [reason.code for reason in reasons]
        self._log.warning("record.rejected", partition=record.partition, offset=record.offset, reasons=codes)
        self._partitions.let_go(record, epoch)

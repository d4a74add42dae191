"""From record to lane: decode, skip what is settled, put aside what is no plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from schemas.codec import Codec
from schemas.headers import Reason
from schemas.records import PlannedWriteback
from schemas.registry import RegistryUnavailable
from writer.kafka_consumer import Taken
from writer.kafka_producer import PartitionLost
from writer.metrics import Metrics
from writer.outbox import Outbox
from writer.partitions import Partitions
from writer.work import Work, begin, plan_of

_REGISTRY_AGAIN_S = 1.0


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
        self._log = structlog.get_logger("writer")

    def add(self, records: Sequence[Taken]) -> None:
        """The window bounds how many are waiting: what is added here pauses its partition when it is full."""
        for record in records:
            self._partitions.entered(record)
            self._records.put_nowait(record)

    async def run(self) -> None:
        while True:
            record = await self._records.get()
            settled = self._partitions.is_settled(record)
            plan = None if settled else await self._decode(record)
            if plan is not None or record.value is None or settled:
                self._take(record, plan)
            if self._records.empty():
                self._partitions.settle_originals()

    async def _decode(self, record: Taken) -> PlannedWriteback | Sequence[Reason] | None:
        """None for a tombstone, and for a record that is not ours any more. Waits for the schema registry."""
        while self._partitions.epoch_of(record) is not None and record.value is not None:
            try:
                if self._codec.schema_by_id is None:
                    return plan_of(record, self._codec)
                return await asyncio.to_thread(plan_of, record, self._codec)  # a new schema is asked for over HTTP
            except RegistryUnavailable:
                self._log.warning("registry.unavailable", partition=record.partition, offset=record.offset)
                await asyncio.sleep(_REGISTRY_AGAIN_S)
        return None

    def _take(self, record: Taken, plan: PlannedWriteback | Sequence[Reason] | None) -> None:
        epoch = self._partitions.epoch_of(record)
        if epoch is None:
            return
        if not self._partitions.arrived(record):
            return
        if plan is None:
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

"""What was settled, and what is said about it, on its way to the broker: the loop's side of `kafka_transactions`.

Whatever waits goes together in the next transaction: results, requeued copies, rejected records, and the offsets of all
that they settle. While one is under way the next gathers, so the busier it is the more share one.

- W1 Nothing is settled before the transaction with its result is committed; both are one step.
- W2 The group's metadata is taken first, and whose partitions are ours is looked at after that. So a record goes out
  either under the generation in which its partition was ours, or not at all.
- Of a transaction that was aborted everything goes out again, in its order, as long as its partition is ours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from writer.core.ledger import Commit
from writer.errors import MustRestart, RecordTooLarge
from writer.kafka.consumer import Fence
from writer.kafka.producer import Outgoing, PartitionLost
from writer.kafka.transactions import NOTE_TOO_LONG, Aborted, Committed
from writer.partitions import Partitions

_MOST_RECORDS = 1_000
_MOST_BYTES = 4 * 1024 * 1024
_log = structlog.get_logger("writer")
_PAUSE_S = 0.05
"""After a transaction that was aborted: the consumer is about to hear why."""


class Transactional(Protocol):
    """`kafka_transactions.TransactionalProducer`."""

    def transact(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Committed | Aborted: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


@dataclass(eq=False, slots=True)
class _Waiting:
    record: Outgoing
    offset: asyncio.Future[int]


class Committing:
    """The publisher of a writer with transactions. `aborted` hears of each that was, by the broker's name for why."""

    def __init__(
        self,
        producer: Transactional,
        partitions: Partitions,
        *,
        interval_s: float,
        aborted: Callable[[str], None],
    ) -> None:
        self._producer = producer
        self._partitions = partitions
        self._interval_s = interval_s
        self._aborted = aborted
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        """Set when a transaction ended, in whatever way."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transactions")
        self._with_notes = True
        self._under_way: frozenset[int] = frozenset()
        """Partitions of the transaction that is under way."""

    async def publish(self, record: Outgoing) -> int:
        """The record's offset, once it is committed. Raises RecordTooLarge, PartitionLost."""
        waiting = _Waiting(record, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        return await waiting.offset

    async def run(self, fence: Callable[[], Fence]) -> None:
        """Raises MustRestart."""
        while True:
            with suppress(TimeoutError):  # what was settled without a word is committed soon, too
                async with asyncio.timeout(self._interval_s):
                    await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._partitions.to_commit():
                try:
                    await self._next(fence)
                finally:
                    self._under_way = frozenset()
                    self._ended.set()

    async def finish(self, partitions: Collection[int], within_s: float) -> bool:
        """Until all that is settled of these partitions is committed; False if that took too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._has_news(partitions):
                    self._ended.clear()
                    self._wake.set()
                    await self._ended.wait()
                return True
        return False

    def _has_news(self, partitions: Collection[int]) -> bool:
        waits = any(waiting.record.about.partition in partitions for waiting in self._waiting)
        return waits or not self._under_way.isdisjoint(partitions) or bool(self._partitions.progress(partitions))

    async def _next(self, fence: Callable[[], Fence]) -> None:
        in_thread = asyncio.get_running_loop().run_in_executor
        at = fence()
        ours = self._take(at.epochs)
        settling: dict[int, list[int]] = {}
        for waiting in ours:
            about = waiting.record.about
            settled = settling.setdefault(about.partition, [])
            if waiting.record.settles:
                settled.append(about.offset)
        commits = self._partitions.commits_as_if(settling, at.epochs)
        if not commits:
            await asyncio.sleep(_PAUSE_S)  # there is news of partitions that are being given up
            return
        self._under_way = frozenset(commit.partition for commit in commits)
        records = [waiting.record for waiting in ours]
        try:
            ended = await in_thread(self._thread, self._producer.transact, records, self._as_sent(commits), at.group)
        except BaseException:
            self._waiting.extendleft(reversed(ours))
            raise
        if isinstance(ended, Committed):
            self._partitions.settled_with(settling, commits)
            for waiting, offset in zip(ours, ended.offsets, strict=True):
                _resolve(waiting, offset)
            return
        await self._send_again(ours, ended)

    def _take(self, epochs: Mapping[int, int]) -> list[_Waiting]:
        """The next ones that are ours; who waits for one that is not hears of it."""
        ours: list[_Waiting] = []
        size = 0
        while self._waiting and len(ours) < _MOST_RECORDS and size < _MOST_BYTES:
            waiting = self._waiting.popleft()
            about = waiting.record.about
            if epochs.get(about.partition) == about.epoch:
                ours.append(waiting)
                size += len(waiting.record.value or b"")
            else:
                _fail(waiting, PartitionLost())
        return ours

    async def _send_again(self, ours: Sequence[_Waiting], why: Aborted) -> None:
        self._aborted(why.code)
        if why.code == NOTE_TOO_LONG and self._with_notes:
            self._with_notes = False
            _log.warning("commit.without_metadata")
        for number in why.too_large:
            _fail(ours[number], RecordTooLarge(f"the broker refuses a record for {ours[number].record.topic}"))
        again = [waiting for number, waiting in enumerate(ours) if number not in why.too_large]
        self._waiting.extendleft(reversed(again))
        if not why.too_large:
            await asyncio.sleep(_PAUSE_S)

    def _as_sent(self, commits: Sequence[Commit]) -> Sequence[Commit]:
        """The broker may take fewer bytes than are usual. Without notes a crash costs work, and nothing else."""
        return commits if self._with_notes else [replace(commit, metadata="") for commit in commits]

    async def close(self) -> None:
        """A transaction that is open is aborted, within some seconds; whoever waits for it has not settled it."""
        self._producer.stop()
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._producer.close)


def _resolve(waiting: _Waiting, offset: int) -> None:
    if not waiting.offset.done():
        waiting.offset.set_result(offset)


def _fail(waiting: _Waiting, error: MustRestart | PartitionLost) -> None:
    if not waiting.offset.done():
        waiting.offset.set_exception(error)

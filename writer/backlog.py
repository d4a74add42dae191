"""What waits: in its lane, for its time, or for a slot. Loop only.

The running plan of a lane is its head, from when it may start until it is settled, moved or dropped. A head is under
way (a task works on it), has a timer, or is in `ready`; nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from heapq import heappop, heappush

from writer.core.lanes import Lanes
from writer.work import Work


class Backlog:
    def __init__(self) -> None:
        self._lanes: Lanes[Work] = Lanes()
        self._heads: dict[str, Work] = {}
        self._ready: list[tuple[int, int, int, Work]] = []
        """A heap, oldest plan first: it holds the frontier back, and so decides what a crash looks at again."""
        self._ties = itertools.count()
        self._quiet = asyncio.Condition()
        self.wake = asyncio.Event()
        """Set whenever something may have become ready."""

    def offer(self, work: Work) -> None:
        """Takes a plan in, behind those of its queue item."""
        if self._lanes.offer(work.partition, work.lane, work):
            self._start(work)

    def again_in(self, work: Work, seconds: float) -> None:
        """Not under way any more: it waits for its time, then for a slot."""
        work.under_way = False
        if work.dropped:
            self._move_on(work)
        elif seconds > 0:
            work.timer = asyncio.get_running_loop().call_later(seconds, self._make_ready, work)
        else:
            self._make_ready(work)

    def again_first(self, work: Work) -> None:
        """Nothing was wrong with it: before all that are younger, as soon as there is a slot."""
        self.again_in(work, 0.0)

    async def finished(self, work: Work) -> None:
        """It is done with, in whatever way; the next of its lane starts."""
        work.under_way = False
        self._move_on(work)
        await self.told()

    async def told(self) -> None:
        """Something ended to be under way."""
        async with self._quiet:
            self._quiet.notify_all()

    def behind(self, work: Work) -> list[Work]:
        """Empties the lane behind its head, in order."""
        return self._lanes.take_waiting(work.lane)

    def following(self, work: Work) -> Work | None:
        """The plan that starts when this one is settled."""
        return self._lanes.following(work.lane)

    def first(self) -> Work | None:
        """Of those that are ready."""
        while self._ready and self._ready[0][-1].dropped:
            heappop(self._ready)
        return self._ready[0][-1] if self._ready else None

    def ready(self) -> int:
        return len(self._ready)

    def take(self, most: int, fits: Callable[[Work], bool]) -> list[Work]:
        """The first ones, under way from now on; one that must go alone goes alone."""
        works: list[Work] = []
        while len(works) < most and (work := self.first()) is not None and fits(work):
            if work.alone and works:
                break
            heappop(self._ready)
            work.under_way = True
            works.append(work)
            if work.alone:
                break
        return works

    def heads(self, session_ids: Collection[str]) -> list[Work]:
        return [work for work in self._heads.values() if work.session_id in session_ids and not work.dropped]

    def drop_waiting(self, partitions: Collection[int]) -> list[Work]:
        """Drops what only waits; what is under way stays ours. Returns the heads that were dropped."""
        for partition in partitions:
            self._lanes.drop(partition)
        return self._drop([work for work in self._of(partitions) if not work.under_way])

    def drop(self, partitions: Collection[int]) -> list[Work]:
        """Drops everything. A plan under way keeps its lane until its task returns, so that nothing works beside it."""
        for partition in partitions:
            self._lanes.drop(partition)
        return self._drop(self._of(partitions))

    async def quiet_within(self, partitions: Collection[int], seconds: float) -> None:
        """Until nothing of these partitions is under way, or the time is over."""

        def quiet() -> bool:
            return not any(work.under_way and not work.dropped for work in self._of(partitions))

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._quiet:
                await self._quiet.wait_for(quiet)

    def _of(self, partitions: Collection[int]) -> list[Work]:
        return [work for work in self._heads.values() if work.partition in partitions]

    def _drop(self, works: list[Work]) -> list[Work]:
        for work in works:
            work.dropped = True
            if work.timer:
                work.timer.cancel()
            if not work.under_way:
                self._move_on(work)
        return works

    def _start(self, work: Work) -> None:
        self._heads[work.lane] = work
        at = work.not_before
        self.again_in(work, (at - datetime.now(UTC)).total_seconds() if at else 0.0)

    def _make_ready(self, work: Work) -> None:
        work.timer = None
        heappush(self._ready, (work.record.timestamp_ms, work.offset, next(self._ties), work))
        self.wake.set()

    def _move_on(self, work: Work) -> None:
        if self._heads.get(work.lane) is work:
            del self._heads[work.lane]
            if (following := self._lanes.finished(work.lane)) is not None:
                self._start(following)

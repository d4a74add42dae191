"""What waits: in its lane, for its time, or for a slot. Loop only.

The running plan of a lane is its head, from when it may start until it is settled, moved or dropped. A head is under
way (a task works on it), has a timer, is held (`may_start` said no: the results of its partition are being read), or is
in `ready`; nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum, auto
from heapq import heappop, heappush

from writer.core.lanes import Lanes
from writer.core.retry import PatienceLimits
from writer.work import Work

_LONGEST_ABSENCE_S = PatienceLimits().longest_absence
"""A record's header may ask for no more: a damaged one must not keep its lane waiting for years."""


class Start(Enum):
    """Whether a plan may go to the CRM, once its lane and its time let it."""

    NOW = auto()
    LATER = auto()
    """At `look_again`."""
    NEVER = auto()
    """There is nothing to do; whoever said so finishes it."""


class Backlog:
    def __init__(self, may_start: Callable[[Work], Start] = lambda _: Start.NOW) -> None:
        self._may_start = may_start
        self._held: dict[int, list[Work]] = {}
        """Heads that may not start yet, by partition."""
        self._lanes: Lanes[Work] = Lanes()
        self._heads: dict[str, Work] = {}
        self._ready: list[tuple[tuple[int, int, int], int, Work]] = []
        """A heap, oldest plan first: it holds the frontier back, and so decides what a crash looks at again. What has
        just failed goes behind all that are ready, so that in an outage whoever was tried longest ago knocks next.
        """
        self._ties = itertools.count()
        self._ended = asyncio.Event()
        """Set when something ended to be under way."""
        self.wake = asyncio.Event()
        """Set whenever something may have become ready."""

    def offer(self, work: Work) -> None:
        """Takes a plan in, behind those of its queue item."""
        if self._lanes.offer(work.partition, work.lane, work):
            self._start(work)

    def again_in(self, work: Work, seconds: float) -> None:
        """It failed, and is not under way any more: it waits for its time, then for a slot, behind the others."""
        last = max((rank for rank, *_ in self._ready), default=_rank(work))
        work.rank = (max(last[0], work.record.timestamp_ms), 1, next(self._ties))
        self._again(work, seconds)

    def _again(self, work: Work, seconds: float) -> None:
        work.under_way = False
        self._ended.set()
        if work.dropped:
            self._move_on(work)
        elif seconds > 0:
            work.timer = asyncio.get_running_loop().call_later(seconds, self._make_ready, work)
        else:
            self._make_ready(work)

    def again_first(self, work: Work) -> None:
        """Nothing was wrong with it: before all that are younger, as soon as there is a slot."""
        self._again(work, 0.0)

    def look_again(self, partition: int) -> None:
        """Plans of this partition that were held may start now, or be held again."""
        for work in self._held.pop(partition, ()):
            if not work.dropped:
                self._make_ready(work)

    def finished(self, work: Work) -> None:
        """It is done with, in whatever way; the next of its lane starts."""
        work.under_way = False
        self._move_on(work)
        self._ended.set()

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
            self._held.pop(partition, None)
        return self._drop([work for work in self._of(partitions) if not work.under_way])

    def drop(self, partitions: Collection[int]) -> list[Work]:
        """Drops everything. A plan under way keeps its lane until its task returns, so that nothing works beside it."""
        for partition in partitions:
            self._lanes.drop(partition)
            self._held.pop(partition, None)
        return self._drop(self._of(partitions))

    async def quiet_within(self, partitions: Collection[int], seconds: float) -> None:
        """Until nothing of these partitions is under way, or the time is over."""

        def quiet() -> bool:
            return not any(work.under_way and not work.dropped for work in self._of(partitions))

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not quiet():
                    self._ended.clear()
                    await self._ended.wait()

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
        wait = (at - datetime.now(UTC)).total_seconds() if at else 0.0
        self._again(work, min(wait, _LONGEST_ABSENCE_S))

    def _make_ready(self, work: Work) -> None:
        work.timer = None
        match self._may_start(work):
            case Start.NOW:
                heappush(self._ready, (work.rank or _rank(work), next(self._ties), work))
                self.wake.set()
            case Start.LATER:
                self._held.setdefault(work.partition, []).append(work)
            case Start.NEVER:
                pass

    def _move_on(self, work: Work) -> None:
        if self._heads.get(work.lane) is work:
            del self._heads[work.lane]
            if (following := self._lanes.finished(work.lane)) is not None:
                self._start(following)


def _rank(work: Work) -> tuple[int, int, int]:
    """By age."""
    return work.record.timestamp_ms, 0, work.offset

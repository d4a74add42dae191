"""Who goes next, with whom, and through which identity: from ready plans, open follow-ups, pacing and budgets to a list
of requests. No I/O.

- What a plan still has to ask shares the next request with others, before new plans and in order of age: otherwise new
  requests would starve follow-ups of earlier plans (W5).
- The oldest plan goes first: it holds the frontier back, and so decides what a crash looks at again. What has just
  failed goes behind all that are ready, so that in an outage the plan that was tried longest ago probes next.
- In an outage one new plan at a time probes.
- A plan that must go alone goes alone.
- A plan that only reads takes a quarter of the room of one that writes: it costs one operation instead of four.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from writer.core.attempt import PlanInFlight, Reading
from writer.core.batching import Batching
from writer.core.identities import Identities, Place

if TYPE_CHECKING:
    from writer.core.flow import Flow

_READS = 0.25
"""What a plan that only reads takes of the room for one that writes a change set of four."""

_Heap = list[tuple[tuple[int, int, int], int, PlanInFlight]]


@dataclass(frozen=True, slots=True)
class SharedRequest:
    """These plans share one request; what each asks is its `ask`. `new`: how many begin with it."""

    place: Place
    plans: tuple[PlanInFlight, ...]
    new: int


class Scheduler:
    def __init__(self, identities: Identities, batching: Batching, flow: Flow) -> None:
        self._identities = identities
        self._batching = batching
        self._flow = flow
        self._ready: _Heap = []
        self._follow_ups: _Heap = []
        self._ties = itertools.count()
        self.wake_at = math.inf
        """When to look again, unless something happens before."""

    def add_ready(self, plan: PlanInFlight) -> None:
        heappush(self._ready, (plan.rank, next(self._ties), plan))

    def add_follow_up(self, plan: PlanInFlight) -> None:
        heappush(self._follow_ups, (plan.rank, next(self._ties), plan))

    def rank_last(self, plan: PlanInFlight) -> None:
        """It has failed: it goes behind all that are ready now."""
        last = max((rank for rank, *_ in self._ready), default=plan.rank)
        plan.rank = max(last[0], plan.record.timestamp_ms), 1, next(self._ties)

    def requests(self, now: float, *, new_ones: bool) -> list[SharedRequest]:
        """As many as may go out now. `new_ones`: whether plans may begin."""
        self.wake_at = math.inf
        requests: list[SharedRequest] = []
        while (request := self._next(now, new_ones=new_ones)) is not None:
            requests.append(request)
        return requests

    def _next(self, now: float, *, new_ones: bool) -> SharedRequest | None:
        waiting = len(self._follow_ups) + (len(self._ready) if new_ones else 0)
        if not waiting:
            return None
        filling = _Filling(self._batching.share(waiting, self._identities.room(now)))
        self._add_follow_ups(filling, now)
        before = len(filling.plans)
        if new_ones:
            self._add_new(filling, now)
        if filling.place is None:
            return None
        if not filling.plans:
            self._identities.give_back(filling.place)
            return None
        return SharedRequest(filling.place, tuple(filling.plans), len(filling.plans) - before)

    def _add_follow_ups(self, filling: _Filling, now: float) -> None:
        while self._follow_ups and filling.has_room_for(plan := self._follow_ups[0][-1]):
            if not plan.dropped and not self._has_place(filling, now):
                return
            heappop(self._follow_ups)
            if not plan.dropped and self._flow.still_asks(plan):
                filling.add(plan)

    def _add_new(self, filling: _Filling, now: float) -> None:
        most = len(filling.plans) + 1 if self._flow.outage else math.inf
        while self._ready and len(filling.plans) < most and filling.has_room_for(plan := self._ready[0][-1]):
            if not plan.dropped:
                if not self._has_place(filling, now):
                    return
                if (at := self._flow.retry.probe_at(now)) is not None:
                    self.wake_at = min(self.wake_at, at)
                    return
            heappop(self._ready)
            if not plan.dropped and self._flow.clears(plan) and self._flow.begins(plan):
                filling.add(plan)

    def _has_place(self, filling: _Filling, now: float) -> bool:
        if filling.place is None:
            filling.place = self._identities.place(now)
        if filling.place is None:
            self.wake_at = min(self.wake_at, self._identities.free_at(now))
        return filling.place is not None


@dataclass(slots=True)
class _Filling:
    """A request that is put together."""

    share: int
    plans: list[PlanInFlight] = field(default_factory=list)
    place: Place | None = None
    load: float = 0.0

    def add(self, plan: PlanInFlight) -> None:
        self.plans.append(plan)
        self.load += _READS if isinstance(plan.ask, Reading) else 1.0

    def has_room_for(self, plan: PlanInFlight) -> bool:
        if not self.plans:
            return self.share > 0
        return self.load < self.share and not plan.alone and not self.plans[-1].alone

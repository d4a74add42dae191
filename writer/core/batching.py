"""How many plans share one request. Pure.

One when idle: a plan that is alone lands soonest. More with a backlog: every request counts against 6,000 in five
minutes, however much is in it. Not more than needed for that, since from about a fifth of a second per request on it is
the execution time that is used up first, and not fewer requests. Fewer when requests take long, because one that runs
into the service's two minutes loses all of its plans.
"""

from __future__ import annotations

import math

from writer.core.replies import Judgement, Kind, Meaning

MOST = 15
SLOW = 10.0
"""Seconds from which a request is too slow; far from the service's 120, as slowness grows quickly."""


class Batching:
    def __init__(self, *, most: int = MOST, slow: float = SLOW) -> None:
        self._most = most
        self._slow = slow
        self._limit = float(most)

    @property
    def limit(self) -> int:
        """How many plans may share a request at present."""
        return int(self._limit)

    def share(self, ready: int, room: int) -> int:
        """How many of the `ready` plans go into the next request, when `room` requests could go out now."""
        if ready <= 0:
            return 0
        return min(self.limit, math.ceil(ready / max(1, room)))

    def replied(self, judgement: Judgement, *, took: float, plans: int) -> None:
        """Learns from a request that carried `plans` and took this many seconds."""
        if judgement.meaning in (Meaning.TOO_LARGE, Meaning.TOO_SLOW, Meaning.UNANSWERED) or took >= self._slow:
            self._limit = max(1.0, min(self._limit, plans) / 2)
        elif judgement.kind is Kind.DONE and took < self._slow / 2:
            self._limit = min(float(self._most), self._limit + 0.25)

"""How fast one identity may send: inside the service's limits, and close to them. No I/O; one pacer per identity.

- The limits are per user and web server, and which server answers is unknown: they are taken as if there were one.
- Requests and execution time are counted over the service's own sliding window, in 300 slices, each of which counts
  until it has left the window whole. One in a hundred is left, for what travels at different speeds.
- Concurrency starts low and grows up to the server's hint, as long as that brings more through.
- A 429 stops everything of the identity for as long as the service says, in full, and halves the concurrency. One that
  names no time to come is waited for twice as long each time.
- Who shares a limit may not know of each other, and a request while the service wants silence makes the silence
  longer for all. So each comes back with one probe, after the full wait and a random share of it that grows with each
  429 in a row; only a probe that is answered otherwise lets more requests follow. Each 429 also lowers the pace, which
  then rises slowly: so several writers with one application user settle near their shares of what it may use.
- Any other Retry-After is obeyed by the identity that got it: in full if the CRM said so, up to `LONGEST_OBEYED` if
  something before it did, for a gateway that names a day must not decide for the CRM behind it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from writer.core.replies import Judgement, Kind


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Per user and web server. Seconds."""

    requests: int = 6000
    execution: float = 1200.0
    window: float = 300.0
    concurrent: int = 52
    share: float = 0.99
    """How much of requests and execution time is used."""


SLICES = 300
START = 4
BURST = 0.05
"""How much of a limit may go out at once after a quiet while."""
_DUST = 1e-9
"""Below this, a lack is floating-point rounding: waiting for it would never end."""
SPREAD = 0.5
"""The random share of the first wait; doubled by each 429 in a row, up to `MOST_SPREAD`."""
MOST_SPREAD = 8.0
LEAST_PACE = 1 / 32
WHOLE_AFTER = 4.0
LONGEST_OBEYED = 900.0
"""Seconds; only a 429, or the CRM in its own words, may ask for more."""
LONGEST_GUESS = 300.0
"""Seconds to wait at most after a 429 that does not say how long."""


class Budget:
    """What may be spent over a sliding window, and how evenly: a backlog must not spend five minutes' worth at once.

    What a request will cost is reserved when it is sent, and replaced by what it did cost when it is answered.
    """

    def __init__(self, limit: float, window: float, *, burst: float) -> None:
        self._limit = limit
        self._window = window
        self._slice = window / SLICES
        self._slices: deque[tuple[int, float]] = deque()
        self._spent = 0.0
        self._reserved = 0.0
        self._rate = limit / window
        self._burst = burst
        self._level = burst
        self._level_at = -math.inf

    def scale(self, pace: float) -> None:
        """Spend at this share of the even pace."""
        self._rate = self._limit / self._window * pace

    def reserve(self, amount: float, now: float) -> None:
        self._roll(now)
        self._reserved += amount
        self._level -= amount

    def spend(self, amount: float, now: float, *, reserved: float = 0.0) -> None:
        """`reserved`: what of an earlier `reserve` this takes the place of."""
        self._roll(now)
        self._reserved -= reserved
        self._level += reserved - amount
        number = math.floor(now / self._slice)
        if self._slices and self._slices[-1][0] >= number:
            last, before = self._slices.pop()
            self._slices.append((last, before + amount))
        else:
            self._slices.append((number, amount))
        self._spent += amount

    def spent(self, now: float) -> float:
        """How much was spent in the window that ends now."""
        self._roll(now)
        return self._spent

    def level(self, now: float) -> float:
        """How much may be spent at once by the even pace."""
        self._roll(now)
        return self._level

    def free_at(self, amount: float, now: float) -> float:
        """When this much may be spent."""
        self._roll(now)
        lacking = min(amount, self._burst) - self._level
        evenly = now + lacking / self._rate if lacking > _DUST else now
        excess = self._spent + self._reserved + amount - self._limit
        for number, spent in self._slices:
            if excess <= _DUST:
                break
            excess -= spent
            evenly = max(evenly, self._leaves_at(number))
        return evenly

    def _roll(self, now: float) -> None:
        while self._slices and self._leaves_at(self._slices[0][0]) <= now:
            self._spent -= self._slices.popleft()[1]
        if not self._slices:
            self._spent = 0.0
        level = self._level
        if now > self._level_at:
            level += (now - self._level_at) * self._rate
            self._level_at = now
        self._level = min(self._burst, level)

    def _leaves_at(self, number: int) -> float:
        return (number + 1) * self._slice + self._window


class Pace:
    """The share of the limits that one identity takes: halved by a 429, whole again after `WHOLE_AFTER` windows."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._share = 1.0
        self._since = 0.0

    def at(self, now: float) -> float:
        return min(1.0, self._share + (now - self._since) / self._window / WHOLE_AFTER)

    def lower(self, now: float) -> None:
        self._share, self._since = max(LEAST_PACE, self.at(now) / 2), now


class Pacer:
    """Ask before every request; tell of every request sent and every reply."""

    def __init__(self, limits: ServiceLimits, *, start: int = START, dice: Callable[[], float] = lambda: 0.0) -> None:
        """`dice` gives a number from 0 to 1, another one each time; writers that share a user must not agree on it."""
        self._limits = limits
        self._dice = dice
        requests, execution = limits.requests * limits.share, limits.execution * limits.share
        self._requests = Budget(requests, limits.window, burst=max(1.0, requests * BURST))
        self._execution = Budget(execution, limits.window, burst=execution * BURST)
        self._climb = ConcurrencyClimber(start=min(start, limits.concurrent), ceiling=limits.concurrent)
        self._estimates: deque[float] = deque()
        self._duration = 0.1
        self._held_until = -math.inf
        self._throttled_in_a_row = 0
        self._throttled_at = -math.inf
        self._probing = False
        self._pace = Pace(limits.window)

    def ask(self, now: float) -> float | None:
        """None: send now. Otherwise the time to ask again; infinity if only a reply can make room."""
        if now < self._held_until:
            return self._held_until
        if self._probing and self.in_flight:
            return math.inf
        if self.in_flight >= self._climb.target:
            self._climb.saturated()
            return math.inf
        self._slow_down(now)
        at = max(self._requests.free_at(1, now), self._execution.free_at(self._duration, now))
        return at if at > now else None

    def sent(self, now: float) -> None:
        """A request goes out: it counts at once, whatever becomes of it."""
        self._estimates.append(self._duration)
        self._execution.reserve(self._duration, now)
        self._requests.spend(1, now)

    def replied(
        self, judgement: Judgement, *, started: float, now: float, plans: int = 1, hint: int | None = None
    ) -> None:
        """A request ended, with a reply or without. `plans` landed with it; `hint` is the reply's x-ms-dop-hint."""
        took = max(0.0, now - started)
        self._execution.spend(took, now, reserved=self._estimates.popleft())
        self._duration += (took - self._duration) * 0.1
        if judgement.kind is Kind.THROTTLED:
            self._throttled(judgement.retry_after, started, now)
            return
        if judgement.retry_after is not None:
            longest = math.inf if judgement.by_the_crm else LONGEST_OBEYED
            self._held_until = max(self._held_until, now + min(judgement.retry_after, longest))
        if started < self._throttled_at:
            return  # it was on its way before the service wanted silence
        self._throttled_in_a_row, self._probing = 0, False
        self._climb.done(plans, now, hint)

    def _throttled(self, retry_after: float | None, started: float, now: float) -> None:
        """Those that were on their way together count as one."""
        again = started >= self._throttled_at
        if again:
            self._throttled_in_a_row += 1
            self._climb.back_off(now)
            self._pace.lower(now)
        self._throttled_at, self._probing = now, True
        guess = min(2.0 ** min(self._throttled_in_a_row, 10), LONGEST_GUESS)
        wait = guess if retry_after is None else retry_after
        share = min(SPREAD * 2.0 ** (self._throttled_in_a_row - 1), MOST_SPREAD) * self._dice()
        self._held_until = max(self._held_until, now + wait + min(wait * share, self._limits.window))

    def _slow_down(self, now: float) -> None:
        pace = self._pace.at(now)
        self._requests.scale(pace)
        self._execution.scale(pace)

    @property
    def concurrency(self) -> int:
        """How many requests may be in flight at present."""
        return self._climb.target

    @property
    def in_flight(self) -> int:
        return len(self._estimates)

    @property
    def held_until(self) -> float:
        """Until when the service asked for silence; minus infinity if it never did."""
        return self._held_until

    def room(self, now: float) -> int:
        """How many requests might go out at once; what batching divides its backlog by."""
        most = 1 if self._probing else self._climb.target
        places = min(most - self.in_flight, math.floor(self._requests.level(now)))
        return max(0, places) if now >= self._held_until else 0

    def used(self, now: float) -> tuple[float, float]:
        """The shares of the service's own limits spent in the window that ends now: requests, execution time."""
        limits = self._limits
        return self._requests.spent(now) / limits.requests, self._execution.spent(now) / limits.execution


class ConcurrencyClimber:
    """Concurrency that grows while growing brings more through.

    Looks at what came through over a short while in which every place was taken; grows by half if that is clearly
    more than before, and goes back one step if it is not. What it compares with fades, so it tries again later. Near
    the concurrency that was last answered with a 429 it grows by one at a time.
    """

    LOOK = 1.0
    """Seconds over which throughput is measured at least."""
    CLEARLY = 0.05
    """More by this share; for a small step, by half of what it could bring."""
    FADES = 0.97

    def __init__(self, *, start: int, ceiling: int) -> None:
        self.target = start
        self._ceiling = ceiling
        self._cap = ceiling
        self._careful_from: float = math.inf
        self._best = 0.0
        self._since: float | None = None
        self._done = 0
        self._full = False
        self._before = start

    def saturated(self) -> None:
        """Somebody had to wait for a place."""
        self._full = True

    def done(self, plans: int, now: float, hint: int | None) -> None:
        """`plans` came through, and the service recommended this many requests at a time."""
        if hint is not None and hint > 0:
            self._cap = min(self._ceiling, hint)
            self.target = min(self.target, self._cap)
        if self._since is None:
            self._since = now
            return
        self._done += plans
        elapsed = now - self._since
        if elapsed >= self.LOOK and self._done > self.target:
            if self._full:
                self._look(self._done / elapsed)
            self._restart(now)

    def back_off(self, now: float) -> None:
        """The service has had enough of this many."""
        self._careful_from = self.target * 0.75
        self.target = max(1, self.target // 2)
        self._before = self.target
        self._best = 0.0
        self._restart(now)

    def _look(self, rate: float) -> None:
        grown = (self.target - self._before) / self._before
        if rate > self._best * (1 + min(self.CLEARLY, grown / 2)):
            self._best = rate
            self._before = self.target
            more = 1 if self.target >= self._careful_from else max(1, self.target // 2)
            self.target = min(self._cap, self.target + more)
        else:
            self._best *= self.FADES
            self.target = min(self._cap, self._before)

    def _restart(self, now: float) -> None:
        self._since, self._done, self._full = now, 0, False

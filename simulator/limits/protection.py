"""Requests, execution time and concurrency per (user, web server), as the service counts them.

L1 A request over a limit is answered 429 with `Retry-After` in whole seconds, and is not executed.
L2 A client that sends before its wait is over waits longer: a little for each request, and with `strict` the rest
   doubles, up to the window. With `strict`, too many requests at a time have to wait as well.
L3 Users do not share limits, servers do not share limits.
No clock and no sockets here: the caller passes the time.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from simulator.errors import Refusal

Facet = Literal["requests", "time", "concurrency"]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Limits:
    """The documented defaults. Raises pydantic's ValidationError, a ValueError, for a limit that makes no sense.

    `time_scale` makes the window pass faster: 300 s at scale 10 are 30 s of the clock. `servers` is the number of
    web servers; `affinity` whether the answer pins one with a cookie. `strict` is how severe L2 is: documentation says
    that the wait is extended, and not by how much.
    """

    requests: int = Field(default=6000, ge=1)
    execution_seconds: float = Field(default=1200, gt=0)
    concurrent: int = Field(default=52, ge=1)
    window_seconds: float = Field(default=300, gt=0)
    servers: int = Field(default=1, ge=1)
    affinity: bool = True
    dop_hint: int = Field(default=48, ge=1)
    time_scale: float = Field(default=1.0, gt=0)
    strict: bool = False
    enabled: bool = True

    @property
    def window(self) -> float:
        """Seconds of the clock that the window lasts."""
        return self.window_seconds / self.time_scale


@dataclass(frozen=True, slots=True)
class Throttled:
    facet: Facet
    retry_after: int


class Verdict(NamedTuple):
    """What became of a request at the door, and what the headers of its answer say."""

    throttled: Throttled | None
    burst_remaining: int
    time_remaining: float


@dataclass
class _Account:
    """What one user used of one server."""

    requests: deque[float] = field(default_factory=deque)
    spent: deque[tuple[float, float]] = field(default_factory=deque)
    seconds: float = 0.0
    active: int = 0
    blocked_until: float = 0.0
    facet: Facet = "requests"
    peak: int = 0
    admitted: int = 0
    refused: int = 0
    early: int = 0

    def forget(self, before: float) -> None:
        while self.requests and self.requests[0] <= before:
            self.requests.popleft()
        while self.spent and self.spent[0][0] <= before:
            self.seconds -= self.spent.popleft()[1]


class Protection:
    """All accounts of an organization."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._accounts: dict[tuple[str, int], _Account] = {}

    def _account(self, user: str, server: int) -> _Account:
        key = user, server
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account()
        return account

    def enter(self, user: str, server: int, now: float) -> Verdict:
        """A request arrives. When it is not throttled, `leave` has to follow."""
        account, limits = self._account(user, server), self.limits
        account.forget(now - limits.window)
        throttled = self._check(account, now) if limits.enabled else None
        if throttled is None:
            account.active += 1
            account.admitted += 1
            if account.active > account.peak:
                account.peak = account.active
            account.requests.append(now)
        else:
            account.refused += 1
        return Verdict(
            throttled,
            max(0, limits.requests - len(account.requests)),
            max(0.0, limits.execution_seconds - account.seconds * limits.time_scale),
        )

    def leave(self, user: str, server: int, now: float, seconds: float) -> None:
        """The request is answered; it took so many seconds of execution time."""
        account = self._account(user, server)
        account.active -= 1
        account.spent.append((now, seconds))
        account.seconds += seconds

    def _check(self, account: _Account, now: float) -> Throttled | None:
        limits = self.limits
        if now < account.blocked_until:
            account.early += 1
            account.blocked_until += self._longer(account.blocked_until - now)
            return Throttled(account.facet, _whole(account.blocked_until - now))
        if account.active >= limits.concurrent:
            wait = limits.window * 0.02
            if limits.strict:
                account.facet, account.blocked_until = "concurrency", now + wait
            return Throttled("concurrency", _whole(wait))
        if len(account.requests) >= limits.requests:
            return self._block(account, "requests", now, account.requests[len(account.requests) // 20])
        if account.seconds * limits.time_scale >= limits.execution_seconds:
            return self._block(account, "time", now, account.spent[len(account.spent) // 20][0])
        return None

    def _longer(self, left: float) -> float:
        """By how many seconds a request that comes too early lengthens the wait (L2)."""
        window = self.limits.window
        return max(window * 0.01, min(left, window - left)) if self.limits.strict else window * 0.01

    def _block(self, account: _Account, facet: Facet, now: float, oldest: float) -> Throttled:
        """Closed until a twentieth of what fills the window has left it."""
        account.facet = facet
        account.blocked_until = max(oldest + self.limits.window, now + self.limits.window * 0.01)
        return Throttled(facet, _whole(account.blocked_until - now))

    def throttle(self, user: str, server: int, facet: Facet, until: float) -> None:
        """Throttle now, whatever was used: a fault."""
        account = self._account(user, server)
        account.facet, account.blocked_until = facet, until

    def counters(self, now: float) -> list[dict[str, object]]:
        """Use of every account, for people and for the audit of a benchmark."""
        rows: list[dict[str, object]] = []
        for (user, server), account in sorted(self._accounts.items()):
            account.forget(now - self.limits.window)
            rows.append(
                {
                    "user": user,
                    "server": server,
                    "requests": len(account.requests),
                    "requests_limit": self.limits.requests,
                    "execution_seconds": round(account.seconds * self.limits.time_scale, 3),
                    "execution_seconds_limit": self.limits.execution_seconds,
                    "concurrent": account.active,
                    "concurrent_peak": account.peak,
                    "concurrent_limit": self.limits.concurrent,
                    "admitted": account.admitted,
                    "throttled": account.refused,
                    "early": account.early,
                    "blocked_seconds": max(0.0, round(account.blocked_until - now, 3)),
                }
            )
        return rows

    def adjust(self, limits: Limits) -> None:
        """Other limits from now on. What was used is forgotten; the requests that are being served still count."""
        self.limits = limits
        self.reset()

    def reset(self) -> None:
        """Forget what was used, but not who is being served."""
        for account in self._accounts.values():
            account.requests.clear()
            account.spent.clear()
            account.seconds = account.blocked_until = 0.0
            account.peak = account.admitted = account.refused = account.early = 0


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _too_much_time(limits: Limits, seconds: str) -> str:
    return (
        f"Combined execution time of incoming requests exceeded limit of {limits.execution_seconds * 1000:,.0f} "
        f" milliseconds over time window of {seconds} seconds. Decrease number of concurrent requests or reduce the"
        " duration of requests and try again later."
    )


def refusal(throttled: Throttled, limits: Limits) -> Refusal:
    """The 429 in the service's words."""
    seconds = f"{limits.window_seconds:.0f}"
    code, message = {
        "requests": (
            "0x80072322",
            f"Number of requests exceeded the limit of {limits.requests} over time window of {seconds} seconds.",
        ),
        "time": ("0x80072321", _too_much_time(limits, seconds)),
        "concurrency": ("0x80072326", f"Number of concurrent requests exceeded the limit of {limits.concurrent}."),
    }[throttled.facet]
    return Refusal(429, code, message, (("Retry-After", str(throttled.retry_after)),))

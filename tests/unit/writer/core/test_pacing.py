"""Pacing against a model of the service's protection limits: close to them, hardly ever over them."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.limits import Limits, Protection
from writer.core.pacing import LEAST_PACE, WHOLE_AFTER, Budget, ConcurrencyClimber, Pace, Pacer, ServiceLimits
from writer.core.replies import Judgement, Kind, Meaning, never_sent

PROTECTED = Limits(requests=600, execution_seconds=120, window_seconds=30, concurrent=52)
LIMITS = ServiceLimits(requests=600, execution=120.0, window=30.0, concurrent=52)
DONE = Judgement(Kind.DONE, Meaning.LANDED, 200)


def busy(retry_after: float | None) -> Judgement:
    return Judgement(Kind.THROTTLED, Meaning.THROTTLED, 429, retry_after=retry_after)


@dataclass
class Service:
    """One web server: sliding windows per user, no slices; counts on arrival, execution on departure."""

    limits: ServiceLimits
    requests: deque[float] = field(default_factory=deque)
    execution: deque[tuple[float, float]] = field(default_factory=deque)
    executed: float = 0.0
    concurrent: int = 0

    def refuses(self, now: float) -> bool:
        while self.requests and self.requests[0] <= now - self.limits.window:
            self.requests.popleft()
        while self.execution and self.execution[0][0] <= now - self.limits.window:
            self.executed -= self.execution.popleft()[1]
        self.requests.append(now)
        return (
            len(self.requests) > self.limits.requests
            or self.executed > self.limits.execution
            or self.concurrent > self.limits.concurrent
        )


@dataclass(frozen=True)
class Seen:
    replies: int
    throttled: int
    execution: float
    most_concurrent: int


def pressed(duration: float, seconds: float, *, hint: int | None = None, limits: ServiceLimits = LIMITS) -> Seen:
    """A backlog that never ends; every request takes `duration`."""
    pacer, service = Pacer(limits), Service(limits)
    ends: list[tuple[float, float, bool]] = []
    now = replies = throttled = most = 0
    executed = 0.0
    while now < seconds:
        at = pacer.ask(now)
        if at is None:
            pacer.sent(now)
            service.concurrent += 1
            most = max(most, service.concurrent)
            refused = service.refuses(now)
            heapq.heappush(ends, (now + (0.01 if refused else duration), now, refused))
            continue
        if ends and ends[0][0] <= at:
            now, started, refused = heapq.heappop(ends)
            service.concurrent -= 1
            replies, throttled = replies + 1, throttled + refused
            if not refused:
                service.execution.append((now, now - started))
                service.executed += now - started
                executed += now - started
            pacer.replied(busy(5.0) if refused else DONE, started=started, now=now, hint=hint)
        else:
            now = at
    return Seen(replies, throttled, executed, most)


@pytest.mark.parametrize("duration", [0.02, 0.05, 0.15])
def test_W6_nearly_all_allowed_requests_are_used_and_none_refused(duration: float) -> None:
    seen = pressed(duration, 300.0)

    assert seen.replies >= 0.95 * 10 * LIMITS.requests
    assert seen.throttled == 0


@pytest.mark.parametrize("duration", [0.4, 1.0, 3.0])
def test_W6_nearly_all_allowed_execution_time_is_used_and_nothing_refused(duration: float) -> None:
    limits = ServiceLimits()

    seen = pressed(duration, 10 * limits.window, limits=limits)

    assert seen.execution >= 0.95 * 10 * limits.execution
    assert seen.throttled == 0


def test_W6_concurrency_never_passes_the_services_limit() -> None:
    assert pressed(20.0, 300.0).most_concurrent <= LIMITS.concurrent


def test_W6_concurrency_never_passes_the_hint() -> None:
    assert pressed(20.0, 120.0, hint=8).most_concurrent <= 8


def test_W6_concurrency_stops_growing_where_it_brings_nothing() -> None:
    climb = ConcurrencyClimber(start=4, ceiling=52)
    targets = []
    for second in range(1, 60):
        climb.saturated()
        through = min(climb.target, 10) * 10
        climb.done(through, float(second), None)
        targets.append(climb.target)

    assert max(targets[:8]) > 8
    assert sum(targets[20:]) / len(targets[20:]) < 20


def test_W6_sending_starts_low() -> None:
    pacer = Pacer(LIMITS)
    sent = 0
    while pacer.ask(0.0) is None:
        pacer.sent(0.0)
        sent += 1

    assert sent == pacer.in_flight == pacer.concurrency == 4
    assert pacer.ask(0.0) == math.inf
    assert pacer.room(0.0) == 0


@given(st.floats(0.1, 100_000.0))
def test_W6_retry_after_stops_everything_for_as_long_as_it_says(seconds: float) -> None:
    pacer = Pacer(LIMITS)
    pacer.sent(0.0)
    pacer.sent(0.0)
    pacer.replied(busy(seconds), started=0.0, now=1.0)
    pacer.replied(DONE, started=0.0, now=1.05)

    assert pacer.held_until == 1.0 + seconds
    assert pacer.ask(1.0 + seconds * 0.99) == 1.0 + seconds
    assert pacer.room(1.0 + seconds * 0.99) == 0
    assert pacer.ask(1.0 + seconds) is None
    assert pacer.room(1.0 + seconds) >= 1


@pytest.mark.parametrize(
    ("told", "by_the_crm", "waits"),
    [(7.0, False, 7.0), (600.0, False, 600.0), (86_400.0, False, 900.0), (86_400.0, True, 86_400.0)],
)
def test_W6_a_retry_after_with_trouble_is_obeyed_in_full_if_the_crm_said_so(
    told: float, by_the_crm: bool, waits: float
) -> None:
    pacer = Pacer(LIMITS)
    pacer.sent(0.0)
    trouble = Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503, retry_after=told, by_the_crm=by_the_crm)
    pacer.replied(trouble, started=0.0, now=1.0)

    assert pacer.ask(1.0) == 1.0 + waits
    assert pacer.ask(1.0 + waits) is None


def test_W6_a_longer_retry_after_is_not_shortened_by_a_later_one() -> None:
    pacer = Pacer(LIMITS)
    for seconds in (100.0, 2.0):
        pacer.sent(0.0)
        pacer.replied(busy(seconds), started=0.0, now=0.0)

    assert pacer.held_until == 100.0


def test_W6_throttling_without_a_time_backs_off_twice_as_long_each_time() -> None:
    pacer, now, waits = Pacer(LIMITS), 0.0, []
    for _ in range(12):
        pacer.sent(now)
        pacer.replied(busy(None), started=now, now=now)
        waits.append(pacer.held_until - now)
        now = pacer.held_until

    assert waits[:4] == [2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == 300.0


def test_W6_throttling_halves_the_concurrency() -> None:
    pacer = Pacer(LIMITS, start=40)
    pacer.sent(0.0)
    pacer.replied(busy(1.0), started=0.0, now=0.0)

    assert pacer.concurrency == 20


def test_W6_near_the_concurrency_that_was_throttled_it_grows_by_one() -> None:
    climb = ConcurrencyClimber(start=40, ceiling=52)
    climb.done(1, 0.0, None)
    climb.back_off(1.0)
    targets = [climb.target]
    for second in range(2, 12):
        climb.saturated()
        climb.done(climb.target * 10, float(second), None)
        targets.append(climb.target)

    assert targets[:4] == [20, 30, 31, 32]
    assert max(b - a for a, b in itertools.pairwise(targets[1:])) == 1


def test_a_request_that_never_left_frees_its_place() -> None:
    pacer = Pacer(LIMITS)
    pacer.sent(0.0)
    pacer.replied(never_sent(), started=0.0, now=0.1, hint=0)

    assert pacer.in_flight == 0


def test_what_was_used_is_told_as_a_share_of_the_services_own_limits() -> None:
    pacer = Pacer(LIMITS)
    for _ in range(6):
        pacer.sent(0.0)
        pacer.replied(DONE, started=0.0, now=1.0)

    assert pacer.used(1.0) == (pytest.approx(0.01), pytest.approx(0.05))
    assert pacer.used(100.0) == (0.0, 0.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.01, 3.0)), max_size=80))
def test_W6_a_budget_is_never_overspent_in_any_window(moves: list[tuple[float, float]]) -> None:
    budget, now = Budget(10.0, 20.0, burst=3.0), 0.0
    spent: list[tuple[float, float]] = []
    for pause, amount in moves:
        now = max(now + pause, budget.free_at(amount, now + pause))
        assert budget.free_at(amount, now) <= now + 1e-6, "once the time has come, it is free"
        budget.spend(amount, now)
        spent.append((now, amount))
        assert sum(a for at, a in spent if at > now - 20.0) <= 10.0 + 1e-6
        assert budget.spent(now) >= sum(a for at, a in spent if at > now - 20.0) - 1e-6


def test_a_budget_that_was_overspent_is_free_again_when_enough_has_left_the_window() -> None:
    budget = Budget(10.0, 100.0, burst=10.0)
    budget.spend(30.0, 0.5)

    assert budget.free_at(1.0, 1.0) > 100.0
    assert budget.level(1.0) < 0


# Writers that share an application user, against the simulator's own protection: a request while told to wait
# lengthens the wait of all.


@dataclass
class Shared:
    """What each writer got through, after the first half of the time."""

    landed: list[int]
    refused: int
    spent: float


def sharing(writers: int, *, seconds: float, duration: float, seed: int = 1, limits: Limits = PROTECTED) -> Shared:
    """Each has a backlog that never ends, and knows nothing of the others."""
    service, chance = Protection(limits), random.Random(seed)
    own = ServiceLimits(limits.requests, limits.execution_seconds, limits.window_seconds, limits.concurrent)
    pacers = [Pacer(own, dice=random.Random(seed + n).random) for n in range(writers)]
    found = Shared([0] * writers, 0, 0.0)
    order = itertools.count()
    waiting = [False] * writers
    turns: list[tuple[float, int, int, tuple[float, float | None] | None]] = []
    for n in range(writers):
        heapq.heappush(turns, (0.0, next(order), n, None))
    while turns[0][0] < seconds:
        now, _, n, reply = heapq.heappop(turns)
        if reply is not None:
            started, told = reply
            counted = now > seconds / 2
            if told is None:
                service.leave("user", 0, now, now - started)
                found.landed[n] += counted
                found.spent += (now - started) * counted
            else:
                found.refused += counted
            pacers[n].replied(DONE if told is None else busy(told), started=started, now=now)
            if waiting[n]:
                waiting[n] = False
                heapq.heappush(turns, (now, next(order), n, None))
            continue
        at = pacers[n].ask(now)
        if at is None:
            pacers[n].sent(now)
            refused = service.enter("user", 0, now).throttled
            takes = 0.01 if refused else duration * chance.uniform(0.5, 1.5)
            heapq.heappush(turns, (now + takes, next(order), n, (now, refused and float(refused.retry_after))))
            heapq.heappush(turns, (now + 1e-6, next(order), n, None))
        elif at == math.inf:
            waiting[n] = True
        else:
            heapq.heappush(turns, (max(at, now + 1e-3), next(order), n, None))
    return found


@pytest.mark.parametrize("writers", [2, 3, 8])
@pytest.mark.parametrize("duration", [0.15, 0.6])
def test_writers_that_share_a_user_get_through_together_near_its_limits(writers: int, duration: float) -> None:
    seconds = 900.0
    found = sharing(writers, seconds=seconds, duration=duration)
    allowed = seconds / 2 / PROTECTED.window_seconds
    reached = max(
        sum(found.landed) / (PROTECTED.requests * allowed), found.spent / (PROTECTED.execution_seconds * allowed)
    )

    assert reached > 0.6
    assert min(found.landed) * 8 > max(found.landed), "none of them is starved"
    assert found.refused < sum(found.landed) / 20


def test_after_a_429_an_identity_comes_back_with_one_probe() -> None:
    pacer = Pacer(LIMITS, start=4)
    for _ in range(4):
        pacer.sent(0.0)
    for _ in range(4):
        pacer.replied(busy(5.0), started=0.0, now=0.1)
    back = pacer.held_until

    assert back == 5.1
    assert pacer.room(back) == 1
    assert pacer.ask(back) is None
    pacer.sent(back)
    assert pacer.ask(back) == math.inf
    pacer.replied(DONE, started=back, now=back + 0.1)
    assert pacer.ask(back + 0.1) is None


@pytest.mark.parametrize(("dice", "longest"), [(0.0, 1.0), (1.0, 9.0)])
def test_the_wait_after_a_429_grows_by_a_random_share_with_each_in_a_row(dice: float, longest: float) -> None:
    pacer, now, waits = Pacer(LIMITS, dice=lambda: dice), 0.0, []
    for _ in range(8):
        pacer.sent(now)
        pacer.replied(busy(3.0), started=now, now=now + 0.01)
        waits.append((pacer.held_until - now - 0.01) / 3.0)
        now = pacer.held_until
    assert waits[0] == pytest.approx(1.0 + dice / 2)
    assert waits[-1] == pytest.approx(longest)
    assert waits == sorted(waits)


def test_the_random_share_of_a_long_wait_is_at_most_a_window() -> None:
    pacer = Pacer(LIMITS, dice=lambda: 1.0)
    pacer.sent(0.0)
    pacer.replied(busy(3600.0), started=0.0, now=0.0)

    assert pacer.held_until == 3600.0 + LIMITS.window


def test_what_was_on_its_way_before_a_429_does_not_end_the_wait_for_the_probe() -> None:
    pacer = Pacer(LIMITS, start=4)
    pacer.sent(0.0)
    pacer.sent(0.0)
    pacer.replied(busy(5.0), started=0.0, now=0.1)
    pacer.replied(DONE, started=0.0, now=0.2)

    assert pacer.room(pacer.held_until) == 1


def test_each_429_halves_the_pace_which_comes_back_over_some_windows() -> None:
    pacer = Pacer(LIMITS)
    pacer.sent(0.0)
    pacer.replied(busy(1.0), started=0.0, now=0.0)
    back = pacer.held_until
    while pacer.ask(back) is None:  # what may go out at once
        pacer.sent(back)
        pacer.replied(DONE, started=back, now=back)
    first = pacer.ask(back)
    assert first is not None
    pacer.sent(first)
    pacer.replied(DONE, started=first, now=first)
    second = pacer.ask(first)
    assert second is not None
    evenly = LIMITS.window / (LIMITS.requests * LIMITS.share)
    assert second - first == pytest.approx(2 * evenly, rel=0.05)


def test_the_pace_is_never_lowered_to_nothing_and_is_whole_after_some_windows() -> None:
    pace = Pace(30.0)
    for _ in range(20):
        pace.lower(100.0)

    assert pace.at(100.0) == LEAST_PACE
    assert pace.at(100.0 + 30.0 * WHOLE_AFTER) == 1.0

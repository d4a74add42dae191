"""Service protection by a clock that the test turns."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.limits import Limits, Protection
from simulator.limits.protection import Verdict


def facet_of(verdict: Verdict) -> str | None:
    """Of the limit that throttles; None if none does."""
    return verdict.throttled.facet if verdict.throttled else None


def enter(protection: Any, now: Any, user: str = "u", server: int = 0) -> Any:
    """Whether a request is let in; it ends at once."""
    verdict = protection.enter(user, server, now)
    if verdict.throttled is None:
        protection.leave(user, server, now, 0.0)
    return verdict


def test_L1_the_window_slides() -> None:
    protection = Protection(Limits(requests=2))
    assert [enter(protection, now).throttled is None for now in (0, 100)] == [True, True]
    refused = enter(protection, 200).throttled
    assert refused.facet == "requests"
    assert refused.retry_after == 100
    assert enter(protection, 301).throttled is None


def test_L1_waiting_as_long_as_told_is_enough() -> None:
    protection = Protection(Limits(requests=10))
    now, let_in = 0.0, 0
    for _ in range(200):
        verdict = enter(protection, now)
        if verdict.throttled:
            now += verdict.throttled.retry_after
            assert enter(protection, now).throttled is None
        let_in += 1
        now += 1
    assert let_in == 200


def test_L2_whoever_keeps_sending_waits_longer() -> None:
    protection = Protection(Limits(requests=1))
    enter(protection, 0)
    waits = [enter(protection, 1 + second * 0.01).throttled.retry_after for second in range(50)]
    assert waits[-1] > waits[0] + 100


def test_L3_users_and_servers_are_apart() -> None:
    protection = Protection(Limits(requests=1, servers=2))
    assert enter(protection, 0, "u", 0).throttled is None
    assert enter(protection, 0, "u", 1).throttled is None
    assert enter(protection, 0, "v", 0).throttled is None
    assert enter(protection, 0, "u", 0).throttled


def test_execution_time_adds_up_and_leaves_with_the_window() -> None:
    protection = Protection(Limits(execution_seconds=10))
    for now in range(5):
        assert protection.enter("u", 0, now).throttled is None
        protection.leave("u", 0, now, 2.0)
    assert facet_of(protection.enter("u", 0, 5)) == "time"
    assert protection.enter("u", 0, 400).throttled is None


def test_concurrency_is_a_matter_of_the_moment() -> None:
    protection = Protection(Limits(concurrent=2))
    assert [protection.enter("u", 0, 0).throttled for _ in range(2)] == [None, None]
    assert facet_of(protection.enter("u", 0, 0)) == "concurrency"
    protection.leave("u", 0, 0, 0.1)
    assert protection.enter("u", 0, 0).throttled is None


def test_a_scaled_window_passes_faster() -> None:
    protection = Protection(Limits(requests=1, time_scale=100))
    enter(protection, 0)
    assert enter(protection, 2.9).throttled
    assert enter(protection, 6.1).throttled is None


def test_headers_count_down_and_recover() -> None:
    protection = Protection(Limits(requests=3))
    assert [enter(protection, 0).burst_remaining for _ in range(3)] == [2, 1, 0]
    assert enter(protection, 301).burst_remaining == 2


@settings(deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=20), min_size=1, max_size=120))
def test_L1_no_window_ever_holds_more_than_the_limit(pauses: Any) -> None:
    limits = Limits(requests=5, window_seconds=60)
    protection = Protection(limits)
    now, admitted = 0.0, []
    for pause in pauses:
        now += pause
        if enter(protection, now).throttled is None:
            admitted.append(now)
    for start in admitted:
        assert sum(start <= at < start + 60 for at in admitted) <= 5


class TestStrictL2:
    """The severest reading of the documentation: whoever does not wait as told pays dearly for it."""

    def blocked(self, **more: Any) -> Any:
        protection = Protection(Limits(requests=2, window_seconds=300, strict=True, **more))
        for _ in range(2):
            protection.enter("u", 0, 0.0)
            protection.leave("u", 0, 0.0, 0.0)
        return protection

    def test_L2_each_request_that_comes_too_early_doubles_what_is_left_up_to_the_window(self) -> None:
        protection = self.blocked()
        assert protection.enter("u", 0, 200.0).throttled.retry_after == 100
        assert protection.enter("u", 0, 220.0).throttled.retry_after == 160
        assert protection.enter("u", 0, 230.0).throttled.retry_after == 300
        assert protection.enter("u", 0, 231.0).throttled.retry_after > 299

    def test_L2_whoever_waits_as_told_is_let_in(self) -> None:
        protection = self.blocked()
        waits = protection.enter("u", 0, 200.0).throttled.retry_after
        assert protection.enter("u", 0, 200.0 + waits).throttled is None
        assert protection.counters(301.0)[0]["early"] == 0

    def test_L2_two_who_share_a_user_lengthen_each_others_wait(self) -> None:
        protection = self.blocked()
        first = protection.enter("u", 0, 200.0).throttled.retry_after
        second = protection.enter("u", 0, 201.0).throttled.retry_after
        assert protection.enter("u", 0, 200.0 + first).throttled is not None
        assert second > first
        assert protection.counters(301.0)[0]["early"] == 2

    def test_L2_too_many_at_a_time_are_told_to_wait(self) -> None:
        for strict in (False, True):
            protection = Protection(Limits(concurrent=1, strict=strict))
            protection.enter("u", 0, 0.0)
            assert facet_of(protection.enter("u", 0, 1.0)) == "concurrency"
            protection.leave("u", 0, 2.0, 1.0)
            assert (protection.enter("u", 0, 3.0).throttled is not None) is strict


def test_other_limits_forget_what_was_used_but_not_who_is_being_served() -> None:
    protection = Protection(Limits(concurrent=1))
    protection.enter("u", 0, 0.0)
    protection.adjust(Limits(concurrent=1, requests=5))
    assert facet_of(protection.enter("u", 0, 1.0)) == "concurrency"
    protection.leave("u", 0, 2.0, 1.0)
    assert protection.enter("u", 0, 3.0).throttled is None

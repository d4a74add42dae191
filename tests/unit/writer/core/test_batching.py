"""How many plans share a request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from writer.core.batching import Batching
from writer.core.replies import Judgement, Kind, Meaning, lost

DONE = Judgement(Kind.DONE, Meaning.LANDED, 200)
TOO_LARGE = Judgement(Kind.TRANSIENT, Meaning.TOO_LARGE, 413)


def test_a_plan_that_is_alone_goes_alone() -> None:
    batching = Batching(most=10)

    assert batching.share(1, 50) == 1
    assert batching.share(40, 50) == 1


def test_a_backlog_fills_requests_up_to_ten() -> None:
    batching = Batching(most=10)

    assert batching.share(100, 50) == 2
    assert batching.share(10, 1) == 10
    assert batching.share(10_000, 50) == 10
    assert batching.share(7, 0) == 7


def test_nothing_ready_is_nothing_to_send() -> None:
    assert Batching(most=10).share(0, 5) == 0


def test_slow_requests_carry_fewer_and_fast_ones_more_again() -> None:
    batching = Batching(most=10)
    batching.replied(DONE, took=11.0, plans=10)
    assert batching.share(100, 1) == 5
    for _ in range(10):
        batching.replied(lost(), took=130.0, plans=5)
    assert batching.share(100, 1) == 1

    for _ in range(40):
        batching.replied(DONE, took=0.2, plans=1)

    assert batching.share(100, 1) == 10


def test_a_request_that_was_too_large_is_halved_from_what_it_carried() -> None:
    batching = Batching(most=10)
    batching.replied(TOO_LARGE, took=0.1, plans=6)

    assert batching.limit == 3


def test_a_middling_reply_teaches_nothing() -> None:
    batching = Batching(most=10)
    batching.replied(DONE, took=7.0, plans=10)
    batching.replied(Judgement(Kind.THROTTLED, Meaning.THROTTLED, 429), took=0.1, plans=10)

    assert batching.limit == 10


@given(st.integers(1, 10_000), st.integers(0, 100))
def test_all_that_is_ready_fits_into_the_room_or_requests_are_full(ready: int, room: int) -> None:
    share = Batching(most=10).share(ready, room)

    assert 1 <= share <= min(10, ready)
    assert share * max(1, room) >= ready or share == 10

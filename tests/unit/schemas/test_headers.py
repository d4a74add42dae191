"""What travels in headers comes back as it was, and somebody else's headers do no harm."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import (
    MARKS,
    Reason,
    call_may_exist,
    first_appended_ms,
    last,
    mark,
    not_before,
    plan_to_replace,
    reasons,
    reasons_header,
    requeue_count,
    requeued,
    settled_as,
    was_read_before,
)

LATER = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


def test_a_requeued_plan_keeps_its_other_headers_and_replaces_its_count() -> None:
    once = requeued([("traceparent", b"00-aa-bb-01")], count=1, at=LATER, first_ms=7)
    twice = requeued(once, count=2, at=LATER, first_ms=7)
    assert last(twice, "traceparent") == b"00-aa-bb-01"
    assert [key for key, _ in twice] == ["traceparent", "requeue-count", "not-before", "first-appended-at"]
    assert requeue_count(twice) == 2
    assert not_before(twice) == LATER
    assert first_appended_ms(twice) == 7


def test_a_plan_that_was_never_requeued_may_be_tried_at_once() -> None:
    assert requeue_count(None) == 0
    assert not_before([]) is None
    assert first_appended_ms(None) is None


def test_R6_every_later_copy_knows_that_its_call_may_exist() -> None:
    once = requeued([], count=1, at=LATER, first_ms=7, call_may_exist=True)
    assert call_may_exist(once)
    assert call_may_exist(requeued(once, count=2, at=LATER, first_ms=7))
    assert not call_may_exist(requeued([], count=1, at=LATER, first_ms=7))


def test_a_further_copy_of_a_plan_is_known_by_its_headers() -> None:
    assert not was_read_before([("traceparent", b"00-aa-bb-01")])
    for name in ("requeue-count", "replay", "replan", "accepted-etag"):
        assert was_read_before([(name, b"1")])


def test_a_result_says_in_its_header_how_its_session_is_settled() -> None:
    assert settled_as([("settled-as", b"landed")]) == "landed"
    assert settled_as([("settled-as", b"\xff")]) == "\ufffd"
    assert settled_as(None) is None


@given(st.binary(max_size=30))
def test_unreadable_headers_count_as_none(noise: bytes) -> None:
    headers = [("requeue-count", noise), ("not-before", noise), ("first-appended-at", noise)]
    assert requeue_count(headers) >= 0
    assert not_before(headers) is None or noise.isdigit()
    assert first_appended_ms(headers) is None or noise.isdigit()


def test_every_reason_of_a_rejection_can_be_read_back() -> None:
    listed = [Reason("too_long", "summary", "at most 20,000 characters"), Reason("undecodable", None, "Avro")]
    assert reasons([("x", b"y"), reasons_header(listed)]) == listed
    assert reasons(None) == []


@pytest.mark.parametrize("name", MARKS)
def test_W2_a_plan_that_an_operator_sent_may_have_settled_before(name: str) -> None:
    assert was_read_before([(name, b"")])


def test_an_operators_header_says_who_and_why_and_a_damaged_one_says_nothing() -> None:
    assert mark(None, "leave") is None
    assert mark([("leave", b'{"by": "kim"}')], "leave") == {"by": "kim"}
    assert [mark([("leave", raw)], "leave") for raw in (b"", b"[1]", b"\xff")] == [{}, {}, {}]


@pytest.mark.parametrize(
    ("raw", "digest"), [(b"a" * 64, "a" * 64), (b"a" * 63, None), (b"A" * 64, None), (b"", None), (b"\xff" * 64, None)]
)
def test_P1_only_a_digest_names_a_plan_to_replace(raw: bytes, digest: str | None) -> None:
    assert plan_to_replace([("replan", raw)]) == digest
    assert plan_to_replace(None) is None

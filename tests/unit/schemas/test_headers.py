"""What travels in headers comes back as it was, and somebody else's headers do no harm."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import Reason, appended_again, last, not_before, reasons, reasons_header, replay_count

LATER = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


def test_an_appended_plan_keeps_its_other_headers_and_replaces_its_count() -> None:
    once = appended_again([("traceparent", b"00-aa-bb-01")], count=1, at=LATER)
    twice = appended_again(once, count=2, at=LATER)
    assert last(twice, "traceparent") == b"00-aa-bb-01"
    assert [key for key, _ in twice] == ["traceparent", "replay-count", "not-before"]
    assert replay_count(twice) == 2
    assert not_before(twice) == LATER


def test_a_plan_that_was_never_appended_again_may_be_tried_at_once() -> None:
    assert replay_count(None) == 0
    assert not_before([]) is None


@given(st.binary(max_size=30))
def test_unreadable_headers_count_as_none(noise: bytes) -> None:
    headers = [("replay-count", noise), ("not-before", noise)]
    assert replay_count(headers) >= 0
    assert not_before(headers) is None or noise.isdigit()


def test_every_reason_of_a_rejection_can_be_read_back() -> None:
    listed = [Reason("too_long", "summary", "at most 20,000 characters"), Reason("undecodable", None, "Avro")]
    assert reasons([("x", b"y"), reasons_header(listed)]) == listed
    assert reasons(None) == []

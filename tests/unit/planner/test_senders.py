"""What a rejected record keeps of its sender's headers."""

from __future__ import annotations

import pytest

from planner.core.senders import LONGEST, MOST_HEADERS, sender_headers
from schemas import headers


def test_a_sender_is_found_again_by_the_headers_it_sent() -> None:
    given = [("client-id", b"dialler eu-1"), ("build", b"2.14.3")]
    assert sender_headers(given) == given
    assert headers.sender(sender_headers(given)) == "dialler eu-1"
    assert headers.sender([("ce_source", b"/dialler")]) == "/dialler"
    assert headers.sender([("build", b"1")]) is None


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("contact", b"kim@example.com", [("contact", b"[REDACTED]")]),
        ("kim@example.com", b"x", []),
        ("x" * (LONGEST + 1), b"x", []),
        ("line\nbreak", b"x", []),
        ("binary", b"\x00\x01", [("binary", b"")]),
        ("long", b"x" * 1_000, [("long", b"x" * LONGEST)]),
    ],
)
def test_B1_a_header_is_kept_short_printable_and_redacted(
    name: str, value: bytes, kept: list[tuple[str, bytes]]
) -> None:
    assert sender_headers([(name, value)]) == kept


def test_a_sender_cannot_pretend_to_be_the_planner_or_an_operator_and_takes_no_more_room_than_is_fair() -> None:
    for name in (headers.REJECTED_BY, headers.REJECTED_FROM, headers.OPT_OUT, headers.REDRIVE, headers.TRACEPARENT):
        assert sender_headers([(name, b"x")]) == []
    assert len(sender_headers([("one", b"x")] * 100)) == MOST_HEADERS


def test_the_loop_guard_is_kept_and_only_in_its_own_form() -> None:
    guard = [(headers.REDRIVE_COUNT, b"2"), (headers.REDRIVEN_FROM, b"call-outcomes-rejected/3/117")]
    assert sender_headers(guard) == guard
    assert sender_headers([(headers.REDRIVE_COUNT, b"kim"), guard[1]]) == []
    assert sender_headers([guard[0], (headers.REDRIVEN_FROM, b"kim@example.com")]) == guard[:1]
    assert sender_headers(guard[:1]) == guard[:1]

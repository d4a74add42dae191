"""Times as operators write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ops.core.times import NotATime, age, moment

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        (" 2h ", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T14:00", datetime(2026, 11, 20, 14, tzinfo=UTC)),
        ("2026-11-20T14:00+01:00", datetime(2026, 11, 20, 13, tzinfo=UTC)),
        ("2026-11-20T14:00:05Z", datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)),
    ],
)
def test_a_time_is_how_long_ago_or_iso_and_utc_unless_it_says_otherwise(text: str, meant: datetime) -> None:
    assert moment(text, now=NOW) == meant


@pytest.mark.parametrize("text", ["", "2", "2w", "yesterday", "20.11.2026", "-2h"])
def test_whatever_else_is_no_time_and_the_error_says_what_is(text: str) -> None:
    with pytest.raises(NotATime, match="how long ago: 90s"):
        moment(text, now=NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0.4, "0 s"), (59, "59 s"), (60, "1 min"), (3_725, "1 h 2 min"), (86_400 * 3 + 5, "3 d")],
)
def test_an_age_is_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert age(seconds) == text

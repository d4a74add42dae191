"""What the service's words for times mean: when they begin, and when they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.query import dates

NOW = datetime(2026, 3, 11, 15, 30, 45, tzinfo=UTC)  # a Wednesday
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("operator", "start", "end"),
    [
        ("yesterday", "2026-03-10", "2026-03-11"),
        ("today", "2026-03-11", "2026-03-12"),
        ("tomorrow", "2026-03-12", "2026-03-13"),
        ("last-seven-days", "2026-03-04", "2026-03-12"),
        ("next-seven-days", "2026-03-11", "2026-03-19"),
        ("last-week", "2026-03-01", "2026-03-08"),
        ("this-week", "2026-03-08", "2026-03-15"),
        ("next-week", "2026-03-15", "2026-03-22"),
        ("last-month", "2026-02-01", "2026-03-01"),
        ("this-month", "2026-03-01", "2026-04-01"),
        ("next-month", "2026-04-01", "2026-05-01"),
        ("last-year", "2025-01-01", "2026-01-01"),
        ("this-year", "2026-01-01", "2027-01-01"),
        ("next-year", "2027-01-01", "2028-01-01"),
        ("last-fiscal-period", "2025-10-01", "2026-01-01"),
        ("this-fiscal-period", "2026-01-01", "2026-04-01"),
        ("next-fiscal-period", "2026-04-01", "2026-07-01"),
        ("this-fiscal-year", "2026-01-01", "2027-01-01"),
    ],
)
def test_whole_days(operator: str, start: str, end: str) -> None:
    assert dates.plain(operator, NOW) == (day(start), day(end))


@pytest.mark.parametrize(
    ("operator", "start", "end"),
    [
        ("last-x-hours", "2026-03-11T13:30:45", "2026-03-11T15:30:46"),
        ("next-x-hours", "2026-03-11T15:30:45", "2026-03-11T17:30:45"),
        ("last-x-days", "2026-03-09", "2026-03-11T15:30:46"),
        ("next-x-days", "2026-03-11T15:30:45", "2026-03-14"),
        ("last-x-weeks", "2026-02-25", "2026-03-11T15:30:46"),
        ("last-x-months", "2026-01-11", "2026-03-11T15:30:46"),
        ("next-x-months", "2026-03-11T15:30:45", "2026-05-12"),
        ("last-x-years", "2024-03-11", "2026-03-11T15:30:46"),
        ("last-x-fiscal-periods", "2025-07-01", "2026-01-01"),
        ("next-x-fiscal-years", "2027-01-01", "2029-01-01"),
    ],
)
def test_counted_with_two(operator: str, start: str, end: str) -> None:
    assert dates.counted(operator, 2, NOW) == (day(start), day(end))


@pytest.mark.parametrize(
    ("operator", "end"),
    [
        ("olderthan-x-minutes", "2026-03-11T15:28:45"),
        ("olderthan-x-hours", "2026-03-11T13:30:45"),
        ("olderthan-x-days", "2026-03-09T15:30:45"),
        ("olderthan-x-weeks", "2026-02-25T15:30:45"),
        ("olderthan-x-months", "2026-01-11T15:30:45"),
        ("olderthan-x-years", "2024-03-11T15:30:45"),
    ],
)
def test_older_than_two(operator: str, end: str) -> None:
    assert dates.counted(operator, 2, NOW) == (None, day(end))


@given(MOMENTS)
def test_last_this_and_next_lie_beside_each_other_and_this_holds_the_moment(moment: Any) -> None:
    for unit in ("week", "month", "year", "fiscal-period", "fiscal-year"):
        last, this, following = (dates.plain(f"{which}-{unit}", moment) for which in ("last", "this", "next"))
        assert last[1] == this[0]
        assert this[1] == following[0]
        assert this[0] <= moment < this[1]


@given(MOMENTS, st.integers(-600, 600))
def test_months_keep_the_day_or_take_the_last_one(moment: Any, number: Any) -> None:
    later = dates.months(moment, number)
    assert (later.year * 12 + later.month) - (moment.year * 12 + moment.month) == number
    assert later.day == moment.day or (later + timedelta(days=1)).month != later.month


@given(MOMENTS)
def test_parts_of_a_date(moment: Any) -> None:
    assert dates.part("quarter", moment) == (moment.month + 2) // 3
    assert 1 <= int(dates.part("week", moment)) <= 54
    assert dates.part("fiscal-period", moment) == f"Quarter {(moment.month + 2) // 3} FY{moment.year}"
    assert dates.part("day", moment) == moment.day


def test_the_first_week_of_a_year_is_the_one_with_its_first_day() -> None:
    assert dates.part("week", day("2023-03-25")) == 12
    assert dates.part("week", day("2023-08-27")) == 35
    assert dates.part("week", day("2023-01-01")) == 1

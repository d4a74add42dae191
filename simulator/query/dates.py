"""What `last-x-days`, `this-week` and the like mean at a given moment: from when (included) until when (not).

Days are those of UTC, a week begins on Sunday, and the fiscal year is the calendar year in quarters: the settings of a
new organization. What is named "last" or "next" with a number goes from or to the present moment; the rest are whole
days.
"""

from calendar import monthrange
from collections.abc import Callable
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta

Window = tuple[datetime | None, datetime | None]
_QUARTER = 3
_MONTHS = 12


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _week(now: datetime) -> datetime:
    return _day(now) - timedelta(days=(now.weekday() + 1) % 7)


def _month(now: datetime) -> datetime:
    return _day(now).replace(day=1)


def _quarter(now: datetime) -> datetime:
    first = _month(now)
    return first.replace(month=first.month - (first.month - 1) % _QUARTER)


def _year(now: datetime) -> datetime:
    return _month(now).replace(month=1)


def months(moment: datetime, number: int) -> datetime:
    """The same day that many months later; the last of the month where there is no such day."""
    year, month = divmod(moment.year * _MONTHS + moment.month - 1 + number, _MONTHS)
    if not MINYEAR <= year <= MAXYEAR:
        raise OverflowError(number)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def _days(moment: datetime, number: int) -> datetime:
    return moment + timedelta(days=number)


def _weeks(moment: datetime, number: int) -> datetime:
    return moment + timedelta(weeks=number)


def _hours(moment: datetime, number: int) -> datetime:
    return moment + timedelta(hours=number)


def _minutes(moment: datetime, number: int) -> datetime:
    return moment + timedelta(minutes=number)


def _quarters(moment: datetime, number: int) -> datetime:
    return months(moment, number * _QUARTER)


def _years(moment: datetime, number: int) -> datetime:
    return months(moment, number * _MONTHS)


Step = Callable[[datetime, int], datetime]
_STEPS: dict[str, Step] = {
    "minutes": _minutes, "hours": _hours, "days": _days, "weeks": _weeks, "months": months, "years": _years,
    "fiscal-periods": _quarters, "fiscal-years": _years,
}  # fmt: skip
_UNITS: dict[str, tuple[Callable[[datetime], datetime], Step]] = {
    "week": (_week, _weeks), "month": (_month, months), "year": (_year, _years),
    "fiscal-period": (_quarter, _quarters), "fiscal-year": (_year, _years),
}  # fmt: skip
_SINGLE = {"yesterday": -1, "today": 0, "tomorrow": 1}

# Operators without a value, and operators with one number.
PLAIN = frozenset({*_SINGLE, "last-seven-days", "next-seven-days"}) | {
    f"{which}-{unit}" for which in ("last", "this", "next") for unit in _UNITS
}
COUNTED = (
    frozenset(f"{which}-x-{unit}" for which in ("last", "next") for unit in _STEPS if unit != "minutes")
    | frozenset(f"olderthan-x-{unit}" for unit in ("minutes", "hours", "days", "weeks", "months", "years"))
)  # fmt: skip
# They ask for a part of the day, which a column of behavior DateOnly does not have.
OF_THE_DAY = frozenset({"last-x-hours", "next-x-hours", "olderthan-x-hours", "olderthan-x-minutes"})


def plain(operator: str, now: datetime) -> Window:
    """The window of an operator of `PLAIN`."""
    if operator in _SINGLE:
        start = _days(_day(now), _SINGLE[operator])
        return start, _days(start, 1)
    if operator == "last-seven-days":
        return _days(_day(now), -7), _days(_day(now), 1)
    if operator == "next-seven-days":
        return _day(now), _days(_day(now), 8)
    which, _, unit = operator.partition("-")
    begin, step = _UNITS[unit]
    start = step(begin(now), {"last": -1, "this": 0, "next": 1}[which])
    return start, step(start, 1)


def counted(operator: str, number: int, now: datetime) -> Window:
    """The window of an operator of `COUNTED`. Raises OverflowError beyond the calendar."""
    which, _, unit = operator.partition("-x-")
    step = _STEPS[unit]
    until_now = now + timedelta(seconds=1)  # the present second is part of what was
    if which == "olderthan":
        return None, step(now, -number)
    if unit.startswith("fiscal"):
        begin = _UNITS[unit.removesuffix("s")][0](now)
        return (step(begin, -number), begin) if which == "last" else (step(begin, 1), step(begin, number + 1))
    if unit == "hours":
        return (step(now, -number), until_now) if which == "last" else (now, step(now, number))
    if which == "last":
        return step(_day(now), -number), until_now
    return now, _days(step(_day(now), number), 1)


def fiscal_year(year: int) -> Window:
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)


def fiscal_period(period: int, year: int) -> Window:
    """A quarter of a year. Raises ValueError for one that is none."""
    start = datetime(year, (period - 1) * _QUARTER + 1, 1, tzinfo=UTC)
    return start, _quarters(start, 1)


def part(grouping: str, moment: datetime) -> int | str:
    """What `dategrouping` groups by. Raises KeyError for a part that there is not."""
    quarter = (moment.month - 1) // _QUARTER + 1
    new_year = _year(moment)
    week = ((_day(moment) - new_year).days + (new_year.weekday() + 1) % 7) // 7 + 1
    parts: dict[str, int | str] = {
        "day": moment.day,
        "week": week,
        "month": moment.month,
        "quarter": quarter,
        "year": moment.year,
        "fiscal-period": f"Quarter {quarter} FY{moment.year}",
        "fiscal-year": f"FY{moment.year}",
    }
    return parts[grouping]

"""The service's condition operators, under the names that FetchXML gives them, as tests of one value.

SQL and the functions `Microsoft.Dynamics.CRM.…` of `$filter` are translated to these, so one thing has one meaning.
Null is unequal to every value, so it passes `ne`, `not-in` and `not-like`; it is never greater, smaller or between.
"""

import operator as operators
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator import errors, tenant
from simulator.crm import literals
from simulator.crm.organization import Organization
from simulator.query import dates
from simulator.schema import Column, Kind
from simulator.schema.model import LOOKUPS
from simulator.store.memory import fold

ValueTest = Callable[[Any], bool]

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operators.gt,
    "ge": operators.ge,
    "lt": operators.lt,
    "le": operators.le,
}
_TEXT = {
    "like": "{}", "not-like": "{}", "begins-with": "{}%", "not-begin-with": "{}%", "ends-with": "%{}",
    "not-end-with": "%{}",
}  # fmt: skip
_ID = {
    "eq-userid": True, "ne-userid": False, "eq-businessid": True, "ne-businessid": False, "eq-userteams": True,
    "eq-useroruserteams": True,
}  # fmt: skip
_FISCAL = frozenset(
    {
        "in-fiscal-year", "in-fiscal-period", "in-fiscal-period-and-year", "in-or-before-fiscal-period-and-year",
        "in-or-after-fiscal-period-and-year",
    }
)  # fmt: skip
NOT_BUILT = {
    "above": "hierarchies", "eq-or-above": "hierarchies", "under": "hierarchies", "eq-or-under": "hierarchies",
    "not-under": "hierarchies", "eq-useroruserhierarchy": "hierarchies",
    "eq-useroruserhierarchyandteams": "hierarchies", "contain-values": "choices (multi-select) columns",
    "not-contain-values": "choices (multi-select) columns", "eq-userlanguage": "languages",
}  # fmt: skip


def test(organization: Organization, column: Column, operator: str, values: Sequence[str]) -> ValueTest:
    """Whether a value of the column passes. Raises the 400 of an operator, or of a value, that does not fit it."""
    operator = {"neq": "ne"}.get(operator, operator)
    if operator in NOT_BUILT:
        raise errors.not_built(f"the condition operator '{operator}', since it has no {NOT_BUILT[operator]}")
    if operator in {"null", "not-null"}:
        _count(operator, values, 0)
        return (lambda value: value is None) if operator == "null" else (lambda value: value is not None)
    if operator in {"eq", "ne"} or operator in COMPARE:
        _count(operator, values, 1)
        return compare(operator, fold(from_text(column, values[0])))
    if operator in _TEXT:
        _count(operator, values, 1)
        return like(column, _TEXT[operator].format(values[0]), wanted=not operator.startswith("not"))
    if operator in {"in", "not-in"}:
        if not values:
            raise errors.bad_query(f"The condition operator '{operator}' takes at least one value.")
        members = {fold(from_text(column, value)) for value in values}
        return lambda value: (fold(value) in members) == (operator == "in")
    if operator in {"between", "not-between"}:
        _count(operator, values, 2)
        low, high = (fold(from_text(column, value)) for value in values)
        wanted = operator == "between"
        return lambda value: (value is not None and low <= fold(value) <= high) == wanted
    if operator in _ID:
        _count(operator, values, 0)
        return _of_the_caller(organization, column, operator)
    return _of_time(organization, column, operator, values)


def _count(operator: str, values: Sequence[str], wanted: int) -> None:
    if len(values) != wanted:
        raise errors.bad_query(f"The condition operator '{operator}' takes {wanted} values, not {len(values)}.")


def compare(operator: str, wanted: Any) -> ValueTest:
    if operator == "eq":
        return lambda value: bool(fold(value) == wanted)
    if operator == "ne":
        return lambda value: bool(fold(value) != wanted)
    if wanted is None:
        return lambda _: False
    passes = COMPARE[operator]
    return lambda value: value is not None and passes(fold(value), wanted)


def like(column: Column, pattern: str, *, wanted: bool = True) -> ValueTest:
    """A pattern of SQL's LIKE: `%`, `_`, `[a-f]`, `[^a-f]`. Raises 400 for a column that holds no text."""
    if column.edm != "Edm.String":
        raise errors.bad_query(f"'{column.name}' holds no text, so it cannot be like something.")
    found = pattern_of(pattern)
    return lambda value: (value is not None and found.match(value) is not None) == wanted


def pattern_of(pattern: str) -> re.Pattern[str]:
    """SQL's wildcards as a regular expression."""
    out = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        end = pattern.find("]", at + 2) if letter == "[" else -1
        if end > 0:
            inner = pattern[at + 1 : end]
            negated = inner.startswith("^")
            members = re.escape(inner[negated:]).replace(r"\-", "-")
            out.append(f"[{'^' if negated else ''}{members}]")
            at = end
        else:
            out.append({"%": ".*", "_": "."}.get(letter) or re.escape(letter))
        at += 1
    try:
        return re.compile("".join(out) + r"\Z", re.IGNORECASE | re.DOTALL)
    except re.error:
        raise errors.bad_query(f"The pattern '{pattern}' is not valid.") from None


def _of_the_caller(organization: Organization, column: Column, operator: str) -> ValueTest:
    """Comparisons with who asks. Raises 400 for a column that holds no id."""
    if column.kind not in LOOKUPS | {Kind.GUID}:
        raise errors.bad_query(f"'{column.name}' holds no id, so it cannot be compared with that of the caller.")
    user = organization.reading_user
    ids: set[Any] = {user}
    if operator.endswith("businessid"):
        row = organization.store.get("systemuser", user)
        ids = {row.values.get("_businessunitid_value") if row else tenant.BUSINESS_UNIT}
    elif "teams" in operator:
        ids = set(organization.teams_of(user)) | ({user} if operator == "eq-useroruserteams" else set())
    wanted = _ID[operator]
    return lambda value: (value in ids) == wanted


def _of_time(organization: Organization, column: Column, operator: str, values: Sequence[str]) -> ValueTest:
    known = dates.PLAIN | dates.COUNTED | _FISCAL | {"on", "on-or-before", "on-or-after"}
    if operator not in known:
        raise errors.bad_query(f"The condition operator '{operator}' is unknown.")
    if column.kind is not Kind.DATETIME:
        raise errors.bad_query(f"The condition operator '{operator}' needs a date, which '{column.name}' is not.")
    if column.date_only and operator in dates.OF_THE_DAY:
        raise errors.bad_query(f"The condition operator '{operator}' needs a time, and '{column.name}' has only days.")
    now = datetime.fromtimestamp(organization.clock(), UTC)
    try:
        if operator in _FISCAL:
            return _fiscal(column, operator, [_whole(operator, value) for value in values])
        return _within(column, _window(operator, values, now))
    except (OverflowError, ValueError):
        raise errors.bad_query(f"The condition operator '{operator}' leads out of the calendar.") from None


def _window(operator: str, values: Sequence[str], now: datetime) -> dates.Window:
    if operator in dates.PLAIN:
        _count(operator, values, 0)
        return dates.plain(operator, now)
    _count(operator, values, 1)
    if operator in dates.COUNTED:
        return dates.counted(operator, _whole(operator, values[0]), now)
    start = _moment(values[0]).replace(hour=0, minute=0, second=0, microsecond=0)
    end = start + timedelta(days=1)
    return {"on": (start, end), "on-or-before": (None, end), "on-or-after": (start, None)}[operator]


def _fiscal(column: Column, operator: str, numbers: list[int]) -> ValueTest:
    if operator == "in-fiscal-year":
        (year,) = numbers
        return _within(column, dates.fiscal_year(year))
    if operator == "in-fiscal-period":
        (period,) = numbers
        first, last = (period - 1) * 3 + 1, period * 3
        return lambda value: value is not None and first <= int(value[5:7]) <= last
    period, year = numbers
    start, end = dates.fiscal_period(period, year)
    if operator == "in-or-before-fiscal-period-and-year":
        return _within(column, (None, end))
    return _within(column, (start, end if operator == "in-fiscal-period-and-year" else None))


def _within(column: Column, window: dates.Window) -> ValueTest:
    length = len("YYYY-MM-DD") if column.date_only else len("YYYY-MM-DDTHH:MM:SS")
    start, end = (moment.isoformat()[:length] if moment else None for moment in window)
    return lambda value: (
        value is not None and (start is None or value[:length] >= start) and (end is None or value[:length] < end)
    )


def _whole(operator: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise errors.bad_query(f"The condition operator '{operator}' takes a whole number, not '{value}'.")
    return int(value)


def _moment(value: str) -> datetime:
    try:
        return datetime.fromisoformat(literals.instant(value.strip().replace(" ", "T", 1)))
    except (TypeError, ValueError):
        raise errors.bad_query(f"'{value}' is not a date.") from None


def from_text(column: Column, value: str) -> Any:
    """The value of a condition's text, as the column stores it. Raises 400 for a text without a value."""
    try:
        if column.kind is Kind.DATETIME:
            text = value.strip().replace(" ", "T", 1)
            return literals.instant(text)[:10] if column.date_only else literals.instant(text)
        if column.kind is Kind.BOOLEAN:
            return {"1": True, "true": True, "0": False, "false": False}[value.strip().lower()]
        if column.kind in LOOKUPS | {Kind.GUID}:
            return literals.guid(value.strip())
        if column.edm == "Edm.String":
            return literals.text(value)
        return float(value) if any(mark in value for mark in ".eE") else int(value)
    except (KeyError, TypeError, ValueError):
        raise errors.bad_query(f"'{value}' is not a value of type '{column.edm}', as '{column.name}' has.") from None

"""JSON values into stored values, by column type; and the limits a value has to keep.

A wrong JSON type is the OData layer's business (`0x80048d19`), a value beyond its limits is the platform's: two passes,
in this order, because that is the order in which the service complains.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from typing import Any

from simulator import errors
from simulator.schema import Column, Kind, Table
from simulator.switches import Switches

DAY = re.compile(r"^\d{4}-\d{2}-\d{2}$")
TIME = re.compile(r"^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2}(?::\d{2}(?:\.\d{1,7})?)?)(Z|[+-]\d{2}:\d{2})?)?$")
GUID = re.compile(r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$")
EARLIEST = datetime(1753, 1, 1, tzinfo=UTC)


def guid(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    text = value.strip("{}")
    if not GUID.match(text):
        raise ValueError(value)
    return text.lower()


@lru_cache(maxsize=4096)
def instant(value: Any) -> str:
    """A time as the service gives it back: UTC, whole seconds. A day alone is its midnight in UTC."""
    return _instant(value, zone_needed=False)


@lru_cache(maxsize=4096)
def zoned_instant(value: Any) -> str:
    """The same of a time that has to name its zone."""
    return _instant(value, zone_needed=True)


def _instant(value: Any, *, zone_needed: bool) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    found = TIME.match(value)
    if found is None or (zone_needed and found[2] and not found[3]):
        raise ValueError(value)
    moment = datetime.fromisoformat(f"{found[1]}T{_six_digits(found[2])}{found[3] or 'Z'}" if found[2] else found[1])
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(value) from None
    if moment < EARLIEST:
        raise ValueError(value)
    return f"{moment.isoformat()[:19]}Z"


def _six_digits(time: str) -> str:
    """The service takes a ten-millionth of a second, Python a millionth."""
    return time[:15]


def wall_clock(value: Any, *, offset: str) -> str:
    """A time that belongs to no time zone. `offset` says what an offset other than zero does: refuse, keep, convert."""
    stored = zoned_instant(value)
    zone = (TIME.match(value) or (None,) * 4)[3]
    if zone in {None, "Z", "+00:00", "-00:00"} or offset == "convert":
        return stored
    if offset == "refuse":
        raise ValueError(value)
    return instant(value[:-6] + "Z")


def day(value: Any) -> str:
    """A day, as it is written. A time behind it is not cut off: the service refuses it."""
    if not isinstance(value, str):
        raise TypeError(value)
    if not DAY.match(value) or (found := date.fromisoformat(value)) < EARLIEST.date():
        raise ValueError(value)
    return found.isoformat()


def text(value: Any) -> str | None:
    """Empty text and null are the same to the service."""
    if not isinstance(value, str):
        raise TypeError(value)
    if not value.isascii():
        value.encode()  # JSON can spell half a character, which no answer could carry
    return value or None


def length(value: str) -> int:
    """What a text limit counts: UTF-16 code units, so that an emoji counts twice."""
    return len(value) if value.isascii() else len(value.encode("utf-16-le", "surrogatepass")) // 2


def whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value


def number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    if not math.isfinite(value):
        raise ValueError(value)
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


# Times are left out: what one may look like depends on its column's behavior.
CONVERT: dict[Kind, Callable[[Any], Any]] = {
    Kind.STRING: text,
    Kind.MEMO: text,
    Kind.ENTITY_NAME: text,
    Kind.VIRTUAL: text,
    Kind.INTEGER: whole,
    Kind.BIGINT: whole,
    Kind.PICKLIST: whole,
    Kind.STATE: whole,
    Kind.STATUS: whole,
    Kind.DECIMAL: number,
    Kind.MONEY: number,
    Kind.DOUBLE: number,
    Kind.BOOLEAN: boolean,
    Kind.GUID: guid,
    Kind.LOOKUP: guid,
    Kind.OWNER: guid,
}


def converter(column: Column, switches: Switches) -> Callable[[Any], Any]:
    """From a JSON value other than null to the stored form. What it gives raises TypeError or ValueError."""
    if column.kind is not Kind.DATETIME:
        return CONVERT[column.kind]
    if column.behavior == "DateOnly":
        return day
    if column.behavior == "TimeZoneIndependent":
        return partial(wall_clock, offset=switches.time_zone_independent_offset)
    return zoned_instant if switches.time_without_zone == "refuse" else instant


def convert(table: Table, column: Column, value: Any, switches: Switches) -> Any:
    """The stored form. Raises the OData layer's refusal for a value of the wrong type."""
    if value is None:
        return None
    try:
        return converter(column, switches)(value)
    except (TypeError, ValueError):
        raise wrong_type(table, column, value) from None


def wrong_type(table: Table, column: Column, value: Any) -> errors.Refusal:
    return errors.literal(table.entity_set, value, column.edm)


def checker(table: Table, column: Column) -> Callable[[Any], None] | None:
    """What raises the platform's refusal for a text too long, a number out of range, or a value that is not an option.

    None for a column without limits.
    """
    if column.max_length:
        return _text_checker(table, column)
    if column.kind is Kind.PICKLIST:
        return _option_checker(table, column)
    if column.kind in RANGED and (column.minimum is not None or column.maximum is not None):
        return _range_checker(table, column)
    return None


def _text_checker(table: Table, column: Column) -> Callable[[Any], None]:
    most = column.max_length
    surely = most // 2  # so many characters are never more than `most` units

    def check(value: Any) -> None:
        if len(value) > surely and length(value) > most:
            raise errors.too_long(table.logical_name, column.name, most)

    return check


def _option_checker(table: Table, column: Column) -> Callable[[Any], None]:
    values = column.values

    def check(value: Any) -> None:
        if value not in values:
            accepted = ",".join(str(option.value) for option in column.options)
            raise errors.not_an_option(table.logical_name, column.name, value, accepted)

    return check


def _range_checker(table: Table, column: Column) -> Callable[[Any], None]:
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    refuse = errors.integer_out_of_range if column.kind is Kind.INTEGER else errors.decimal_out_of_range

    def check(value: Any) -> None:
        if value < low or value > high:
            raise refuse(table.logical_name, column.name, value)

    return check


RANGED = frozenset({Kind.INTEGER, Kind.BIGINT, Kind.DECIMAL, Kind.MONEY, Kind.DOUBLE})

"""JSON values into stored values, by column type; and the limits a value has to keep.

A wrong JSON type is the OData layer's business (`0x80048d19`), a value beyond its limits is the platform's: two passes,
in this order, because that is the order in which the service complains.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from simulator import errors
from simulator.schema import Column, Kind, Table

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
    """A time as the service gives it back: UTC, whole seconds."""
    if not isinstance(value, str):
        raise TypeError(value)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(value) from None
    if moment < EARLIEST:
        raise ValueError(value)
    return f"{moment.isoformat()[:19]}Z"


def day(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return date.fromisoformat(value[:10]).isoformat()


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # JSON can spell half a character, which no answer could carry
    return value


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
    Kind.DATETIME: instant,
    Kind.GUID: guid,
    Kind.LOOKUP: guid,
    Kind.OWNER: guid,
}


def convert(table: Table, column: Column, value: Any) -> Any:
    """The stored form. Raises the OData layer's refusal for a value of the wrong type."""
    if value is None:
        return None
    try:
        return day(value) if column.date_only else CONVERT[column.kind](value)
    except (TypeError, ValueError):
        raise errors.literal(table.entity_set, value, column.edm) from None


def check_limits(table: Table, column: Column, value: Any) -> None:
    """Raises the platform's refusal for a text too long, a number out of range, or a value that is no option."""
    if value is None:
        return
    if column.max_length:
        if len(value) > column.max_length:
            raise errors.too_long(table.logical_name, column.name, column.max_length)
    elif column.kind is Kind.PICKLIST:
        if value not in column.values:
            accepted = ",".join(str(option.value) for option in column.options)
            raise errors.not_an_option(table.logical_name, column.name, value, accepted)
    elif column.kind in RANGED:
        low, high = column.minimum, column.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            refuse = errors.integer_out_of_range if column.kind is Kind.INTEGER else errors.decimal_out_of_range
            raise refuse(table.logical_name, column.name, value)


RANGED = frozenset({Kind.INTEGER, Kind.BIGINT, Kind.DECIMAL, Kind.MONEY, Kind.DOUBLE})

"""Records to and from the plain dicts that fastavro reads and writes.

A converter is built once per class from its type hints, so that nothing is looked up per record. Enums and times need
no conversion on the way out: a StrEnum is its symbol, and fastavro takes aware datetimes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")
Convert = Callable[[Any], Any]
FieldConverters = tuple[tuple[str, Convert | None], ...]

_OUTWARD: dict[Any, FieldConverters] = {}
_INWARD: dict[Any, FieldConverters] = {}


def to_plain(record: Any) -> dict[str, Any]:
    """The record as nested dicts, lists and scalars, in the order of its schema."""
    return {
        name: convert(getattr(record, name)) if convert else getattr(record, name)
        for name, convert in _outward(type(record))
    }


def from_plain(cls: type[R], plain: dict[str, Any]) -> R:
    """A record from what fastavro decoded with that record's schema. The schema has checked all types but times and
    enums: for these it raises TypeError and ValueError."""
    return cls(**{name: convert(plain[name]) if convert else plain[name] for name, convert in _inward(cls)})


def _outward(cls: Any) -> FieldConverters:
    if cls not in _OUTWARD:
        _OUTWARD[cls] = tuple((name, _to(hint)) for name, hint in _hints(cls))
    return _OUTWARD[cls]


def _inward(cls: Any) -> FieldConverters:
    if cls not in _INWARD:
        _INWARD[cls] = tuple((name, _from(hint)) for name, hint in _hints(cls))
    return _INWARD[cls]


def _hints(cls: Any) -> list[tuple[str, Any]]:
    hints = get_type_hints(cls)
    return [(f.name, hints[f.name]) for f in fields(cls)]


def _to(hint: Any) -> Convert | None:
    kind, inner = _shape(hint)
    if kind == "record":
        return to_plain
    convert = _to(inner) if kind in ("optional", "tuple") else None
    if convert is None:
        return None
    return _optional(convert) if kind == "optional" else _listed(convert)


def _from(hint: Any) -> Convert | None:
    kind, inner = _shape(hint)
    match kind:
        case "record":
            return lambda plain: from_plain(inner, plain)
        case "enum":
            return inner  # type: ignore[no-any-return]
        case "time":
            return _aware
        case "tuple":
            return _tupled(convert) if (convert := _from(inner)) else tuple
        case "optional" if convert := _from(inner):
            return _optional(convert)
        case _:
            return None


def _aware(value: Any) -> Any:
    """Raises TypeError if the writer's schema lacks the logical type, or means local time."""
    if isinstance(value, datetime) and value.tzinfo:
        return value
    raise TypeError("not a time with a zone")


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _listed(convert: Convert) -> Convert:
    return lambda values: [convert(value) for value in values]


def _tupled(convert: Convert) -> Convert:
    return lambda values: tuple(map(convert, values))


def _shape(hint: Any) -> tuple[str, Any]:
    if get_origin(hint) is tuple:
        return "tuple", get_args(hint)[0]
    if isinstance(hint, UnionType) and len(inner := [a for a in get_args(hint) if a is not type(None)]) == 1:
        return "optional", inner[0]
    if isinstance(hint, type) and is_dataclass(hint):
        return "record", hint
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "enum", hint
    if hint is datetime:
        return "time", hint
    return "scalar", hint

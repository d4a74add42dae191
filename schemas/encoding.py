"""Records straight to Avro's bytes: the same as fastavro writes, in less than half the time. Pure.

fastavro tries a value against every branch of a union, and wants records as dicts; plans are mostly maps of unions.
Here one function per node of the schema is made once, and a branch is found by the value's type. A property test holds
this to fastavro byte by byte. Decoding stays with fastavro: what arrives may be hostile, what is written is ours.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any

Encode = Callable[[Any], bytes]
Write = Callable[[Any, Callable[[bytes], None]], None]
"""Appends the bytes of a value, piece by piece."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT64 = 1 << 63
_DOUBLE = struct.Struct("<d")
_TYPES: Mapping[str, type] = {"null": type(None), "boolean": bool, "long": int, "double": float, "string": str}
"""What branches of a union of scalars are told apart by."""


def encoder(schema: Any) -> Encode:
    """For a parsed schema of a record. TypeError if it has types that no record of ours uses.

    The encoder raises TypeError, ValueError, KeyError or AttributeError for a value that does not fit.
    """
    write = _node(schema)

    def encode(record: Any) -> bytes:
        parts: list[bytes] = []
        write(record, parts.append)
        return b"".join(parts)

    return encode


def _node(schema: Any) -> Write:
    if isinstance(schema, list):
        return _union(schema)
    kind = schema["type"] if isinstance(schema, dict) else schema
    match kind:
        case "record":
            return _record(schema)
        case "enum":
            return _enum(schema["symbols"])
        case "array":
            return _array(_node(schema["items"]))
        case "map":
            return _map(_node(schema["values"]))
        case "long" if isinstance(schema, dict) and schema.get("logicalType") == "timestamp-millis":
            return _write_time
        case _ if kind in _SCALARS:
            return _SCALARS[kind]
        case _:
            raise TypeError(f"records have no {kind}")


def _record(schema: Any) -> Write:
    fields = schema["fields"]
    writers = tuple(_node(field["type"]) for field in fields)
    held = attrgetter(*(field["name"] for field in fields), "__class__")  # two names at least, so that it is a tuple

    def write(value: Any, append: Callable[[bytes], None]) -> None:
        for write_field, part in zip(writers, held(value), strict=False):
            write_field(part, append)

    return write


def _enum(symbols: list[str]) -> Write:
    places = {symbol: _zigzag(place) for place, symbol in enumerate(symbols)}
    return lambda value, append: append(places[value])


def _array(item: Write) -> Write:
    def write(values: Any, append: Callable[[bytes], None]) -> None:
        if values:
            append(_zigzag(len(values)))
            for value in values:
                item(value, append)
        append(b"\x00")

    return write


def _map(write_value: Write) -> Write:
    def write(values: Any, append: Callable[[bytes], None]) -> None:
        if values:
            append(_zigzag(len(values)))
            for key, value in values.items():
                append(_key(key))
                write_value(value, append)
        append(b"\x00")

    return write


def _union(branches: list[Any]) -> Write:
    if len(branches) == 2 and branches[0] == "null":
        return _optional(_node(branches[1]))
    of_type = {_TYPES[branch]: (_zigzag(place), _SCALARS[branch]) for place, branch in enumerate(branches)}

    def write(value: Any, append: Callable[[bytes], None]) -> None:
        place, write_value = of_type[type(value)]
        append(place)
        write_value(value, append)

    return write


def _optional(write_value: Write) -> Write:
    def write(value: Any, append: Callable[[bytes], None]) -> None:
        if value is None:
            append(b"\x00")
        else:
            append(b"\x02")
            write_value(value, append)

    return write


def _write_string(value: str, append: Callable[[bytes], None]) -> None:
    held = value.encode()
    size = len(held)
    append(_LENGTHS[size] if size < _MANY else _zigzag(size))
    append(held)


def _write_long(value: int, append: Callable[[bytes], None]) -> None:
    if 0 <= value < _MANY:
        append(_LENGTHS[value])
    elif -_INT64 <= value < _INT64:
        append(_zigzag(value))
    else:
        raise ValueError("an integer of more than 64 bits")


def _write_time(value: datetime, append: Callable[[bytes], None]) -> None:
    append(_zigzag((value - _EPOCH) // _MILLISECOND))


def _zigzag(value: int) -> bytes:
    """Variable length, seven bits to a byte, the lowest first; the sign is the lowest bit."""
    rest, found = value << 1 ^ value >> 63, bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


_MANY = 1024
_LENGTHS = tuple(map(_zigzag, range(_MANY)))


@lru_cache(4_096)  # names of columns: the same in every plan
def _key(key: str) -> bytes:
    held = key.encode()
    return _zigzag(len(held)) + held


_SCALARS: Mapping[str, Write] = {
    "null": lambda _value, _append: None,
    "boolean": lambda value, append: append(b"\x01" if value else b"\x00"),
    "int": _write_long,
    "long": _write_long,
    "double": lambda value, append: append(_DOUBLE.pack(value)),
    "string": _write_string,
}

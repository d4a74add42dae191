"""Which schemas a record may be read with. No I/O.

A reader follows the schema that the record was written with, and everybody who may register schemas can choose that. A
schema that refers to itself lets a small record nest until the process dies. One whose lists hold items of no bytes
lets a few bytes stand for more items than can ever be read. Ours are neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

DEEPEST = 64
"""Levels of types within types, JSON around them not counted."""
_MOST_VALUES = 10_000
_MOST_VALUES_PER_BYTE = 64
_NO_BYTES = "null"


class Unbounded(ValueError):
    """Reading a record of this schema could take any time, or end the process. The text completes "a schema that …"."""


class _Size(NamedTuple):
    """Of one value of a type: how many values it holds within itself at most, lists aside; how many bytes at least."""

    values: int
    bytes: int


def check(schema: Any) -> None:
    """Raises Unbounded. `schema` as fastavro parses it: a named type is defined once, and then its full name."""
    if _Sizes().of(schema, 0).values > _MOST_VALUES:
        raise Unbounded(f"holds more than {_MOST_VALUES} values in one record")


class _Sizes:
    """Named types are measured once: names used again and again would multiply."""

    def __init__(self) -> None:
        self._named: dict[str, _Size | None] = {}

    def of(self, schema: Any, depth: int) -> _Size:
        if depth > DEEPEST:
            raise Unbounded(f"nests types more than {DEEPEST} deep")
        match schema:
            case list():
                sizes = [self.of(branch, depth + 1) for branch in schema] or [_Size(0, 0)]
                return _Size(1 + max(size.values for size in sizes), 1 + min(size.bytes for size in sizes))
            case {"type": "array" | "map" as kind}:
                return self._repeated(schema["items" if kind == "array" else "values"], depth)
            case {"type": "record" | "error", "name": str(name), "fields": list(fields)}:
                return self._record(name, fields, depth)
            case {"type": str() as kind, "name": str(name)}:  # fixed or enum
                self._named[name] = size = _Size(1, int(schema.get("size", 1)) if kind == "fixed" else 1)
                return size
            case {"type": inner}:
                return self.of(inner, depth + 1)
            case str():
                return self._by_name(schema)
        raise Unbounded("has a type of no known kind")

    def _repeated(self, items: Any, depth: int) -> _Size:
        item = self.of(items, depth + 1)
        if item.values > _MOST_VALUES_PER_BYTE * item.bytes:
            raise Unbounded("has a list or map whose items take hardly any bytes")
        return _Size(1, 1)

    def _record(self, name: str, fields: list[Mapping[str, Any]], depth: int) -> _Size:
        self._named[name] = None
        sizes = [self.of(field["type"], depth + 1) for field in fields]
        size = _Size(1 + sum(size.values for size in sizes), sum(size.bytes for size in sizes))
        self._named[name] = size
        return size

    def _by_name(self, name: str) -> _Size:
        if name not in self._named:
            return _Size(1, 0 if name == _NO_BYTES else 1)
        if (size := self._named[name]) is None:
            raise Unbounded("refers to itself")
        return size

"""The rows of a CRM as a value: versions that only rise, and change sets that land whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.records import Value


class Operation(Protocol):
    """A PATCH, as a change set holds it."""

    @property
    def path(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What one operation did to a row; `before` is None if it created it, with `version_before` 0."""

    path: str
    version_before: int
    before: Mapping[str, Value] | None
    after: Mapping[str, Value]
    version: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which operation of a change set failed, and the status that it got."""

    index: int
    status: int


@dataclass
class Rows:
    rows: dict[str, tuple[int, dict[str, Value]]] = field(default_factory=dict)
    version: int = 1000

    def put(self, path: str, columns: Mapping[str, Value]) -> str:
        self.version += 1
        self.rows[path] = (self.version, {**self.rows.get(path, (0, {}))[1], **columns})
        return etag(self.version)

    def carry_out(self, operations: Iterable[Operation]) -> Sequence[Change] | Refusal:
        """All or nothing."""
        before = dict(self.rows)
        changes: list[Change] = []
        for index, operation in enumerate(operations):
            status = self.status(operation.path, operation.headers)
            if status >= 400:
                self.rows = before
                return Refusal(index, status)
            held = self.rows.get(operation.path)
            self.put(operation.path, operation.body or {})
            version, after = self.rows[operation.path]
            version_before, row_before = (0, None) if held is None else held
            changes.append(Change(operation.path, version_before, row_before, after, version))
        return changes

    def status(self, path: str, headers: Mapping[str, str]) -> int:
        """As the service answers to these preconditions."""
        row = self.rows.get(path)
        if headers.get("If-None-Match") == "*":
            return 412 if row else 204
        if "If-Match" not in headers:
            return 204  # created or overwritten, whatever was there
        if row is None:
            return 404
        return 204 if headers["If-Match"] in ("*", etag(row[0])) else 412


def etag(version: int) -> str:
    return f'W/"{version}"'

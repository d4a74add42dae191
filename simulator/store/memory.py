"""The rows. A row never changes: an update puts a new one in its place, so undo and history keep references."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]


class Row:
    """One version of one record.

    `values` by wire name (lookups as `_name_value`, ids in lower case, times as `YYYY-MM-DDTHH:MM:SSZ`); `targets` says
    which table each filled lookup points to; `version` is the organization-wide row version.
    """

    __slots__ = ("targets", "values", "version")

    def __init__(self, values: Values, targets: dict[str, str], version: int) -> None:
        self.values = values
        self.targets = targets
        self.version = version

    @property
    def etag(self) -> str:
        return f'W/"{self.version}"'


Change = tuple[str, str, Row | None, Row | None]
Index = dict[Any, dict[str, None]]


@dataclass(frozen=True)
class Snapshot:
    """All rows at one moment. Small: it shares every row with the store."""

    rows: Mapping[str, Mapping[str, Row]]
    version: int


def fold(value: Any) -> Any:
    """What equality compares: text without case, as the service's database does."""
    return value.lower() if isinstance(value, str) else value


@dataclass
class Store:
    """Tables of rows with an undo journal. `on_commit` hears the changes of every finished transaction."""

    on_commit: Callable[[list[Change]], None] | None = None
    version: int = 1_000_000
    _rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    _indexes: dict[str, dict[str, Index]] = field(default_factory=dict)
    _journal: list[Change] = field(default_factory=list)

    def table(self, name: str) -> dict[str, Row]:
        rows = self._rows.get(name)
        if rows is None:
            rows = self._rows[name] = {}
        return rows

    def get(self, table: str, record_id: str) -> Row | None:
        rows = self._rows.get(table)
        return rows.get(record_id) if rows else None

    def next_version(self) -> int:
        self.version += 1
        return self.version

    def put(self, table: str, record_id: str, row: Row) -> None:
        """Insert or replace."""
        rows = self.table(table)
        before = rows.get(record_id)
        rows[record_id] = row
        self._journal.append((table, record_id, before, row))
        if table in self._indexes:
            self._reindex(table, record_id, before, row)

    def remove(self, table: str, record_id: str) -> None:
        before = self.table(table).pop(record_id, None)
        self._journal.append((table, record_id, before, None))
        if table in self._indexes:
            self._reindex(table, record_id, before, None)

    def mark(self) -> int:
        """A point to roll back to."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo everything since the mark, newest first."""
        journal = self._journal
        while len(journal) > mark:
            table, record_id, before, after = journal.pop()
            rows = self.table(table)
            if before is None:
                rows.pop(record_id, None)
            else:
                rows[record_id] = before
            if table in self._indexes:
                self._reindex(table, record_id, after, before)

    def commit(self) -> None:
        """End the transaction: nothing before this point can be undone any more."""
        if self._journal:
            if self.on_commit is not None:
                self.on_commit(self._journal)
            self._journal = []

    def matching(self, table: str, column: str, value: Any) -> Iterable[str]:
        """Ids of the rows whose column has this value, from an index that is made at the first question."""
        indexes = self._indexes.setdefault(table, {})
        index = indexes.get(column)
        if index is None:
            index = indexes[column] = {}
            for record_id, row in self.table(table).items():
                index.setdefault(fold(row.values.get(column)), {})[record_id] = None
        return index.get(fold(value), ())

    def _reindex(self, table: str, record_id: str, before: Row | None, after: Row | None) -> None:
        for column, index in self._indexes[table].items():
            old = fold(before.values.get(column)) if before else None
            new = fold(after.values.get(column)) if after else None
            if before is not None and (after is None or old != new):
                ids = index.get(old)
                if ids is not None:
                    ids.pop(record_id, None)
                    if not ids:
                        del index[old]
            if after is not None and (before is None or old != new):
                index.setdefault(new, {})[record_id] = None

    def snapshot(self) -> Snapshot:
        return Snapshot({table: dict(rows) for table, rows in self._rows.items()}, self.version)

    def restore(self, snapshot: Snapshot) -> None:
        """Back to a snapshot. The version counter never goes back, so no etag is ever given twice."""
        self._rows = {table: dict(rows) for table, rows in snapshot.rows.items()}
        self._indexes = {}
        self._journal = []
        self.version = max(self.version, snapshot.version)

"""The rows. A row never changes: an update puts a new one in its place, so undo and history keep references."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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

    @property
    def filed(self) -> bool:
        """Whether a file holds this very version, so that the memory need not."""
        return False


Change = tuple[str, str, Row | None, Row | None]
# One id is held as it is: most values of a large index belong to one row, and a dictionary for each would cost more
# than the row.
Index = dict[Any, str | dict[str, None]]


class Columns(Protocol):
    """A file that can read one column of many rows faster than row by row."""

    def column(self, table: str, column: str) -> Iterable[tuple[str, Any]]:
        """Id and value of every row in the file, in the order of creation."""


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
    """Tables of rows with an undo journal. `on_commit` hears the changes of every finished transaction.

    `columns` is the file behind the rows, where there is one.
    """

    on_commit: Callable[[list[Change]], None] | None = None
    columns: Columns | None = None
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
        rows = self._rows.get(table)
        if rows is None:
            rows = self._rows[table] = {}
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

    def hold(self, table: str, record_id: str, row: Row) -> None:
        """Exchange a row for another object with the same version and the same values."""
        self._rows[table][record_id] = row

    def matching(self, table: str, column: str, value: Any) -> Iterable[str]:
        """Ids of the rows whose column has this value, from an index that is made at the first question."""
        indexes = self._indexes.setdefault(table, {})
        index = indexes.get(column)
        if index is None:
            index = indexes[column] = self._build_index(table, column)
        found = index.get(fold(value), ())
        return (found,) if isinstance(found, str) else found

    def _build_index(self, table: str, column: str) -> Index:
        index: Index = {}
        rows = self.table(table)
        if self.columns is not None:
            for record_id, value in self.columns.column(table, column):
                row = rows.get(record_id)
                if row is not None and row.filed:
                    _enter(index, fold(value), record_id)
        for record_id, row in rows.items():
            if self.columns is None or not row.filed:
                _enter(index, fold(row.values.get(column)), record_id)
        return index

    def _reindex(self, table: str, record_id: str, before: Row | None, after: Row | None) -> None:
        for column, index in self._indexes[table].items():
            old = before.values.get(column) if before is not None else None
            new = after.values.get(column) if after is not None else None
            if before is not None and after is not None and (old is new or fold(old) == fold(new)):
                continue
            if before is not None:
                _leave(index, fold(old), record_id)
            if after is not None:
                _enter(index, fold(new), record_id)

    def snapshot(self) -> Snapshot:
        return Snapshot({table: dict(rows) for table, rows in self._rows.items()}, self.version)

    def restore(self, snapshot: Snapshot) -> None:
        """Back to a snapshot. The version counter never goes back, so no etag is ever given twice."""
        changes = list(self._differences(snapshot.rows)) if self.on_commit is not None else []
        # A row that did not change stays the object it is: of each version that a file holds there is one (S3).
        held = self._rows
        self._rows = {table: _unchanged(held.get(table, {}), rows) for table, rows in snapshot.rows.items()}
        self._indexes = {}
        self._journal = []
        self.version = max(self.version, snapshot.version)
        if changes and self.on_commit is not None:
            self.on_commit(changes)

    def _differences(self, wanted: Mapping[str, Mapping[str, Row]]) -> Iterable[Change]:
        """What has to change so that the tables hold these rows; two rows of one version are the same."""
        for table in dict.fromkeys([*self._rows, *wanted]):
            held, rows = self._rows.get(table, {}), wanted.get(table, {})
            for record_id, row in held.items():
                if record_id not in rows:
                    yield table, record_id, row, None
            for record_id, row in rows.items():
                before = held.get(record_id)
                if before is None or before.version != row.version:
                    yield table, record_id, before, row


def _unchanged(held: Mapping[str, Row], wanted: Mapping[str, Row]) -> dict[str, Row]:
    """The wanted rows, each of which is the held one where that has the same version."""
    rows = dict(wanted)
    for record_id, row in wanted.items():
        now = held.get(record_id)
        if now is not None and now.version == row.version:
            rows[record_id] = now
    return rows


def _enter(index: Index, value: Any, record_id: str) -> None:
    held = index.get(value)
    if held is None:
        index[value] = record_id
    elif isinstance(held, str):
        index[value] = {held: None, record_id: None}
    else:
        held[record_id] = None


def _leave(index: Index, value: Any, record_id: str) -> None:
    held = index.get(value)
    if held == record_id:
        del index[value]
    elif isinstance(held, dict):
        held.pop(record_id, None)
        if not held:
            del index[value]

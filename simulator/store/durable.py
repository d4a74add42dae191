"""Rows that outlive the process: snapshots as JSON, and an SQLite file that follows every transaction.

S1 A start reads where the rows are, not the rows: a row's values are fetched when somebody looks at them.
S2 Memory holds the values of the newest `HELD` rows that were written or looked at; the others wait in the file.
S3 A row version that the file is about to forget, and that a snapshot or the log may still show, is fetched before.

The values of a row are a JSON list; their names are written once for all rows that have the same columns filled.
"""

import gc
import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simulator.errors import not_kept
from simulator.oplog import Entry, Where
from simulator.store.memory import Change, Row, Snapshot, Values

HELD = 100_000
_AHEAD = 256
_MOST_SHARED = 20_000
_TIMES = frozenset({"createdon", "modifiedon"})
_FORMAT = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS rows (place INTEGER PRIMARY KEY, logical_name TEXT, id TEXT, version INTEGER);
CREATE TABLE IF NOT EXISTS bodies (place INTEGER PRIMARY KEY, shape INTEGER, body TEXT);
CREATE TABLE IF NOT EXISTS shapes (shape INTEGER PRIMARY KEY, content TEXT);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY, at REAL, request INTEGER, change_set TEXT, position INTEGER, user TEXT, actor TEXT,
    operation TEXT, logical_name TEXT, id TEXT, outcome TEXT, status INTEGER, code TEXT, precondition TEXT,
    answer TEXT, etag_before TEXT, etag_after TEXT, changes TEXT
);
CREATE INDEX IF NOT EXISTS log_by_id ON log (id);
CREATE TEMP TABLE spots (shape INTEGER PRIMARY KEY, path TEXT);
"""
_LOGGED = (
    "seq", "at", "request", "change_set", "position", "user", "actor", "operation", "table", "id", "outcome", "status",
    "code", "precondition", "answer", "etag_before", "etag_after", "changes",
)  # fmt: skip


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Plain data: table → id → [values, targets, version]."""
    rows = {
        table: {record_id: [row.values, row.targets, row.version] for record_id, row in held.items()}
        for table, held in snapshot.rows.items()
    }
    return {"version": snapshot.version, "rows": rows}


def from_json(plain: dict[str, Any]) -> Snapshot:
    """Raises KeyError, TypeError or ValueError for data that is not a snapshot."""
    if not isinstance(plain["rows"], dict):
        raise TypeError("a snapshot holds rows by table")
    rows = {
        str(table): {record_id: Row(values, targets, version) for record_id, (values, targets, version) in held.items()}
        for table, held in plain["rows"].items()
    }
    return Snapshot(rows, int(plain["version"]))


class Stored(Row):
    """A row whose values are in the file, and in memory only while they are needed.

    `values` and `targets` are not set until somebody asks for them; Python then comes to `__getattr__`.
    """

    __slots__ = ("_file", "place")

    def __init__(self, file: "SqliteFile", place: int, version: int) -> None:
        self._file: SqliteFile | None = file
        self.place = place
        self.version = version

    def __getattr__(self, name: str) -> Any:
        if name not in {"values", "targets"} or self._file is None:
            raise AttributeError(name)
        self.values, self.targets = self._file.fetch(self.place)
        self._file.held(self)
        return getattr(self, name)

    @property
    def filed(self) -> bool:
        return self._file is not None

    def let_go(self) -> None:
        """Forget the values, unless they are nowhere else."""
        if self._file is not None:
            del self.values, self.targets

    def keep(self) -> None:
        """Hold the values from now on: the file will not have them any more."""
        _ = self.values
        self._file = None


class _Shape:
    """The columns of a row: all names in order, which of them are filled, and where the lookups lead."""

    def __init__(self, number: int, names: tuple[str, ...], filled: tuple[str, ...], targets: dict[str, str]) -> None:
        self.number = number
        self.empty: Values = dict.fromkeys(names)
        self.filled = filled
        self.targets = targets
        self.repeated = [name for name in filled if name in targets or name in _TIMES]

    def values(self, body: str, shared: dict[Any, Any]) -> Values:
        """The row's values. What many rows have in common, users and times, is one object for all of them."""
        values = self.empty.copy()
        values.update(zip(self.filled, json.loads(body), strict=True))
        for name in self.repeated:
            values[name] = shared.setdefault(values[name], values[name])
        return values


class WrongFormat(ValueError):
    """The file was written by another version of the simulator."""


class SqliteFile:
    """One file with the rows and the operation log. Written in the transaction's own order.

    `most_held` is how many rows keep their values in memory (S2).
    """

    def __init__(self, path: Path, most_held: int = HELD) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._check_format(path)
            # The answer to a client waits for the file system only at a checkpoint: this is a test double, not a bank.
            self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)
            self._connection.execute(f"PRAGMA user_version={_FORMAT}")
        except BaseException:
            self._connection.close()
            raise
        self._shapes: dict[int, _Shape] = {}
        self._known: dict[tuple[Any, ...], int] = {}
        for number, content in self._connection.execute("SELECT shape, content FROM shapes"):
            names, filled, targets = json.loads(content)
            self._remember(_Shape(number, tuple(names), tuple(filled), dict(targets)), tuple(names))
        self._places = self._one("SELECT max(place) FROM rows") or 0
        self._held: deque[Stored] = deque()
        self._most_held = most_held
        self._ahead: dict[int, tuple[int, str]] = {}
        self._fetched = 0
        self._shared: dict[Any, Any] = {}

    def _check_format(self, path: Path) -> None:
        found = self._one("PRAGMA user_version")
        tables = self._one("SELECT count(*) FROM sqlite_master")
        if tables and found != _FORMAT:
            raise WrongFormat(f"{path} is not a file of this version of the simulator; delete it or name another one")

    def _one(self, query: str) -> int:
        row = self._connection.execute(query).fetchone()
        return int(row[0] or 0) if row else 0

    def _remember(self, shape: _Shape, names: tuple[str, ...]) -> None:
        self._shapes[shape.number] = shape
        self._known[names, shape.filled, tuple(shape.targets.items())] = shape.number

    def load(self) -> Snapshot:
        """Where every row is (S1); empty for a new file."""
        rows: dict[str, dict[str, Row]] = {}
        collecting = gc.isenabled()
        gc.disable()  # a million new objects and no garbage: each collection would look at all of them
        try:
            for table, record_id, place, version in self._connection.execute(
                "SELECT logical_name, id, place, version FROM rows ORDER BY place"
            ):
                held = rows.get(table)
                if held is None:
                    held = rows[table] = {}
                held[record_id] = Stored(self, place, version)
        finally:
            if collecting:
                gc.enable()
        return Snapshot(rows, self.mark("version"))

    def mark(self, name: str) -> int:
        """The highest number of its kind that was ever given: `version`, `request`, `log`."""
        row = self._connection.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def fetch(self, place: int) -> tuple[Values, dict[str, str]]:
        """Values and targets of the row at a place. A reader in order gets the next rows with it."""
        found = self._ahead.get(place)
        if found is None:
            count = _AHEAD if self._fetched < place <= self._fetched + _AHEAD else 1
            self._ahead = {
                at: (shape, body)
                for at, shape, body in self._connection.execute(
                    "SELECT place, shape, body FROM bodies WHERE place >= ? ORDER BY place LIMIT ?", (place, count)
                )
            }
            found = self._ahead[place]
        self._fetched = place
        shape = self._shapes[found[0]]
        if len(self._shared) > _MOST_SHARED:
            self._shared.clear()
        return shape.values(found[1], self._shared), shape.targets

    def held(self, row: Stored) -> None:
        """A row's values came into memory; the oldest ones go when there are too many (S2)."""
        self._held.append(row)
        while len(self._held) > self._most_held:
            self._held.popleft().let_go()

    def column(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """Id and value of one column of every row of a table, read by SQLite itself."""
        paths = [
            (shape.number, f"$[{shape.filled.index(column)}]")
            for shape in self._shapes.values()
            if column in shape.filled
        ]
        self._connection.execute("DELETE FROM spots")
        self._connection.executemany("INSERT INTO spots VALUES (?, ?)", paths)
        yield from self._connection.execute(
            "SELECT rows.id, json_extract(bodies.body, spots.path) FROM rows JOIN bodies USING (place)"
            " LEFT JOIN spots USING (shape) WHERE rows.logical_name = ? ORDER BY rows.place",
            (table,),
        )

    def save(
        self, changes: list[Change], entries: Iterable[Entry], marks: dict[str, int], log_limit: int
    ) -> list[tuple[str, str, Stored]]:
        """One transaction's changes, and the log entries made since the last call.

        Returns the rows as they can be held from now on, by table and id. Raises a Refusal if the disk takes nothing:
        then the file is as it was.
        """
        first_and_last = _collapsed(changes)
        for before, _ in first_and_last.values():
            if isinstance(before, Stored) and before.filed:
                before.keep()
        self._ahead = {}
        stored: list[tuple[str, str, Stored]] = []
        shapes = len(self._shapes)
        cursor = self._connection.cursor()
        cursor.execute("BEGIN")
        try:
            for (table, record_id), (before, after) in first_and_last.items():
                place = before.place if isinstance(before, Stored) else 0
                if after is None:
                    cursor.execute("DELETE FROM rows WHERE place = ?", (place,))
                    cursor.execute("DELETE FROM bodies WHERE place = ?", (place,))
                else:
                    stored.append((table, record_id, self._write(cursor, (table, record_id), place, after)))
            cursor.executemany(
                f"INSERT OR REPLACE INTO log VALUES ({', '.join('?' * len(_LOGGED))})",  # noqa: S608 - only marks
                map(_logged, entries),
            )
            cursor.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", list(marks.items()))
            cursor.execute("DELETE FROM log WHERE seq <= ?", (marks["log"] - log_limit,))
            cursor.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:  # without space SQLite may have rolled back by itself
                cursor.execute("ROLLBACK")
            self._forget_shapes(shapes)
            if isinstance(error, sqlite3.OperationalError):
                raise not_kept(str(self._path), str(error)) from None
            raise
        return stored

    def _forget_shapes(self, kept: int) -> None:
        """Those that the file has lost with a transaction: all but the first so many."""
        self._shapes = {number: shape for number, shape in self._shapes.items() if number <= kept}
        self._known = {columns: number for columns, number in self._known.items() if number <= kept}

    def _write(self, cursor: sqlite3.Cursor, key: tuple[str, str], place: int, row: Row) -> Stored:
        if not place:
            self._places += 1
            place = self._places
        values, targets = row.values, row.targets
        filled = tuple(name for name, value in values.items() if value is not None)
        shape = self._shape(cursor, tuple(values), filled, targets)
        body = json.dumps([values[name] for name in filled], ensure_ascii=False, separators=(",", ":"))
        cursor.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", (place, *key, row.version))
        cursor.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?, ?)", (place, shape, body))
        stored = Stored(self, place, row.version)
        stored.values, stored.targets = values, targets
        self.held(stored)
        return stored

    def _shape(
        self, cursor: sqlite3.Cursor, names: tuple[str, ...], filled: tuple[str, ...], targets: dict[str, str]
    ) -> int:
        number = self._known.get((names, filled, tuple(targets.items())))
        if number is None:
            number = len(self._shapes) + 1
            content = json.dumps([names, filled, list(targets.items())])
            cursor.execute("INSERT INTO shapes VALUES (?, ?)", (number, content))
            self._remember(_Shape(number, names, filled, dict(targets)), names)
        return number

    def entries(self, where: Where, before: int, limit: int, *, newest: bool = False) -> list[Entry]:
        """Log entries numbered lower than `before`, oldest first: the first `limit` that fit, or the last."""
        asked = {
            "logical_name": where.table, "id": where.record_id, "user": where.user, "actor": where.actor,
            "operation": where.operation, "outcome": where.outcome,
        }  # fmt: skip
        conditions = [f"{name} = ?" for name, value in asked.items() if value]
        found = self._connection.execute(
            f"SELECT * FROM log WHERE {' AND '.join(['seq > ?', 'seq < ?', *conditions])}"  # noqa: S608 - names are ours
            f" ORDER BY seq {'DESC' if newest else 'ASC'} LIMIT ?",
            (where.after, before, *filter(None, asked.values()), limit),
        ).fetchall()
        entries = [Entry.from_dict(dict(zip(_LOGGED, (*row[:-1], json.loads(row[-1])), strict=True))) for row in found]
        return entries[::-1] if newest else entries

    def forget_rows(self) -> None:
        """All of them, without fetching one: nothing may show them any more."""
        self._connection.executescript("BEGIN; DELETE FROM rows; DELETE FROM bodies; COMMIT;")
        self._held.clear()
        self._ahead = {}

    def forget_log(self) -> None:
        self._connection.execute("DELETE FROM log")

    def close(self) -> None:
        self._connection.close()


def _logged(entry: Entry) -> tuple[Any, ...]:
    plain = entry.to_dict() | {"changes": json.dumps(entry.changes(), ensure_ascii=False)}
    return tuple(plain[name] for name in _LOGGED)


def _collapsed(changes: list[Change]) -> dict[tuple[str, str], tuple[Row | None, Row | None]]:
    """For each row, what it was before the transaction and what it is after; a row that came and went is left out."""
    found: dict[tuple[str, str], tuple[Row | None, Row | None]] = {}
    for table, record_id, before, after in changes:
        first = found[table, record_id][0] if (table, record_id) in found else before
        found[table, record_id] = first, after
    return {key: change for key, change in found.items() if change != (None, None)}
